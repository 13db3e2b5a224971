"""One write of desired state: revision, wake-ups and audit line in one transaction, on both databases."""

import asyncio

import pytest
from sqlalchemy import select

from desired_state.model.ids import NodeName
from desired_state.model.tariff import Tariff
from desired_state.store.convert import spec_from_json, spec_to_json
from desired_state.store.engine import Store
from desired_state.store.tables.desired import AuditEventRow, TariffRow, WakeRow
from desired_state.store.tables.status import PlacementRow
from desired_state.store.unit_of_work import UnitOfWork, begin
from tests.builders import make_tariff
from tests.stores import START, Databases, opened

FIRST = 2  # the installation took revision 1


async def write_tariff(work: UnitOfWork, name: str) -> int:
    revision = await work.revise()
    work.session.add(TariffRow(name=name, spec={}, source="", revision=revision))
    work.audit("tariff_declared", f"tariff/{name}")
    return revision


async def wakes(store: Store) -> list[tuple[int, str | None]]:
    async with store.reading() as session:
        rows = await session.scalars(select(WakeRow).order_by(WakeRow.id))
        return [(row.revision, row.node) for row in rows if row.revision >= FIRST]


async def tariffs(store: Store) -> dict[str, int]:
    async with store.reading() as session:
        return {row.name: row.revision for row in await session.scalars(select(TariffRow))}


async def test_revisions_are_global_and_without_gaps(store: Store) -> None:
    for name in ("a", "b", "c"):
        async with begin(store, "test") as work:
            await write_tariff(work, name)

    assert {"a": FIRST, "b": FIRST + 1, "c": FIRST + 2} == await tariffs(store)


async def test_one_transaction_takes_one_revision(store: Store) -> None:
    async with begin(store, "test") as work:
        first = await write_tariff(work, "a")
        second = await write_tariff(work, "b")

    assert first == second == FIRST


async def test_a_failed_write_gives_its_revision_back_and_wakes_nobody(store: Store) -> None:
    async def fail() -> None:
        async with begin(store, "test") as work:
            await write_tariff(work, "a")
            await work.session.flush()
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    async with begin(store, "test") as work:
        await write_tariff(work, "b")

    assert {"b": FIRST} == await tariffs(store)
    assert [(FIRST, None)] == await wakes(store)


async def test_a_wake_up_names_its_nodes_once_and_the_scheduler_when_asked(store: Store) -> None:
    async with begin(store, "test") as work:
        await work.revise(NodeName("nl-1"), NodeName("de-1"))
        await work.revise(NodeName("nl-1"), scheduler=True)
        work.audit("something_changed", "test/1")

    assert {(FIRST, None), (FIRST, "de-1"), (FIRST, "nl-1")} == set(await wakes(store))
    assert 3 == len(await wakes(store))


async def test_the_wake_up_appears_together_with_what_was_written(
    store: Store, databases: Databases
) -> None:
    """Another process sees neither before the commit, and both after it."""
    async with opened(databases.borrowed[-1]) as other:
        async with begin(store, "test") as work:
            await write_tariff(work, "a")
            await work.session.flush()
            before = (await tariffs(other), await wakes(other))

        assert ({}, []) == before
        assert ({"a": FIRST}, [(FIRST, None)]) == (await tariffs(other), await wakes(other))


async def test_every_writer_gets_a_revision_of_its_own(store: Store) -> None:
    async def write(number: int) -> None:
        async with begin(store, "test") as work:
            await write_tariff(work, f"t{number}")

    await asyncio.gather(*(write(number) for number in range(20)))

    assert list(range(FIRST, FIRST + 20)) == sorted((await tariffs(store)).values())


async def test_revisions_become_visible_in_order(store: Store, databases: Databases) -> None:
    """A reader that follows the highest revision never finds a lower one later."""
    seen: list[list[int]] = []
    done = asyncio.Event()

    async def write(source: Store, start: int) -> None:
        for number in range(start, start + 10):
            async with begin(source, "test") as work:
                await write_tariff(work, f"t{number}")
                await asyncio.sleep(0)

    async def follow() -> None:
        cursor = FIRST - 1
        while not done.is_set():
            async with store.reading() as session:
                query = select(WakeRow.revision).where(WakeRow.revision > cursor)
                found = sorted(await session.scalars(query))
            if found:
                seen.append(found)
                cursor = found[-1]

    async with opened(databases.borrowed[-1]) as other:
        follower = asyncio.create_task(follow())
        await asyncio.gather(write(store, 0), write(other, 100))
        await asyncio.sleep(0.05)
        done.set()
        await follower

    assert list(range(FIRST, FIRST + 20)) == [revision for batch in seen for revision in batch]


async def test_every_change_says_who_made_it(store: Store) -> None:
    async with begin(store, "admin:ann") as work:
        await write_tariff(work, "a")

    async with store.reading() as session:
        row = (
            await session.scalars(select(AuditEventRow).order_by(AuditEventRow.id.desc()))
        ).first()
        assert row is not None
        assert ("admin:ann", "tariff_declared", "tariff/a", FIRST, START) == (
            row.actor, row.action, row.subject, row.revision, row.at,
        )  # fmt: skip


@pytest.mark.parametrize("forgotten", ["revision", "audit"])
async def test_a_command_that_forgets_its_duties_commits_nothing(
    store: Store, forgotten: str
) -> None:
    async def forget() -> None:
        async with begin(store, "test") as work:
            if forgotten == "audit":
                await work.revise()
            else:
                work.audit("tariff_declared", "tariff/a")
            work.session.add(TariffRow(name="a", spec={}, source="", revision=0))

    with pytest.raises(RuntimeError, match="without a revision or without an audit event"):
        await forget()

    assert {} == await tariffs(store)


async def test_a_command_cannot_write_status(store: Store) -> None:
    row = PlacementRow(key="k", node="n", reason="", at=START)

    with pytest.raises(TypeError, match="status is the controller's"):
        async with begin(store, "test") as work:
            work.session.add(row)


async def test_a_transaction_that_changes_nothing_takes_no_revision(store: Store) -> None:
    async with begin(store, "test") as work:
        await work.session.scalars(select(TariffRow))

    assert [] == await wakes(store)


async def test_a_tariffs_json_comes_back_as_it_was(store: Store) -> None:
    tariff = make_tariff()
    async with begin(store, "test") as work:
        revision = await work.revise()
        spec = spec_to_json(tariff)
        work.session.add(TariffRow(name=tariff.name, spec=spec, source="", revision=revision))
        work.audit("tariff_declared", "tariff/a")

    async with store.reading() as session:
        row = await session.get_one(TariffRow, tariff.name)
        assert tariff == spec_from_json(Tariff, row.spec)
