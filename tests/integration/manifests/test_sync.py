"""Continuous sync: one revision as a whole or none, the last good one stays, and everything is stored."""

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import func, select

from desired_state.commands.apart import Apart, StillBusy
from desired_state.commands.errors import NotFound
from desired_state.commands.sources import FaultReason, hand_over
from desired_state.commands.sync import Look, ManifestSync
from desired_state.manifests.errors import ManifestSourceUnavailable
from desired_state.manifests.settings import SyncSettings
from desired_state.manifests.sources.settled import Settled
from desired_state.manifests.sources.source import ManifestFile, ManifestFiles
from desired_state.queries.sources import OrphanView, SourceView, list_sources
from desired_state.store.convert import node_from
from desired_state.store.engine import Store
from desired_state.store.tables.desired import (
    AuditEventRow,
    NodeRow,
    RevisionCounterRow,
    WakeRow,
)
from desired_state.store.unit_of_work import begin
from tests.integration.manifests.repositories import TOKEN, Repository, node, served
from tests.integration.runtime.serving import eventually
from tests.stores import Databases, FrozenClock, make_ready, opened, run_apart

BAD = node("nl-1").replace("https://nl-1.example.net:2053", "https://nl-1.example.net:99999")


def settings_of(repository: Repository, **more: Any) -> SyncSettings:
    return SyncSettings(repository=str(repository.path), **more)


