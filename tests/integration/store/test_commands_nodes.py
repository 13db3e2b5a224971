"""Commands of nodes: declaring, overriding, orphaning."""

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from desired_state.commands import nodes
from desired_state.commands.errors import AlreadyExists, Conflict, NotFound
from desired_state.commands.nodes import NodeChange
from desired_state.model.ids import NodeName
from desired_state.model.node import DeletionPolicy, Mode, Node, NodeOverrides
from desired_state.store.convert import node_from
from desired_state.store.engine import Store
from desired_state.store.tables.desired import NodeRow, RequestRow
from desired_state.store.unit_of_work import UnitOfWork, begin
from tests.builders import make_node_spec
from tests.data.rows import wakes_since

NL1 = NodeName("nl-1")
Override = Callable[[UnitOfWork, NodeName], Awaitable[NodeChange]]


@pytest.fixture
async def node(sqlite_store: Store) -> Node:
    """Declare one node by hand."""
    async with begin(sqlite_store, "test") as work:
        return (await nodes.declare(work, make_node_spec())).node


async def read(store: Store, name: str = "nl-1") -> Node:
    async with store.reading() as session:
        return node_from(await session.get_one(NodeRow, name))


async def run(store: Store, command: Override) -> NodeChange:
    async with begin(store, "test") as work:
        return await command(work, NL1)


async def test_a_declared_node_reads_back_as_it_was(sqlite_store: Store, node: Node) -> None:
    assert node == await read(sqlite_store)
    assert make_node_spec() == node.spec
    assert {None, NL1} == await wakes_since(sqlite_store, node.revision)


async def test_declaring_the_same_again_changes_nothing(sqlite_store: Store, node: Node) -> None:
    async with begin(sqlite_store, "test") as work:
        again = await nodes.declare(work, make_node_spec())

    assert NodeChange(node, changed=False) == again


async def test_a_changed_declaration_takes_a_revision(sqlite_store: Store, node: Node) -> None:
    async with begin(sqlite_store, "test") as work:
        changed = await nodes.declare(work, make_node_spec(weight=2.0))

    assert 2.0 == changed.node.spec.weight
    assert node.revision + 1 == changed.node.revision
    assert changed.node == await read(sqlite_store)


@pytest.mark.parametrize(
    "url",
    [
        "https://nl-1.example.net:2053/panel-path/",
        "https://NL-1.example.net:2053/panel-path",
        "http://nl-1.example.net:2053/panel-path/",
    ],
    ids=["the same", "spelled otherwise", "by another scheme"],
)
@pytest.mark.usefixtures("node")
async def test_one_panel_belongs_to_one_node(sqlite_store: Store, url: str) -> None:
    with pytest.raises(AlreadyExists, match="nl-1 and nl-2 have the same panel"):
        async with begin(sqlite_store, "test") as work:
            await nodes.declare(work, make_node_spec("nl-2", url=url))


@pytest.mark.usefixtures("node")
async def test_an_orphaned_node_keeps_its_panel(sqlite_store: Store) -> None:
    """Its keys live on there: a second node would take them for strangers."""
    await run(sqlite_store, nodes.orphan)

    with pytest.raises(AlreadyExists):
        async with begin(sqlite_store, "test") as work:
            await nodes.declare(work, make_node_spec("nl-2", url=make_node_spec().url))


@pytest.mark.usefixtures("node")
async def test_orphaning_twice_changes_nothing_more(sqlite_store: Store) -> None:
    first = await run(sqlite_store, nodes.orphan)
    again = await run(sqlite_store, nodes.orphan)

    assert (True, False) == (first.changed, again.changed)
    assert first.node == again.node


@pytest.mark.usefixtures("node")
async def test_no_source_takes_a_node_from_another(sqlite_store: Store) -> None:
    with pytest.raises(Conflict, match="declared by hand"):
        async with begin(sqlite_store, "test") as work:
            await nodes.declare(work, make_node_spec(), source="fleet")

    await run(sqlite_store, nodes.orphan)
    async with begin(sqlite_store, "test") as work:
        changed = await nodes.declare(work, make_node_spec(), source="fleet")
    assert not changed.node.orphaned


