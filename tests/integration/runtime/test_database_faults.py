"""A database that is locked, or full, under a service at work: nothing is lost, and it goes on by itself."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event

from desired_state.store import engine
from tests.integration.runtime.fleet import Wanted, journal_of, open_fleet
from tests.integration.runtime.serving import EAGER, eventually, serving

HASTY_S = 0.4
"""How long a writer waits here for another one; ten seconds otherwise."""
UNLIMITED = 2**30
MANY = 400
"""Keys whose journal does not fit into the room that a page or two leave."""


class Disk:
    """How many pages the database file may have."""

    def __init__(self, store):
        self.pages = UNLIMITED
        event.listen(store.engine.sync_engine, "begin", self.limit)

    def limit(self, connection):
        connection.exec_driver_sql(f"PRAGMA max_page_count = {self.pages}")


@pytest.fixture
def hasty(monkeypatch):
    monkeypatch.setattr(engine, "WAIT_S", HASTY_S)


def emails(site):
    return len(site.ours())


async def test_nothing_is_sent_that_a_locked_database_could_not_remember(
    tmp_path, monkeypatch, hasty
):
    """Another program holds the file; turns break off before their first write, and come again."""
    del hasty
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(1)
        await fleet.reconcile()
        async with serving(fleet, EAGER) as served:
            await served.idle()
            await fleet.issue(3)
            with closing(sqlite3.connect(tmp_path / "x3fleet.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                before = _looks(fleet["one"]), fleet["one"].writes()
                await eventually(lambda: _looks(fleet["one"]) > before[0] + 2)
                locked = emails(fleet["one"]), fleet["one"].writes()
                other.execute("ROLLBACK")
            await eventually(lambda: emails(fleet["one"]) == 4)

        assert locked[0] in (1, 4)
        # Either it was journalled before the lock, or nothing was sent.
        assert locked[0] == 4 or locked[1] == before[1]


async def test_a_full_disk_stops_writes_to_panels_and_ends_when_there_is_room(
    tmp_path, monkeypatch
):
    """Looks go on meanwhile, and nothing has to be started again."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted("3.6.0")) as fleet:
        await fleet.issue(1)
        await fleet.reconcile()
        disk = Disk(fleet.controller.store)
        await fleet.issue(MANY)
        await fleet.controller.store.engine.dispose()
        with closing(sqlite3.connect(tmp_path / "x3fleet.db", isolation_level=None)) as other:
            other.execute("VACUUM")
            (pages,) = other.execute("PRAGMA page_count").fetchone()
        disk.pages = pages + 1
        async with serving(fleet, EAGER):
            writes = fleet["one"].writes()
            looks = _looks(fleet["one"])
            await eventually(lambda: _looks(fleet["one"]) > looks + 2)
            full = emails(fleet["one"]), fleet["one"].writes(), await journal_of(fleet, "one")
            disk.pages = UNLIMITED
            await eventually(lambda: emails(fleet["one"]) == MANY + 1)
        report = await fleet.reconcile()

    assert (1, writes, 1) == (full[0], full[1], len(full[2]))
    assert (True, 0) == (report.in_sync, report.writes)


def _looks(site):
    return sum("clients/list" in line for line in site.log())
