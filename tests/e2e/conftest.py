"""Fixtures of the end-to-end tests: an operator, and panels that end with the test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.operator import Operator, Site, site


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator in an empty folder."""
    return Operator(tmp_path)


@pytest.fixture
async def start_panel() -> AsyncIterator[Callable[..., Awaitable[Site]]]:
    """Start simulated panels that run until the end of the test."""
    async with AsyncExitStack() as stack:

        async def start(version: str, **options: Any) -> Site:
            return await stack.enter_async_context(site(version, **options))

        yield start
