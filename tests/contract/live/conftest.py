"""Fleets for the tests beside this file, ended with the test."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.contract.live.fleet import Fleet, open_fleet
from tests.contract.panels.listeners import Listener

Open = Callable[..., Awaitable[Fleet]]


@pytest.fixture
async def open_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    """Give fleets that end with the test, and take from a real panel what was put there."""
    async with contextlib.AsyncExitStack() as stack:

        async def enter(*listeners: Listener, **versions: str) -> Fleet:
            opened = open_fleet(tmp_path, monkeypatch, *listeners, **versions)
            return await stack.enter_async_context(opened)

        yield enter
