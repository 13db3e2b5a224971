"""A turn that is about to begin, again and again: database and panel as they were just before it.

Callers: the test of the outcome table. Not here: faults (`outcome_rows`), what must hold.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from controller.panels.api.clock import SystemClock
from controller.runtime.errors import HolderKind
from controller.runtime.worker import TurnReport
from controller.service import Controller, open_controller
from controller.settings import ControllerSettings
from desired_state.commands import subscriptions
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.node import Match
from desired_state.store.settings import DatabaseSettings, StoreSettings
from simulator import by_hand
from simulator.app import Panel
from tests.integration.runtime.fleet import Fleet, Wanted, open_fleet

ONE = NodeName("one")
AFTER_S = 61
"""A create without an answer may be on its way for 60 s."""
STRANGER = {"email": "a-stranger", "id": "1c9b0a3e-0000-4000-8000-000000000001", "subId": "s" * 16}


class Moved(SystemClock):
    """The machine's clocks, moved on between turns; waiting takes no time."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead.total_seconds()


@dataclass
class Stage:
    """A turn that is about to begin, again and again: database and panel as they were just before."""

    fleet: Fleet
    folder: Path
    clock: Moved
    snapshot: int = 0
    number: int = 0

    @property
    def panel(self) -> Panel:
        return self.fleet["one"].panel

    def keep(self) -> None:
        """Keep everything as it is now."""
        self.snapshot = self.panel.snapshot()
        with closing(sqlite3.connect(self.folder / "x3fleet.db")) as connection:
            connection.execute(f"VACUUM INTO '{self.folder / 'kept.db'}'")

    def set_up(self) -> ControllerSettings:
        """Put everything back, in a database of its own."""
        self.number += 1
        path = self.folder / f"case-{self.number}.db"
        shutil.copy(self.folder / "kept.db", path)
        shutil.copy(self.folder / "x3fleet.db.key", f"{path}.key")
        self.panel.restore(self.snapshot)
        self.panel.faults.clear()
        self.panel.trail.begin(on=True)
        self.panel.log.clear()
        url = DatabaseSettings(url=f"sqlite:///{path}")
        return ControllerSettings(store=StoreSettings(database=url))

    def pass_time(self) -> None:
        """Let more than a minute go by, for the panel too."""
        self.clock.ahead += timedelta(seconds=AFTER_S)
        self.panel.clock.advance(AFTER_S)


Prepare = Callable[[Fleet, list[KeyId]], Awaitable[None]]


async def _nothing(fleet: Fleet, keys: list[KeyId]) -> None:
    del fleet, keys


async def _issue(fleet: Fleet, keys: list[KeyId]) -> None:
    del keys
    await fleet.issue(2)


async def _rotate(fleet: Fleet, keys: list[KeyId]) -> None:
    for key in keys[:2]:
        await fleet.rotate(key)


async def _revoke(fleet: Fleet, keys: list[KeyId]) -> None:
    for key in keys[:2]:
        await fleet.revoke(key)


async def _suspend(fleet: Fleet, keys: list[KeyId]) -> None:
    for key in keys[:2]:
        await fleet.suspend(key)


async def _resume(fleet: Fleet, keys: list[KeyId]) -> None:
    for key in keys[:2]:
        await fleet.resume(key)


async def _extend(fleet: Fleet, keys: list[KeyId]) -> None:
    for key in keys[:2]:
        owner = await fleet.owner(key)
        await fleet.run(lambda work, owner=owner: subscriptions.extend(work, owner, 30))


async def _bind(fleet: Fleet, keys: list[KeyId]) -> None:
    del keys
    await fleet.declare("one", matches=())


async def _unbind(fleet: Fleet, keys: list[KeyId]) -> None:
    del keys
    await fleet.declare("one", matches=(Match(protocol="vless"),))


SCENES: dict[str, tuple[Prepare, Prepare]] = {
    "keys are issued": (_nothing, _issue),
    "keys are rotated": (_nothing, _rotate),
    "keys are revoked": (_nothing, _revoke),
    "keys are suspended": (_nothing, _suspend),
    "keys are resumed": (_suspend, _resume),
    "subscriptions are extended": (_nothing, _extend),
    "an inbound is bound": (_unbind, _bind),
    "an inbound is unbound": (_nothing, _unbind),
}


@asynccontextmanager
async def staged(version: str, scene: str, folder: Path, monkeypatch: Any) -> AsyncIterator[Stage]:
    """Make a node with four keys in sync and a stranger, change what is wanted, and keep that."""
    before, change = SCENES[scene]
    inbounds = ({"protocol": "vless"}, {"protocol": "trojan"})
    clock = Moved()
    async with open_fleet(folder, monkeypatch, clock=clock, one=Wanted(version, inbounds)) as fleet:
        by_hand.add_client(fleet["one"].panel, 1, {**STRANGER, "enable": True})
        keys = await fleet.issue(4)
        await before(fleet, keys)
        assert (await fleet.reconcile()).in_sync
        await change(fleet, keys)
        stage = Stage(fleet, folder, clock)
        stage.keep()
        yield stage


@asynccontextmanager
async def controlling(stage: Stage, settings: ControllerSettings) -> AsyncIterator[Controller]:
    """Be the one controller of a database, as a process of its own is."""
    async with (
        open_controller(settings, clock=stage.clock) as controller,
        controller.authority(HolderKind.ONE_SHOT),
    ):
        yield controller


async def turn_of(controller: Controller) -> TurnReport:
    """Place, and run one turn of the node."""
    await controller.place()
    return await controller.worker.turn(ONE)