def folder_of(folder: Path, name: str, text: str) -> Path:
    """Put one file into a folder, and take away what points nowhere."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    for path in folder.iterdir():
        if not path.exists():
            path.unlink()
    return folder


def nl(number: int, **options: Any) -> dict[str, str]:
    """One file with one node."""
    return {f"nl-{number}.yaml": node(f"nl-{number}", **options)}


async def source(store: Store) -> SourceView:
    async with store.reading() as session:
        (found,) = await list_sources(session)
    return found


async def nodes(store: Store) -> dict[str, str]:
    """Every node of the database, and what became of it."""
    async with store.reading() as session:
        found = [node_from(row) for row in await session.scalars(select(NodeRow))]
    states = {}
    for one in found:
        state = "orphaned" if one.orphaned else "declared"
        states[str(one.spec.name)] = f"{state}, draining" if one.is_draining else state
    return dict(sorted(states.items()))


async def written(store: Store) -> tuple[int, ...]:
    """Revision, wake-ups and audit lines: what any write of desired state moves."""
    async with store.reading() as session:
        counts = [
            await session.scalar(select(func.count()).select_from(row))
            for row in (WakeRow, AuditEventRow)
        ]
        revision = await session.scalar(select(RevisionCounterRow.value))
    return tuple(int(count or 0) for count in (revision, *counts))


@dataclass
class Scripted:
    """A source that answers what it was told last; `gate`: it hangs until that is set."""

    files: dict[str, str] = field(default_factory=dict)
    revision: str = "r1"
    error: ManifestSourceUnavailable | None = None
    gate: threading.Event | None = None
    fetches: int = 0
    name: str = "scripted"

    def fetch(self) -> ManifestFiles:
        self.fetches += 1
        if self.gate is not None:
            self.gate.wait(30)
        if self.error is not None:
            raise self.error
        files = tuple(ManifestFile(n, t.encode()) for n, t in sorted(self.files.items()))
        return ManifestFiles(files, self.revision, self.name)


def of(scripted: Scripted, store: Store, **options: Any) -> ManifestSync:
    return ManifestSync(store, SyncSettings(), source=scripted, **options)


# -- signs of life ---------------------------------------------------------------------------------


async def test_who_follows_a_source_says_so_and_wakes_nobody(store) -> None:
    """Even while nothing is new; a source that is only looked at once is followed by nobody."""
    sync = of(Scripted(nl(1)), store)
    await sync.look()
    once = await source(store)
    before = await written(store)

    async def is_told() -> bool:
        return (await source(store)).looked_at is not None

    running = asyncio.create_task(sync.run())
    await eventually(is_told)
    running.cancel()

    assert once.looked_at is None
    assert store.clock.now() == (await source(store)).looked_at
    assert before == await written(store)


async def test_a_revision_that_is_applied_by_hand_ends_the_following(store) -> None:
    sync = of(Scripted(nl(1)), store)
    await sync.look()
    await sync.beat()
    followed = await source(store)

    await of(Scripted(nl(2), revision="r2"), store).look()

    assert followed.looked_at is not None
    assert (await source(store)).looked_at is None


# -- one revision, whole ---------------------------------------------------------------------------


async def test_a_commit_adds_a_node_and_an_unchanged_one_writes_nothing(store, repository) -> None:
    commit = repository.commit(nl(1))
    sync = ManifestSync(store, settings_of(repository))

    first = await sync.look()
    before = await written(store)
    again = await sync.look()

    assert ((commit, commit, ["nl-1"]), None) == (
        (first.fetched, first.applied, [d.name for d in first.differences or ()]),
        again.differences,
    )
    assert before == await written(store)
    assert {"nl-1": "declared"} == await nodes(store)
    found = await source(store)
    now = store.clock.now()
    assert SourceView(
        source=f"{repository.path}#main",
        fetched_revision=commit, fetched_at=now, applied_revision=commit, applied_at=now,
        code="", error="", faults=(), since=None, checked_at=now, looked_at=None, nodes=1,
        orphans=(),
    ) == found  # fmt: skip
    assert found.in_force


async def test_a_forced_push_is_accepted(store, repository) -> None:
    repository.commit(nl(1))
    repository.commit({**nl(1), **nl(2)})
    sync = ManifestSync(store, settings_of(repository))
    await sync.look()

    forced = repository.commit(nl(3), onto=None)
    look = await sync.look()

    assert (forced, None) == (look.applied, look.fault)
    assert {"nl-1": "orphaned", "nl-2": "orphaned", "nl-3": "declared"} == await nodes(store)


async def test_a_bad_revision_changes_nothing_and_is_stored_with_its_places(
    store, repository
) -> None:
    good = repository.commit(nl(1))
    sync = ManifestSync(store, settings_of(repository))
    await sync.look()
    clock = store.clock
    assert isinstance(clock, FrozenClock)
    clock.advance(minutes=1)

    # The good half of a bad revision must not come through.
    bad = repository.commit({"nl-1.yaml": BAD, **nl(2)})
    look = await sync.look()

    found = await source(store)
    assert look.fault is not None
    assert FaultReason.INVALID is look.fault.reason
    assert (bad, good) == (found.fetched_revision, found.applied_revision)
    assert {"nl-1": "declared"} == await nodes(store)
    assert ("manifest_schema", clock.now(), clock.now()) == (
        found.code, found.since, found.checked_at,
    )  # fmt: skip
    assert [("nl-1.yaml", 6, 10, "spec.panel.url")] == [
        (f["file"], f["line"], f["column"], f["field"]) for f in found.faults
    ]
    assert not found.in_force
    before = await written(store)
    await sync.look()
    assert before == await written(store)


async def test_a_good_revision_after_a_bad_one_is_applied_and_clears_the_error(
    store, repository
) -> None:
    repository.commit({"nl-1.yaml": BAD})
    sync = ManifestSync(store, settings_of(repository))
    first = await sync.look()
    never = await source(store)

    good = repository.commit(nl(1))
    await sync.look()

    found = await source(store)
    assert first.applied == never.applied_revision == ""
    assert never.applied_at is None
    assert (good, good, "", "", (), None) == (
        found.fetched_revision, found.applied_revision, found.code, found.error, found.faults,
        found.since,
    )  # fmt: skip
    assert {"nl-1": "declared"} == await nodes(store)


async def test_a_reverted_bad_revision_is_well_again_without_another_apply(
    store, repository
) -> None:
    """The good revision is the one in force already: only the error goes."""
    good = repository.commit(nl(1))
    sync = ManifestSync(store, settings_of(repository))
    await sync.look()
    applied_at = (await source(store)).applied_at
    clock = store.clock
    assert isinstance(clock, FrozenClock)
    clock.advance(minutes=1)
    repository.commit({"nl-1.yaml": BAD})
    await sync.look()

    with_branch_back = Repository.commit(repository, nl(1), onto=good)
    look = await sync.look()

    found = await source(store)
    assert (with_branch_back, ()) == (look.applied, look.differences)
    assert found.in_force
    assert applied_at is not None
    assert found.applied_at == clock.now()


# -- the source fails ------------------------------------------------------------------------------


async def test_git_down_keeps_what_is_in_force_and_up_again_clears_it(
    store, repository, tmp_path
) -> None:
    commit = repository.commit(nl(1))
    with served(repository, tmp_path) as host:
        settings = SyncSettings(repository=host.url, token=TOKEN, ca_file=host.ca_file)
        sync = ManifestSync(store, settings)
        await sync.look()
        clock = store.clock
        assert isinstance(clock, FrozenClock)
        clock.advance(minutes=1)
        since = clock.now()

        host.down = True
        down = await sync.look()
        after_first = await written(store)
        clock.advance(minutes=1)
        await sync.look()
        failing = await source(store)

        assert after_first == await written(store)
        host.down = False
        up = await sync.look()

    well = await source(store)
    assert down.fault is not None
    assert (FaultReason.UNAVAILABLE, "", commit) == (
        down.fault.reason, down.fetched, down.applied,
    )  # fmt: skip
    assert ("manifest_source_unavailable", since, commit, commit) == (
        failing.code, failing.since, failing.fetched_revision, failing.applied_revision,
    )  # fmt: skip
    assert "answers with HTTP status 503" in failing.error
    assert (None, "", None, commit) == (up.fault, well.code, well.since, well.applied_revision)
    assert {"nl-1": "declared"} == await nodes(store)


def disappear(fleet: Path) -> None:
    fleet.rename(fleet.with_name("away"))


def become_empty(fleet: Path) -> None:
    (fleet / "a.yaml").rename(fleet / "a.yaml.bak")


def become_unreadable(fleet: Path) -> None:
    (fleet / "b.yaml").symlink_to(fleet / "nowhere.yaml")


@pytest.mark.parametrize("happen", [disappear, become_empty, become_unreadable])
async def test_a_folder_that_cannot_be_read_orphans_nobody(sqlite_store, tmp_path, happen) -> None:
    fleet = folder_of(tmp_path / "fleet", "a.yaml", node("nl-1"))
    sync = ManifestSync(sqlite_store, SyncSettings(directory=fleet))
    await sync.look()

    happen(fleet)
    look = await sync.look()

    assert look.fault is not None
    assert FaultReason.UNAVAILABLE is look.fault.reason
    assert {"nl-1": "declared"} == await nodes(sqlite_store)
    assert not (await source(sqlite_store)).in_force
    again = folder_of(tmp_path / "fleet", "a.yaml", node("nl-1"))
    assert fleet == again
    assert (await sync.look()).fault is None
    assert (await source(sqlite_store)).in_force


async def test_a_directory_is_followed_by_its_content(store, tmp_path) -> None:
    folder_of(tmp_path, "a.yaml", node("nl-1"))
    sync = ManifestSync(store, SyncSettings(directory=tmp_path))
    first = await sync.look()

    folder_of(tmp_path, "b.yaml", node("nl-2"))
    second = await sync.look()

    assert first.applied != second.applied
    assert {"nl-1": "declared", "nl-2": "declared"} == await nodes(store)


async def test_a_restart_in_front_of_a_bad_revision_keeps_the_last_good_one(
    databases: Databases, repository
) -> None:
    url = databases.ready()
    good = repository.commit(nl(1))
    async with opened(url) as store:
        await ManifestSync(store, settings_of(repository)).look()
    bad = repository.commit({"nl-1.yaml": BAD})

    async with opened(url) as store:
        look = await ManifestSync(store, settings_of(repository)).look()

        assert (bad, good) == (look.fetched, look.applied)
        assert {"nl-1": "declared"} == await nodes(store)
        assert good == (await source(store)).applied_revision


async def test_a_database_restored_from_a_backup_says_again_what_the_manifests_say(
    store, repository
) -> None:
    """Though the revision is not new to the process that syncs."""
    repository.commit(nl(1))
    sync = ManifestSync(store, settings_of(repository))
    await sync.look()
    async with store.recording() as session:
        await session.delete(await session.get(NodeRow, "nl-1"))

    look = await sync.look()

    assert ["nl-1"] == [difference.name for difference in look.differences or ()]
    assert {"nl-1": "declared"} == await nodes(store)


# -- who owns what, and what vanishes --------------------------------------------------------------


async def test_two_sources_with_one_name_do_not_take_it_from_each_other(
    store, repository, tmp_path
) -> None:
    other = Repository(tmp_path / "other.git")
    repository.commit(nl(1))
    other.commit({**nl(1), **nl(9)})
    mine, theirs = (ManifestSync(store, settings_of(r)) for r in (repository, other))
    await mine.look()

    refused = await theirs.look()

    assert refused.fault is not None
    assert (FaultReason.REFUSED, "conflict") == (refused.fault.reason, refused.fault.code)
    assert f"node nl-1 is declared by the manifests of {repository.path}#main" in (
        refused.fault.message
    )
    assert {"nl-1": "declared"} == await nodes(store)
    async with store.reading() as session:
        views = {view.source: view for view in await list_sources(session)}
    assert (True, False) == (
        views[f"{repository.path}#main"].in_force,
        views[f"{other.path}#main"].in_force,
    )
    other.commit(nl(9))
    assert (await theirs.look()).fault is None
    assert (await mine.look()).fault is None
    assert {"nl-1": "declared", "nl-9": "declared"} == await nodes(store)


async def test_a_vanished_node_is_orphaned_or_drained_as_its_last_manifest_said(
    store, repository
) -> None:
    repository.commit({**nl(1), **nl(2), **nl(3, policy="Drain")})
    sync = ManifestSync(store, settings_of(repository))
    await sync.look()

    repository.commit(nl(1))
    await sync.look()

    gone = {"nl-1": "declared", "nl-2": "orphaned", "nl-3": "orphaned, draining"}
    assert gone == await nodes(store)
    orphans = (OrphanView("nl-2", draining=False), OrphanView("nl-3", draining=True))
    assert orphans == (await source(store)).orphans
    repository.commit({**nl(1), **nl(2), **nl(3, policy="Drain")})
    await sync.look()
    assert {"nl-1": "declared", "nl-2": "declared", "nl-3": "declared"} == await nodes(store)


async def test_a_revision_that_declares_nothing_is_refused(store, repository) -> None:
    """By an empty file nobody means that every node should be orphaned."""
    repository.commit(nl(1))
    sync = ManifestSync(store, settings_of(repository))
    await sync.look()

    repository.commit({"nl-1.yaml": "# all gone\n"})
    look = await sync.look()

    assert look.fault is not None
    assert {"nl-1": "declared"} == await nodes(store)


async def test_what_a_folder_declared_is_handed_over_to_a_repository(
    store, repository, tmp_path
) -> None:
    """Without it the repository is refused; with it nothing that is declared changes."""
    folder = folder_of(tmp_path / "fleet", "nl-1.yaml", node("nl-1"))
    await ManifestSync(store, SyncSettings(directory=folder)).look()
    repository.commit({**nl(1), **nl(2)})
    sync = ManifestSync(store, settings_of(repository))
    refused = await sync.look()

    async with begin(store, "test") as work:
        moved = await hand_over(work, str(folder), f"{repository.path}#main")
    look = await sync.look()

    assert refused.fault is not None
    assert (1, None, ["nl-2"]) == (
        moved, look.fault, [difference.name for difference in look.differences or ()],
    )  # fmt: skip
    assert {"nl-1": "declared", "nl-2": "declared"} == await nodes(store)
    assert f"{repository.path}#main" == (await source(store)).source
    async with begin(store, "test") as work:
        with pytest.raises(NotFound, match="no source"):
            await hand_over(work, str(folder), "x")


class Written(Scripted):
    """A source that somebody writes: each reading shows one more file, up to `whole` of them."""

    whole = 3

    def fetch(self) -> ManifestFiles:
        number = min(self.fetches + 1, self.whole)
        self.files = {k: v for n in range(1, number + 1) for k, v in nl(n).items()}
        self.revision = f"r{number}"
        return super().fetch()


def test_a_folder_that_is_being_written_counts_when_it_stands_still() -> None:
    """Half of a copy looks like a fleet that lost nodes."""
    growing = Written()
    settled = Settled(growing, pause_s=0)

    first, again = settled.fetch(), settled.fetch()

    assert ["r3", "r3"] == [first.revision, again.revision]
    # A known revision is read once, not twice.
    assert 5 == growing.fetches


def test_a_folder_that_never_stands_still_is_given_up() -> None:
    growing = Written()
    growing.whole = 1_000

    with pytest.raises(ManifestSourceUnavailable, match="changes all the time"):
        Settled(growing, pause_s=0).fetch()


# -- the loop --------------------------------------------------------------------------------------


@dataclass
class Watching:
    """An observer that keeps what it was told."""

    looks: list[Look] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def looked(self, look: Look) -> None:
        self.looks.append(look)
        self.more.set()


@pytest.fixture
async def watching() -> Watching:
    return Watching()


async def test_every_look_is_told_to_the_observer_and_a_fault_is_logged_once(
    sqlite_store, watching
) -> None:
    scripted = Scripted(nl(1))
    sync = of(scripted, sqlite_store, observer=watching)
    with structlog.testing.capture_logs() as logged:
        await sync.look()
        scripted.error = ManifestSourceUnavailable("scripted is away")
        await sync.look()
        await sync.look()
        scripted.error = None
        await sync.look()

    assert [None, "unavailable", "unavailable", None] == [
        look.fault and look.fault.reason.value for look in watching.looks
    ]
    assert ["manifest_loaded", "manifest_rejected", "source_recovered"] == [
        line["event"] for line in logged
    ]


async def test_the_loop_looks_again_and_ends_when_cancelled(sqlite_store, watching) -> None:
    scripted = Scripted(nl(1))
    settings = SyncSettings(every_s=1)
    sync = ManifestSync(sqlite_store, settings, source=scripted, observer=watching)
    task = asyncio.create_task(sync.run())

    while len(watching.looks) < 2:
        watching.more.clear()
        await watching.more.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert {"nl-1": "declared"} == await nodes(sqlite_store)


async def test_a_source_that_hangs_is_given_up_and_not_asked_twice_at_once(sqlite_store) -> None:
    """The loop goes on, and so does everything else in the process."""
    scripted = Scripted(nl(1), gate=threading.Event())
    sync = of(scripted, sqlite_store)
    sync._settings = SyncSettings(timeout_s=1)
    sync._grace_s = 0.0

    hanging, busy = await sync.look(), await sync.look()
    scripted.gate.set()
    await asyncio.wrap_future(sync._apart._last)
    after = await sync.look()

    assert hanging.fault is not None
    assert busy.fault is not None
    assert "could not be read within 1 s" in hanging.fault.message
    assert "is still being read" in busy.fault.message
    assert (2, None) == (scripted.fetches, after.fault)


async def test_a_database_that_fails_is_told_and_tried_again(tmp_path) -> None:
    """Nothing can be stored then; the look says so, and the next one does what this one could not."""
    url = f"sqlite:///{tmp_path}/late.db"
    async with opened(url) as store:
        sync = of(Scripted(nl(1)), store)

        without_tables = await sync.look()
        await asyncio.to_thread(run_apart, make_ready(url))
        after = await sync.look()

    assert without_tables.fault is not None
    assert (FaultReason.OTHER, "store") == (
        without_tables.fault.reason, without_tables.fault.code,
    )  # fmt: skip
    assert None is after.fault


async def test_a_thread_apart_hands_on_what_its_call_raised() -> None:
    apart = Apart("test")

    def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        await apart.run(fail, 5)
    assert 3 == await apart.run(lambda: 3, 5)


async def test_a_thread_apart_is_one_thread() -> None:
    apart, gate = Apart("test"), threading.Event()
    with pytest.raises(TimeoutError):
        await apart.run(gate.wait, 0.01)

    with pytest.raises(StillBusy):
        await apart.run(lambda: None, 5)
    gate.set()
