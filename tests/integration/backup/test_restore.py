"""Restoring a database: what comes back, what is kept, what is refused, and what nobody does twice."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from controller.jobs.failover import given_up
from controller.jobs.place import place
from desired_state.commands import nodes, recovery
from desired_state.commands.errors import Conflict
from desired_state.commands.requests import ask
from desired_state.commands.restore import Order, restore
from desired_state.model.ids import NodeName
from desired_state.model.node import Mode, Recovery
from desired_state.model.request import RequestKind
from desired_state.queries.recovery import read_recovery
from desired_state.queries.requests import open_requests
from desired_state.store.backup.archive import read_contents
from desired_state.store.backup.copying import count_rows
from desired_state.store.backup.errors import BackupBroken, BackupError, RestoreRefused
from desired_state.store.backup.folder import find_backup, list_backups, making
from desired_state.store.backup.keys import read_keys
from desired_state.store.backup.making import make_backup, nothing_fetched
from desired_state.store.backup.proving import read_everything, unpacked
from desired_state.store.convert import node_from
from desired_state.store.errors import SecretUnreadable
from desired_state.store.node_states import read_node_states
from desired_state.store.secrets import Vault, make_key
from desired_state.store.tables.desired import NodeRow, RevisionCounterRow, SubscriptionRow
from desired_state.store.tables.shop import PaymentRow
from desired_state.store.tables.status import NodeLeaseRow, NotificationRow, WebhookDeliveryRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_node_spec
from tests.data import datasets, rows, shop
from tests.data.datasets import MONTH, NL1, NL2
from tests.stores import KEY, Databases, opened

KEYS = read_keys((KEY,))
VAULT = Vault((KEY,))
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def content_of(path) -> bytes:
    return Path(path).read_bytes()


def names_in(folder: Path, start: str = "") -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(start))


def bar(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def tear(path: Path) -> None:
    path.write_bytes(b"torn" * 5000)


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


async def back_up(store, folder: Path) -> Path:
    return (await make_backup(store, folder, KEYS[0], nothing_fetched)).path


async def bring_back(url: str, backup: Path, *, replace: bool = False):
    async with opened(url) as target:
        return await restore(target, Order(backup, KEYS, "test", replace=replace))


async def count(store):
    async with store.reading() as session:
        return await count_rows(await session.connection())


async def build(store):
    """A fleet with keys, tombstones, money and a request that nobody has answered."""
    await datasets.build_refunded(store)
    async with begin(store, "test") as work:
        await ask(work, RequestKind.REBIND, node=NL1)
    async with store.recording() as session:
        session.add(
            NotificationRow(
                id=7, at=MOMENT, alert="a", state="firing", severity="warning", condition="Blocked",
                reason="TooManyDeletes", resolves=None,
            )
        )  # fmt: skip
        session.add(
            WebhookDeliveryRow(
                notification_id=7, hook="h", state="waiting", next_at=MOMENT, delivered_at=None
            )
        )
        session.add(
            NodeLeaseRow(
                node=NL1, holder="gone", epoch=5, taken_at=MOMENT, removes_at=None, touched_at=None
            )
        )


async def test_every_row_comes_back_into_either_kind_of_database(
    store, databases: Databases, tmp_path
) -> None:
    await build(store)
    rows, backup = await count(store), await back_up(store, tmp_path)
    url = databases.copy()

    restored = await bring_back(url, backup)

    async with opened(url) as found:
        # A few at a time: tables are larger than what is in memory of them.
        now, read = await count(found), await read_everything(found, at_once=2)
    changed = {name: now[name] - rows[name] for name in rows if now[name] != rows[name]}
    # One wake-up a node and one for the scheduler; the request goes, the restore is told.
    expected = {
        "wake": 4, "request": -1, "recovery": 1, "notification": 1, "event": 1, "audit_event": 1
    }  # fmt: skip
    assert expected == changed
    assert sum(now.values()) == read["rows"]
    assert read["secrets"] > 1
    assert dict(rows) == dict(restored.contents.tables)


async def test_a_backup_of_postgresql_is_restored_into_sqlite(postgres_template, tmp_path) -> None:
    server = Databases("postgresql", tmp_path, server=postgres_template)
    url = f"sqlite:///{tmp_path / 'home.db'}"
    try:
        async with opened(server.ready()) as store:
            await build(store)
            backup = await back_up(store, tmp_path)
        await bring_back(url, backup)
    finally:
        server.close()

    async with opened(url) as found, found.reading() as session:
        assert "postgresql" == read_contents(backup, KEYS).engine
        assert 2 == await session.scalar(select(func.count()).select_from(PaymentRow))


async def test_numbers_that_others_remember_go_on_far_above_those_of_the_backup(
    store, databases: Databases, tmp_path
) -> None:
    await build(store)
    backup, url = await back_up(store, tmp_path), databases.copy()
    contents = read_contents(backup, KEYS)

    await bring_back(url, backup)

    async with opened(url) as found:
        async with found.reading() as session:
            revision = await session.scalar(select(RevisionCounterRow.value))
            told = (
                await session.scalars(select(NotificationRow).order_by(NotificationRow.id))
            ).all()
            lease = await session.get_one(NodeLeaseRow, NL1)
            delivery = await session.get_one(WebhookDeliveryRow, (7, "h"))
        async with found.recording() as session:
            later = NotificationRow(
                at=MOMENT, alert="b", state="firing", severity="warning", condition="c", reason="r",
                resolves=None,
            )  # fmt: skip
            session.add(later)
    assert revision > contents.revision + 999_999
    assert [7, 1_000_007, 1_000_008] == [*(one.id for one in told), later.id]
    assert "Restored" == told[-1].reason
    assert (None, 1_000_005) == (lease.holder, lease.epoch)
    # It may have been delivered after the backup was made.
    assert "parked" == delivery.state


async def test_every_node_observes_until_a_person_accepts_and_then_takes_nothing_away(
    sqlite_store, databases_here, tmp_path
) -> None:
    await build(sqlite_store)
    backup = await back_up(sqlite_store, tmp_path)
    await bring_back(databases_here, backup)

    async with opened(databases_here) as found:
        async with found.reading() as session:
            waiting, view = await modes(session), await read_recovery(session)
            asked = await open_requests(session)
        async with begin(found, "test") as work:
            await nodes.declare(work, make_node_spec("fr-1"))
            first = await recovery.accept(work, [NL2])
        async with begin(found, "test") as work:
            rest = await recovery.accept(work)
        async with begin(found, "test") as work:
            await recovery.accept(work, [NL1], deletes=True)
            await nodes.declare(work, make_node_spec("fr-2"))
        async with found.reading() as session:
            after = await modes(session)
            left = await read_recovery(session)
        async with begin(found, "test") as work:
            await recovery.accept(work, deletes=True)
        async with found.reading() as session:
            over = await read_recovery(session)
        with pytest.raises(Conflict, match="no node is in recovery"):
            async with begin(found, "test") as work:
                await recovery.accept(work)

    assert {Mode.OBSERVE} == set(waiting.values())
    assert ((), 3) == (asked, len(view.of(Recovery.OBSERVE)))
    assert ((NL2,), ("de-1", "fr-1", "nl-1")) == (first.nodes, first.left)
    assert (("de-1", "fr-1", "nl-1"), ()) == (rest.nodes, rest.left)
    assert {
        "de-1": Mode.UPSERT_ONLY, "fr-1": Mode.UPSERT_ONLY, "fr-2": Mode.ENFORCE,
        "nl-1": Mode.ENFORCE, "nl-2": Mode.UPSERT_ONLY,
    } == after  # fmt: skip
    assert ("de-1", "fr-1", "nl-2") == left.of(Recovery.CAREFUL)
    assert over is None


async def test_no_node_is_given_up_on_what_the_backup_says_of_it(
    sqlite_store, databases_here, tmp_path
) -> None:
    """It was down for a minute when the backup was made; that may be over for long."""
    await datasets.build_fleet(sqlite_store)
    now = sqlite_store.clock.now()
    since = now - timedelta(minutes=1)
    fallen = rows.condition("Unreachable", "Timeout", since)
    await rows.replace_status(sqlite_store, NL1, fallen, failures=2, watched_s=3600.0)
    later = now + timedelta(hours=20)
    at_risk = await given_up(sqlite_store, later)
    backup = await back_up(sqlite_store, tmp_path)
    await bring_back(databases_here, backup)

    async with opened(databases_here) as found:
        summary = await place(found, later)
        async with found.reading() as session:
            (state,) = [s for s in await read_node_states(session) if s.node.name == NL1]

    assert {NL1} == {node for node, _ in at_risk}
    assert () == summary.ended
    # It takes no keys before it was looked at.
    assert (("Unreachable/Timeout",), 0) == (state.conditions, state.failures)
    assert since < state.unreachable_since


async def test_a_payment_that_comes_again_after_a_restore_is_credited_once(
    sqlite_store, databases_here, tmp_path
) -> None:
    await datasets.build_fleet(sqlite_store)
    before = await shop.buy(sqlite_store, MONTH, charge="before")
    backup = await back_up(sqlite_store, tmp_path)
    await shop.buy(sqlite_store, MONTH, charge="after")
    await bring_back(databases_here, backup)

    async with opened(databases_here) as found:
        for charge in ("before", "before", "after", "after"):
            await shop.pay(found, None, charge)
        async with found.reading() as session:
            paid = {p.charge: p for p in await session.scalars(select(PaymentRow))}
            ends = [s.valid_until for s in await session.scalars(select(SubscriptionRow))]

    # What it was paid for is lost with the database: a debt that somebody sees, and no second month.
    assert {"before", "after"} == set(paid)
    assert (True, "") == (paid["before"].credited_id is not None, paid["before"].debt)
    assert (None, True) == (paid["after"].credited_id, bool(paid["after"].debt))
    assert [before.subscription.valid_until] == ends


# -- what is refused -------------------------------------------------------------------------------


async def test_a_database_that_holds_something_is_kept_beside_the_restored_one(
    store, databases: Databases, tmp_path
) -> None:
    await build(store)
    backup, url = await back_up(store, tmp_path), databases.copy()
    async with opened(url) as there:
        await datasets.build_fleet(there)

    with pytest.raises(RestoreRefused, match="--replace"):
        await bring_back(url, backup)
    restored = await bring_back(url, backup, replace=True)

    async with opened(url) as found:
        assert 2 == (await count(found))["payment"]
    if databases.kind == "sqlite":
        async with opened(f"sqlite:///{restored.replaced}") as kept:
            assert (0, 3) == ((await count(kept))["payment"], (await count(kept))["node"])


async def test_a_database_that_somebody_has_open_is_not_replaced(
    sqlite_store, databases_here, tmp_path
) -> None:
    backup = await back_up(sqlite_store, tmp_path)
    path = databases_here.removeprefix("sqlite:///")
    async with opened(databases_here) as there:
        await datasets.build_fleet(there)

    async with opened(databases_here) as there, there.reading() as session:
        await session.scalar(select(NodeRow.name))
        with pytest.raises(RestoreRefused, match="open"):
            await bring_back(databases_here, backup, replace=True)

    with closing(sqlite3.connect(path)) as there:
        assert (3,) == there.execute("SELECT count(*) FROM node").fetchone()


async def test_a_database_of_which_it_cannot_be_told_whether_it_is_open_is_not_replaced(
    sqlite_store, databases_here, tmp_path
) -> None:
    """Its log cannot be looked at: perhaps somebody writes there."""
    backup = await back_up(sqlite_store, tmp_path)
    async with opened(databases_here) as there:
        await datasets.build_fleet(there)
    path = Path(databases_here.removeprefix("sqlite:///"))
    before = content_of(path)
    bar(path.with_name(f"{path.name}-wal"))

    with pytest.raises(RestoreRefused, match="cannot be told"):
        await bring_back(databases_here, backup, replace=True)

    assert before == content_of(path)


async def test_a_file_that_is_no_database_is_kept_and_replaced(sqlite_store, tmp_path) -> None:
    backup = await back_up(sqlite_store, tmp_path)
    broken = tmp_path / "home.db"
    tear(broken)

    with pytest.raises(RestoreRefused, match="--replace"):
        await bring_back(f"sqlite:///{broken}", backup)
    restored = await bring_back(f"sqlite:///{broken}", backup, replace=True)

    assert b"torn" * 5000 == content_of(restored.replaced)
    async with opened(f"sqlite:///{broken}") as found:
        assert 1 == (await count(found))["installation"]


async def test_a_damaged_backup_changes_nothing(sqlite_store, databases_here, tmp_path) -> None:
    backup = await back_up(sqlite_store, tmp_path)
    flip_a_bit(backup)
    path = databases_here.removeprefix("sqlite:///")
    before = content_of(path)

    with pytest.raises(BackupBroken):
        await bring_back(databases_here, backup, replace=True)

    assert before == content_of(path)
    assert [] == names_in(tmp_path, ".x3fleet-scratch")


async def test_a_backup_whose_secrets_do_not_open_is_refused(sqlite_store, tmp_path) -> None:
    backup = await back_up(sqlite_store, tmp_path)

    with pytest.raises(SecretUnreadable):
        async with unpacked(backup, KEYS, Vault((make_key(),)), tmp_path):
            pass


async def test_a_failed_backup_leaves_nothing_behind(sqlite_store, tmp_path) -> None:
    async def fetch(folder):
        (folder / "panel").write_bytes(b"x")
        raise BackupError("the disk is full")

    with pytest.raises(BackupError, match="full"):
        await make_backup(sqlite_store, tmp_path / "kept", KEYS[0], fetch)

    assert [".x3fleet-backup.lock"] == names_in(tmp_path / "kept")


async def test_a_backup_that_cannot_be_read_back_never_gets_a_name(sqlite_store, tmp_path) -> None:
    folder, seen = tmp_path / "kept", []

    class Watched(Vault):
        """Opens no secret: reading back fails; looks at the folder meanwhile."""

        def open(self, sealed, place):
            seen.append(names_in(folder, "x3fleet-"))
            return Vault((make_key(),)).open(sealed, place)

    store = replace(sqlite_store, vault=Watched((KEY,)))
    with pytest.raises(SecretUnreadable):
        await back_up(store, folder)

    assert [] == [names for names in seen if names]
    assert seen
    assert [".x3fleet-backup.lock"] == names_in(folder)


async def test_a_backup_is_its_owners_alone_and_found_by_name_and_as_the_latest(
    sqlite_store, tmp_path
) -> None:
    folder = tmp_path / "kept"
    first = await back_up(sqlite_store, folder)
    second = await back_up(sqlite_store, folder)

    now = sqlite_store.clock.now()
    tear(folder / "odd.x3backup")
    listed = list_backups(folder, now)

    assert (0o600, 0o700) == (mode_of(first), mode_of(folder))
    assert {first.name, second.name, "odd.x3backup"} == {one.name for one in listed}
    assert ["odd.x3backup"] == [one.name for one in listed if one.fault]
    assert first == find_backup(folder, first.name, now)
    assert find_backup(folder, "latest", now) in (first, second)
    with pytest.raises(BackupError, match="there is no backup"):
        find_backup(tmp_path / "elsewhere", "latest", now)


@pytest.fixture
def databases_here(sqlite_template, tmp_path) -> str:
    """The URL of a prepared SQLite database that nobody has open."""
    return Databases("sqlite", tmp_path, template=sqlite_template).copy()


async def modes(session):
    rows = await session.scalars(select(NodeRow).order_by(NodeRow.name))
    return {NodeName(row.name): node_from(row).mode for row in rows}


async def test_what_a_killed_backup_left_goes_with_the_next_and_two_at_once_do_not_mix(
    sqlite_store, tmp_path
) -> None:
    folder = tmp_path / "kept"
    await back_up(sqlite_store, folder)
    leave_behind(folder)

    with making(folder), pytest.raises(BackupError, match="another process"):
        await back_up(sqlite_store, folder)
    await back_up(sqlite_store, folder)

    assert [".x3fleet-backup.lock"] == names_in(folder, ".")
    assert 2 == len(names_in(folder, "x3fleet-"))


def leave_behind(folder: Path) -> None:
    (folder / ".x3fleet-scratch-killed").mkdir()
    (folder / ".x3fleet-scratch-killed" / "database.sqlite").write_bytes(b"plain")
    (folder / "x3fleet-1.x3backup.unfinished").write_bytes(b"half")
