"""`x3fleet controller` and `x3fleet run`: processes that stay, until SIGTERM or Ctrl-C ends them.

The first signal ends them in order; a second one at once. Not here: what a controller does
(`controller.daemon`), checks before the start (`controller.preflight`).
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import require_database

ServiceLevel = Literal["error", "warning", "info", "debug"]
ServiceLog = Annotated[
    ServiceLevel, Parameter(name="--log-level", help="the least that its log shows, on stderr")
]


async def controller(*, log_level: ServiceLog = "info") -> Exit:
    """Keep panels as they should be, until SIGTERM."""
    return await _serve(log_level)


async def _serve(log_level: ServiceLevel) -> Exit:
    from controller.daemon import Daemon
    from controller.parts import equip
    from controller.runtime.errors import HolderKind
    from controller.service import open_controller
    from controller.settings import load_settings
    from controller.telemetry.logging import configure_logging
    from controller.telemetry.observers import PanelExchanges

    settings = load_settings()
    require_database(settings.store)
    configure_logging(level=log_level)
    with _told_to_stop() as stop:
        async with open_controller(
            settings, kind=HolderKind.DAEMON, observer=PanelExchanges()
        ) as opened:
            daemon = Daemon(opened)
            equip(daemon, settings.service)
            clean = await daemon.run(stop)
    return Exit.DONE if clean else Exit.ERROR


@contextmanager
def _told_to_stop() -> Iterator[asyncio.Event]:
    """Set an event at the first SIGTERM or SIGINT; the second one cancels."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
