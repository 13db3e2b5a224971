"""The life of a shop on simulated panels: sales, rotations, revocations, hands, deaths, lost databases.

One simulated minute after another. Whoever is withheld by a guard is approved, as an operator does.
Callers: the soak. Not here: measuring, what must hold.
"""

import random
from dataclasses import dataclass, field

from desired_state.commands import requests
from desired_state.commands.errors import PlanStale
from desired_state.model.ids import KeyId
from desired_state.queries.blocked import list_blocked
from simulator import by_hand
from tests.fakes.hasty import LoopClock, PanelTime
from tests.integration.runtime.fleet import Fleet, Site

KEPT = 36
"""Keys that are sold at any time: beyond these the oldest goes."""
DEAD = {"kind": "reset", "path": ".*", "count": None}
SILENT = {"kind": "lost_request", "path": ".*", "count": None}
DIES_EVERY, LIES_DEAD, LOSES_EVERY = 7, 3, 11
"""In minutes: how often a panel dies, for how long, how often one loses all its clients."""


@dataclass
class Life:
    """A fleet and what happens to it. `done`: how often each thing happened."""

    fleet: Fleet
    clock: LoopClock
    rng: random.Random
    sold: list[KeyId] = field(default_factory=list)
    done: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Put panels on our time, and keep each as it was before its first client."""
        for name, site in self.fleet.sites.items():
            site.panel.clock = PanelTime(self.clock)
            site.panel.status_asked_ms = 0
            self.fresh[name] = site.panel.snapshot()

    async def minute(self, number: int) -> None:
        """Let happen what happens within one minute."""
        for _ in range(2):
            await self._sell()
        await self._rotate()
        self._edit_by_hand()
        self._let_die(number)
        if number % LOSES_EVERY == LOSES_EVERY - 1:
            self._lose_clients()
        await self._approve()
        for site in self.fleet.sites.values():
            # A panel of a test remembers every request; ours must not be blamed for it.
            site.panel.log.clear()

    def revive(self) -> None:
        """Let every panel answer again."""
        for name in list(self.dead):
            self._rise(name)

    def count(self, what: str) -> None:
        """Note that something happened."""
        self.done[what] = self.done.get(what, 0) + 1

    async def _sell(self) -> None:
        self.sold += await self.fleet.issue()
        self.count("sold")
        while len(self.sold) > KEPT:
            await self.fleet.revoke(self.sold.pop(0))
            self.count("revoked")

    async def _rotate(self) -> None:
        await self.fleet.rotate(self.rng.choice(self.sold))
        self.count("rotated")

    def _edit_by_hand(self) -> None:
        site = self._some_site()
        emails = sorted(site.ours())
        if not emails:
            return
        email = self.rng.choice(emails)
        if self.rng.random() < 0.5:
            by_hand.delete_client(site.panel, email)
            self.count("deleted by hand")
        else:
            by_hand.edit_client(site.panel, email, {"enable": False})
            self.count("switched off by hand")

    def _let_die(self, number: int) -> None:
        for name in [name for name, until in self.dead.items() if until <= number]:
            self._rise(name)
        if number % DIES_EVERY == DIES_EVERY - 1:
            name = self.rng.choice(sorted(self.fleet.sites))
            self.fleet[name].panel.faults.arm(self.rng.choice((DEAD, SILENT)))
            self.dead[name] = number + LIES_DEAD
            self.count("panels died")

    def _rise(self, name: str) -> None:
        self.fleet[name].panel.faults.clear()
        del self.dead[name]

    def _lose_clients(self) -> None:
        """A panel is set back to the day on which it was installed."""
        name = self.rng.choice(sorted(self.fleet.sites))
        panel = self.fleet[name].panel
        panel.restore(self.fresh[name])
        self.count("panels lost everything")

    async def _approve(self) -> None:
        async with self.fleet.controller.store.reading() as session:
            blocked = await list_blocked(session)
        for one in blocked:
            try:
                await self.fleet.run(
                    lambda work, one=one: requests.approve(work, one.digest, node=one.node)
                )
                self.count("approved")
            except PlanStale:
                continue  # By now something else is withheld: the next minute sees it.

    def _some_site(self) -> Site:
        return self.fleet[self.rng.choice(sorted(self.fleet.sites))]
