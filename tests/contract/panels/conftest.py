"""Simulated panels over real HTTP, and targets that reach them.

`start_panel(version, **options)` gives a `RunningPanel`: `.url`, and `.panel` to look into and to
damage. `target_of(running, ...)` gives what a `PanelApi` is made of.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import stamina

from desired_state.model.ids import NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls
from simulator.app import PanelOptions, create_panel
from simulator.server import RunningPanel, running

BASE_PATH = "/hidden-9f2c/"
USERNAME, PASSWORD = "operator", "pw-of-the-panel-1"
TOKEN = "Tk" * 24

StartPanel = Callable[..., Awaitable[RunningPanel]]
TargetOf = Callable[..., NodeTarget]


@pytest.fixture(autouse=True)
def retries_do_not_wait() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3, cap=True):
        yield


@pytest.fixture
async def start_panel() -> AsyncIterator[StartPanel]:
    """Start panels that end with the test."""
    async with AsyncExitStack() as stack:

        async def start(
            version: str, *, seed: int = 0, tls: tuple[str, str] | None = None, **options: Any
        ) -> RunningPanel:
            values: dict[str, Any] = {
                "base_path": BASE_PATH,
                "username": USERNAME,
                "password": PASSWORD,
                "token": TOKEN if version >= "3" else None,
            }
            panel = create_panel(version, seed=seed, options=PanelOptions(**(values | options)))
            return await stack.enter_async_context(running(panel, control_port=None, tls=tls))

        yield start


@pytest.fixture
def target_of() -> TargetOf:
    """Make the target of a running panel: by form, or by token."""

    def make(
        panel: RunningPanel,
        *,
        by: str = "form",
        name: str = "nl-1",
        url: str | None = None,
        tls: Tls | None = None,
        **credentials: str,
    ) -> NodeTarget:
        form = {"username": USERNAME, "password": PASSWORD}
        values = ({"token": TOKEN} if by == "token" else form) | credentials
        return NodeTarget(
            NodeName(name), url or panel.url, Credentials(**values), tls or Tls(), Mode.ENFORCE
        )

    return make
