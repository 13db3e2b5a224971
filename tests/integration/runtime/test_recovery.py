"""An old database over a fleet that has gone on without it: what operators of such panels complain of.

Each scenario restores a backup on "another server": another folder, nothing but the file, the key and the
manifests' secrets. The panels are the same.
"""

from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from controller.service import open_controller
from desired_state.commands import recovery, subscriptions
from desired_state.commands.restore import Order, restore
from desired_state.store.backup.errors import BackupError
from desired_state.store.backup.keys import backup_keys
from desired_state.store.backup.making import make_backup, nothing_fetched
from desired_state.store.backup.settings import BackupSettings
from desired_state.store.engine import open_store
from desired_state.store.keyring import existing_keys
from desired_state.store.settings import DatabaseSettings, StoreSettings
from tests.integration.runtime.fleet import Fleet, Wanted, open_fleet, status_of

TOKEN = "t" * 48


def fleet_of(tmp_path, monkeypatch, **options):
    return open_fleet(
        tmp_path, monkeypatch, old=Wanted("2.9.4"), new=Wanted("3.6.0", token=TOKEN), **options
    )


async def back_up(fleet, folder):
    keys = backup_keys(fleet.settings.store, BackupSettings())
    made = await make_backup(fleet.controller.store, folder / "backups", keys[0], nothing_fetched)
    return made.path


def elsewhere(fleet, folder):
    """Settings of a database on another server; the keys are brought along."""
    folder.mkdir(exist_ok=True)
    keys = tuple(SecretStr(key) for key in existing_keys(fleet.settings.store))
    url = f"sqlite:///{folder / 'x3fleet.db'}"
    store = StoreSettings(database=DatabaseSettings(url=url), encryption_keys=keys)
    return replace_store(fleet.settings, store)


def replace_store(settings, store):
    return settings.model_copy(update={"store": store})


@asynccontextmanager
async def restored(fleet, backup, folder):
    """The same panels under the database of a backup, on another server."""
    settings = elsewhere(fleet, folder)
    keys = backup_keys(settings.store, BackupSettings())
    async with open_store(settings.store) as target:
        await restore(target, Order(backup, keys, "test"))
    fleet.forget_requests()
    async with open_controller(settings) as controller:
        yield Fleet(settings, controller, fleet.sites)


async def accept(fleet, **options):
    await fleet.run(lambda work: recovery.accept(work, **options))


def held(fleet):
    """What every panel holds of ours: credentials and whether it is served, by email."""
    return {
        name: {
            email: (
                client.get("id"),
                client.get("password"),
                client["expiryTime"],
                site.enabled()[email],
            )
            for email, client in site.ours().items()
        }
        for name, site in fleet.sites.items()
    }


def writes(fleet):
    return {name: site.writes() for name, site in fleet.sites.items()}


NOTHING = {"old": 0, "new": 0}


async def test_after_a_restore_on_a_new_server_every_node_connects(tmp_path, monkeypatch) -> None:
    """Nothing is brought along but the file and the key; the manifests' secrets are there."""
    async with fleet_of(tmp_path, monkeypatch, count=None) as fleet:
        await fleet.issue(2)
        await fleet.reconcile()
        before, backup = held(fleet), await back_up(fleet, tmp_path)

        async with restored(fleet, backup, tmp_path / "another") as again:
            report = await again.reconcile()
            await accept(again, deletes=True)
            after = await again.reconcile()

            assert [False, False] == [node.failed for node in report.nodes]
            assert after.in_sync
            # The same clients with the same credentials: nobody's link had to be rewritten.
            assert before == held(fleet)
            assert NOTHING == writes(again)


@pytest.mark.promise("S4")
async def test_a_restored_database_that_is_older_than_the_panels_deletes_nothing(
    tmp_path, monkeypatch
) -> None:
    """Sold, rotated, renewed, moved and revoked since the backup: the old rows contradict all of it."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        renewed, moved, stays = await fleet.issue(3, node="new")
        owner = await fleet.owner(renewed)
        await fleet.reconcile()
        backup = await back_up(fleet, tmp_path)
        (sold,) = await fleet.issue(1, node="new")
        await fleet.run(lambda work: subscriptions.extend(work, owner, 60))
        await fleet.move(moved, "old")
        await fleet.reconcile()
        await fleet.reconcile()
        before = held(fleet)

        async with restored(fleet, backup, tmp_path / "another") as again:
            blind = await again.reconcile()
            assert before == held(fleet)
            assert NOTHING == writes(again)
            assert ["Restored", "Restored"] == [
                c.reason
                for node in blind.nodes
                for c in node.conditions
                if c.type.value == "Blocked"
            ]
            await accept(again)
            await again.reconcile()
            careful = held(fleet)
            await accept(again, deletes=True)
            await again.reconcile()
            free = held(fleet)

        # Whatever was there is there, as it was; what the old rows miss was added beside it.
        assert [] == [
            (name, email)
            for name, clients in before.items()
            for email, seen in clients.items()
            if careful[name].get(email) != seen
        ]
        assert any(moved in email for email in careful["new"])
        # Even in the end no client goes that the database does not know the reason of.
        assert {name: set(clients) for name, clients in careful.items()} == {
            name: set(clients) for name, clients in free.items()
        }
        assert any(sold in email for email in free["new"])
        assert any(stays in email for email in free["new"])


async def test_a_key_rotated_after_the_backup_stops_its_node(tmp_path, monkeypatch) -> None:
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        (key,) = await fleet.issue(1, node="new")
        await fleet.reconcile()
        backup = await back_up(fleet, tmp_path)
        await fleet.rotate(key)
        await fleet.reconcile()
        before = held(fleet)

        async with restored(fleet, backup, tmp_path / "another") as again:
            await accept(again, deletes=True)
            await again.reconcile()

            reasons = {c["reason"] for c in (await status_of(again, "new")).conditions}
            assert "StaleDesired" in reasons
            assert before == held(fleet)


async def test_a_restore_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch) -> None:
    """A file that was cut: neither the new server nor the old one notices anything."""
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        await fleet.issue(1, node="new")
        await fleet.reconcile()
        backup = await back_up(fleet, tmp_path)
        cut = tmp_path / "cut.x3backup"
        cut.write_bytes(backup.read_bytes()[:-100])
        settings = elsewhere(fleet, tmp_path / "another")
        keys = backup_keys(settings.store, BackupSettings())

        async with open_store(settings.store) as target:
            with pytest.raises(BackupError):
                await restore(target, Order(cut, keys, "test"))

        assert [] == sorted(path.name for path in (tmp_path / "another").iterdir())
        assert (await fleet.reconcile()).in_sync


async def test_a_panel_set_back_to_its_own_backup_is_swept_and_filled_again(
    tmp_path, monkeypatch
) -> None:
    async with fleet_of(tmp_path, monkeypatch) as fleet:
        revoked, stays = await fleet.issue(2, node="new")
        await fleet.reconcile()
        number = fleet["new"].panel.snapshot()
        await fleet.revoke(revoked)
        (later,) = await fleet.issue(1, node="new")
        await fleet.reconcile()
        before = held(fleet)

        fleet["new"].panel.restore(number)
        for _ in range(3):
            await fleet.reconcile()

        assert before == held(fleet)
        assert {stays, later} == {email.split("-")[1] for email in fleet["new"].ours()}
