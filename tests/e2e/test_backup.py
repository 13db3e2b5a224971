"""Typed by an operator at three in the morning: the database is gone, and comes back from a backup."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from simulator.by_hand import delete_client
from tests.e2e.operator import BY_TOKEN, Operator, node, site
from tests.e2e.service import serving


def lose_database(operator):
    """Delete the database, its log too; the key file stays."""
    for behind in ("", "-wal", "-shm"):
        operator.database.with_name(operator.database.name + behind).unlink(missing_ok=True)


@pytest.mark.story("no-backup")
async def test_a_lost_database_comes_back_by_two_commands_and_nothing_is_written_before_the_second(
    tmp_path,
):
    operator = Operator(tmp_path)
    async with site("2.9.4") as old, site("3.6.0") as new:
        sites = {"old": old, "new": new}
        sold = await operator.set_up(
            node("old", old.url), node("new", new.url, auth=BY_TOKEN), keys=3
        )
        await operator.ask("reconcile", "now")
        made = await operator.ask("backup", "create")
        # Sold after the backup: the database that comes back knows nothing of it.
        await operator.ask("keys", "issue", "--tariff", "all", "--count", "1")
        await operator.ask("reconcile", "now")
        held = {name: shown.emails for name, shown in sites.items()}
        delete_client(new.panel, next(email for email in new.emails if sold[0] in email))
        writes = {name: shown.writes for name, shown in sites.items()}
        lose_database(operator)

        restored = await operator.ask("backup", "restore", "latest", code=3)
        seen = await operator.run("nodes", "list")
        refused = await operator.ask("reconcile", "now", code=3)

        assert 2 == seen.out.count("restored, waits for x3fleet backup accept")
        assert restored["taken_at"] == made["taken_at"]
        assert {"old": 1, "new": 1} == {
            one["node"]: len(one["unknown"]) for one in restored["difference"]["nodes"]
        }
        assert {"old": 0, "new": 1} == {
            one["node"]: len(one["create"]) for one in restored["difference"]["nodes"]
        }
        assert ["blocked", "blocked"] == [one["state"] for one in refused["nodes"]]
        assert writes == {name: shown.writes for name, shown in sites.items()}

        accepted = await operator.ask("backup", "accept")
        await operator.ask("reconcile", "now")

        assert ["new", "old"] == accepted["accepted"]
        assert held == {name: shown.emails for name, shown in sites.items()}


async def test_a_service_makes_backups_by_itself_and_they_can_be_verified_and_taken_apart(tmp_path):
    often = {"X3FLEET_BACKUP__CHECK_S": "0.5", "X3FLEET_BACKUP__FOLDER": str(tmp_path / "kept")}
    operator = Operator(tmp_path, settings=often)
    async with site("3.6.0") as new:
        await operator.set_up(node("new", new.url, auth=BY_TOKEN), keys=2)
        async with serving(operator) as service:
            made = await service.logged("backup_created")
            asked = await operator.ask("backup", "create")
            answered = await service.logged("request_answered", kind="backup")
            refused = await operator.run("backup", "restore", "latest", "--replace")
        listed = await operator.ask("backup", "list")
        lose_database(operator)
        verified = await operator.ask("backup", "verify")
        taken = tmp_path / "panel.db"
        await operator.ask("backup", "extract", "latest", "--node", "new", "--to", str(taken))

    assert (1, 0) == (made["panels"], made["failed"])
    assert 1 == refused.code
    assert "controller" in refused.err
    # The service made it, and has the panel's session already.
    assert ("made", "") == (answered["outcome"], answered["node"])
    assert [("new", "checked", 2)] == [
        (one["node"], one["state"], one["clients"]) for one in asked["nodes"]
    ]
    assert [Path(asked["backup"]).name, made["backup"]] == [
        one["name"] for one in listed["backups"]
    ]
    assert [True, True] == [one["opens"] for one in listed["backups"]]
    assert verified["verified"]
    assert verified["secrets_opened"] >= 3
    with closing(sqlite3.connect(taken)) as found:
        assert ("ok",) == found.execute("PRAGMA integrity_check").fetchone()
