"""Typed by an operator at three in the morning: the database is gone, and comes back from a backup."""

import pytest

from simulator.by_hand import delete_client
from tests.e2e.operator import BY_TOKEN, Operator, node, site


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
        refused = await operator.ask("reconcile", "now", code=3)

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
