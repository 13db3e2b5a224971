"""What must hold of a fleet that was left alone for a while, and of every single delete on its way there.

Asks the panels who is served, the ledger who is to be, and the database only where a key is meant to live.
Callers: the machine of a fleet's life. Not here: what is done to a fleet.
"""

import sqlite3
from collections import Counter
from typing import Any

from controller.core.effects import Verb, Write
from desired_state.model.generation import ENDED, JournalState
from desired_state.model.ids import NodeName
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import MoveOrder
from desired_state.queries.keys import used_bytes
from desired_state.store.convert import key_from
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow, PurchaseRow
from desired_state.store.tables.status import PlacementRow, RemoteGenerationRow
from tests.property.fleet import SMALL, Fleet

_SERVED_ELSEWHERE = {
    reason.value for reason in (DeleteReason.MOVED, DeleteReason.DRAINED, DeleteReason.SURPLUS)
}


class Watched(Fleet):
    """A fleet under somebody's eyes."""

    def __init__(self) -> None:
        super().__init__()
        self.pool.witness = self._see_write
        self.seen: list[str] = []
        """What was sent and should not have been; told later, since a turn survives whatever it meets."""

    def check(self) -> None:
        """Hold everything against the ledger; the fleet was left alone for long enough."""
        self.check_sent()
        self._check_keys()
        self._check_nodes()
        self._check_money()
        self._check_use()

    def check_sent(self) -> None:
        """No delete that was sent so far took away what was served nowhere else."""
        assert not self.seen, self.seen

    # -- each delete, when it is sent --------------------------------------------------------------

    def _see_write(self, node: NodeName, write: Write) -> None:
        """Who creates first deletes nothing that is served, and served nowhere else."""
        if write.verb is not Verb.DELETE or self.order is not MoveOrder.CREATE_FIRST:
            return
        with sqlite3.connect(f"file:{self.path}?mode=ro", uri=True) as database:
            for member in write.members:
                self._see_delete(database, node, str(member.email))
        database.close()

    def _see_delete(self, database: sqlite3.Connection, node: NodeName, email: str) -> None:
        _, key, generation, *_ = [*email.split("-"), "", ""]
        query = (
            "SELECT p.leaving FROM placement p JOIN key k ON k.id = p.key WHERE p.key = ?"
            " AND p.node = ? AND k.deleted_at IS NULL AND 'g' || k.generation = ?"
        )
        row = database.execute(query, (key, node, generation)).fetchone()
        if row is None or row[0] not in _SERVED_ELSEWHERE or not self._serves(node, email):
            return
        others = [
            name
            for name, panel in self.pool.panels.items()
            if name != node and name not in self.pool.dead
            if any(c.enable and f"-{key}-{generation}" in c.email for c in panel.ours())
        ]
        if not others:
            self.seen.append(f"{email} is deleted from {node} ({row[0]}) and served nowhere else")

    def _serves(self, node: NodeName, email: str) -> bool:
        return any(c.enable and c.email == email for c in self.pool.panels[node].ours())

    # -- keys --------------------------------------------------------------------------------------

    def _check_keys(self) -> None:
        places: dict[str, set[str]] = {}
        for place in self.rows(PlacementRow):
            if place.leaving is None:
                places.setdefault(place.key, set()).add(place.node)
        owners = {row.id: row for row in self.rows(SubscriptionRow)}
        open_nodes = self.open_nodes()
        for row in self.rows(KeyRow):
            served = self._served(row.id, row.generation)
            if row.id in self.ledger.revoked or not self.is_entitled(owners[row.subscription_id]):
                assert set() == served, (row.id, "is served and nobody is entitled")
                continue
            self._check_places(row, places.get(row.id, set()), served, open_nodes)
        for name, held in self.ledger.cordoned.items():
            came = {key for key, lives in places.items() if name in lives} - held
            assert not came, (came, "came to", name, "though it is cordoned")

    def _check_places(
        self, row: KeyRow, lives: set[str], served: set[str], open_nodes: set[str]
    ) -> None:
        count = key_from(row).nodes.count
        reachable = {name for name in lives if name not in self.pool.dead}
        assert reachable == served, (row.id, lives, served)
        assert count is None or len(lives) <= count, (row.id, count, lives)
        least = len(open_nodes) if count is None else min(count, len(open_nodes))
        assert len(lives) >= least, (row.id, count, lives, open_nodes)
        assert served, (row.id, "is entitled and not served")
        if count is not None:
            left = {name for name in lives if self.is_to_be_left(name)}
            assert not left or open_nodes <= lives, (row.id, left, "is not left", lives)

    def _served(self, key: str, generation: int) -> set[str]:
        """Declared nodes that answer and serve a key; no other generation of it may be there."""
        found = set()
        for name, panel in self.pool.panels.items():
            if name in self.pool.dead or not self.is_declared(name):
                continue
            mine = [c for c in panel.ours() if f"-{key}-" in c.email]
            assert {f"x3f-{key}-g{generation}"} >= {
                "-".join(c.email.split("-")[:3]) for c in mine
            }, (key, generation, [c.email for c in mine])
            assert len({c.email for c in mine}) == len(mine)
            if any(c.enable for c in mine):
                found.add(str(name))
        return found

    # -- nodes, money, use -------------------------------------------------------------------------

    def _check_nodes(self) -> None:
        held = Counter(p.node for p in self.rows(PlacementRow) if p.leaving is None)
        assert held["a"] <= SMALL
        journal = {(row.node, row.email): row for row in self.rows(RemoteGenerationRow)}
        for name, panel in self.pool.panels.items():
            for client in panel.ours():
                row = journal.get((name, client.email))
                assert row is not None, (name, client.email, "was made and is not journalled")
                if not self.is_declared(name):
                    assert row.state == JournalState.WRITTEN_OFF.value, (name, client.email)
                elif name not in self.pool.dead or row.state != JournalState.WRITTEN_OFF.value:
                    # One that is declared anew and still silent is met with its tombstones when it answers.
                    assert row.state not in {state.value for state in ENDED}, (name, client.email)
            assert self.strangers[name] == {c.email for c in panel.foreign().values()}

    def _check_money(self) -> None:
        known = self.rows(PaymentRow)
        credited = [row.credited_id for row in known if row.credited_id is not None]
        assert len(set(credited)) == len(credited)
        assert sorted(self.ledger.charges) == sorted(row.charge for row in known)
        for row in self.rows(PurchaseRow):
            is_paid = row.amount_minor == 0 or row.id in credited
            assert is_paid == (row.fulfilled_at is not None)
        for row in self.rows(SubscriptionRow):
            # A frozen one has the time that it had when it was frozen.
            present = row.frozen_at or self.clock.now()
            most = present + self.ledger.given[row.id]
            assert row.valid_until <= most, (row.id, "has more time than it was ever given")

    def _check_use(self) -> None:
        async def read() -> Any:
            async with self.store.reading() as session:
                return await used_bytes(session)

        counted = self.run(read())
        for row in self.rows(SubscriptionRow):
            expected = self.ledger.used[row.id, row.period]
            assert expected == counted.get(row.id, 0), (row.id, "used what nobody used, or less")