# -- overrides -------------------------------------------------------------------------------------


async def set_observe(work: UnitOfWork, name: NodeName) -> NodeChange:
    return await nodes.set_mode(work, name, Mode.OBSERVE)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (nodes.pause, NodeOverrides(paused=True)),
        (nodes.cordon, NodeOverrides(cordoned=True)),
        (nodes.drain, NodeOverrides(draining=True)),
        (set_observe, NodeOverrides(mode=Mode.OBSERVE)),
    ],
    ids=["pause", "cordon", "drain", "mode"],
)
async def test_an_override_stands_beside_the_declaration(
    sqlite_store: Store, node: Node, command: Override, expected: NodeOverrides
) -> None:
    change = await run(sqlite_store, command)
    again = await run(sqlite_store, command)
    async with begin(sqlite_store, "test") as work:
        declared = await nodes.declare(work, make_node_spec(priority=1))

    assert (expected, node.spec) == (change.node.overrides, change.node.spec)
    assert (True, False) == (change.changed, again.changed)
    assert {None, NL1} == await wakes_since(sqlite_store, change.node.revision)
    assert expected == declared.node.overrides


@pytest.mark.usefixtures("node")
async def test_uncordon_ends_a_drain_too(sqlite_store: Store) -> None:
    await run(sqlite_store, nodes.cordon)
    await run(sqlite_store, nodes.drain)

    change = await run(sqlite_store, nodes.uncordon)

    assert NodeOverrides() == change.node.overrides


@pytest.mark.usefixtures("node")
async def test_a_mode_override_is_taken_back(sqlite_store: Store) -> None:
    await run(sqlite_store, set_observe)

    async with begin(sqlite_store, "test") as work:
        change = await nodes.set_mode(work, NL1, None)

    assert Mode.ENFORCE == change.node.mode


@pytest.mark.usefixtures("node")
async def test_resume_asks_for_one_more_try_of_refused_credentials(sqlite_store: Store) -> None:
    """Also of a node that was never paused: it may be stalled."""
    await run(sqlite_store, nodes.pause)
    change = await run(sqlite_store, nodes.resume)
    await run(sqlite_store, nodes.resume)

    assert Mode.ENFORCE == change.node.mode
    async with sqlite_store.reading() as session:
        asked = [(row.kind, row.node) for row in await session.scalars(select(RequestRow))]
    assert [("resume", "nl-1"), ("resume", "nl-1")] == asked


@pytest.mark.parametrize(
    "command", [nodes.pause, nodes.resume, nodes.cordon, nodes.drain, nodes.orphan]
)
async def test_an_unknown_node_is_named(sqlite_store: Store, command: Override) -> None:
    with pytest.raises(NotFound, match="no node nl-1"):
        await run(sqlite_store, command)


# -- orphans ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "leaves"), [(DeletionPolicy.ORPHAN, False), (DeletionPolicy.DRAIN, True)]
)
async def test_an_orphan_is_not_scheduled_and_is_drained_when_so_declared(
    sqlite_store: Store, policy: DeletionPolicy, *, leaves: bool
) -> None:
    async with begin(sqlite_store, "test") as work:
        await nodes.declare(work, make_node_spec(deletion_policy=policy))

    change = await run(sqlite_store, nodes.orphan)

    assert (True, False, leaves) == (
        change.node.orphaned, change.node.is_schedulable, change.node.is_draining,
    )  # fmt: skip


async def test_a_node_that_returns_is_drained_no_more(sqlite_store: Store) -> None:
    spec = make_node_spec(deletion_policy=DeletionPolicy.DRAIN)
    async with begin(sqlite_store, "test") as work:
        await nodes.declare(work, spec)
    await run(sqlite_store, nodes.orphan)

    async with begin(sqlite_store, "test") as work:
        change = await nodes.declare(work, spec)

    assert (False, False, True) == (
        change.node.orphaned, change.node.is_draining, change.node.is_schedulable,
    )  # fmt: skip
