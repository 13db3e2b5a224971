"""Declared inbounds in the database: declared, orphaned, forgotten, owned; and how they are shown."""

from dataclasses import replace

import pytest

from desired_state.commands.differences import Verb
from desired_state.commands.errors import Conflict
from desired_state.commands.manifests import plan_bundle
from desired_state.manifests.bundle import Bundle
from desired_state.model.ids import InboundName
from desired_state.model.inbound import InboundSpec, InboundState, Reality
from desired_state.queries.inbounds import list_inbounds, show_inbound
from desired_state.store.engine import Store
from desired_state.store.tables.inbounds import ManagedInboundRow
from tests.builders import make_bundle, make_node_spec
from tests.data.rows import apply, wakes_since

NODE = make_node_spec()
FRONT = InboundSpec(
    InboundName("front"), "vless", 443, "x3f-front", "x3f-front", labels=NODE.labels,
    reality=Reality("www.example.org:443", ("www.example.org",)),
)  # fmt: skip
WITH = replace(make_bundle(NODE), inbounds=(FRONT,))
WITHOUT = make_bundle(NODE)


async def verbs(store: Store, bundle: Bundle) -> list[Verb]:
    async with store.reading() as session:
        return [d.verb for d in await plan_bundle(session, bundle) if d.kind == "Inbound"]


async def stands(store: Store, **changes: object) -> None:
    """Record that a node has it, as a turn does."""
    values = {"state": "live", "inbound_id": 7, "protocol": "vless", "port": 443, **changes}
    async with store.recording() as session:
        row = ManagedInboundRow(
            node=NODE.name, name="front", changed_at=store.clock.now(), **values
        )
        session.add(row)


async def test_an_inbound_is_declared_once_changed_and_wakes_its_nodes(sqlite_store: Store) -> None:
    before = await apply(sqlite_store, WITHOUT)

    first = await verbs(sqlite_store, WITH)
    await apply(sqlite_store, WITH)
    again = await verbs(sqlite_store, WITH)
    other = await verbs(sqlite_store, replace(WITH, inbounds=(replace(FRONT, port=8443),)))

    assert ([Verb.CREATE], [], [Verb.UPDATE]) == (first, again, other)
    assert NODE.name in await wakes_since(sqlite_store, before.revision or 0)


async def test_one_that_vanishes_is_orphaned_while_a_node_has_it_and_forgotten_afterwards(
    sqlite_store: Store,
) -> None:
    await apply(sqlite_store, WITH)
    nobody_has_it = await verbs(sqlite_store, WITHOUT)
    await stands(sqlite_store)
    vanished = await verbs(sqlite_store, WITHOUT)
    await apply(sqlite_store, WITHOUT)

    async with sqlite_store.reading() as session:
        shown = await show_inbound(session, FRONT.name)
    assert shown is not None
    assert ([Verb.DELETE], [Verb.ORPHAN]) == (nobody_has_it, vanished)
    assert (True, [NODE.name]) == (shown.orphaned, [on.node for on in shown.nodes])
    assert ([], [Verb.RESTORE]) == (
        await verbs(sqlite_store, WITHOUT), await verbs(sqlite_store, WITH),
    )  # fmt: skip


async def test_what_another_source_declares_is_not_taken_from_it(sqlite_store: Store) -> None:
    await apply(sqlite_store, WITH)
    theirs = Bundle(inbounds=(FRONT,), revision="r9", source="elsewhere")

    async with sqlite_store.reading() as session:
        with pytest.raises(Conflict, match="inbound front is declared by"):
            await plan_bundle(session, theirs)


EDGE = replace(FRONT, name=InboundName("edge"))
CLASHES = {
    "tag": replace(EDGE, port=8443, remark="x3f-edge"),
    "remark": replace(EDGE, port=8443, tag="x3f-edge"),
    "port": replace(EDGE, tag="x3f-edge", remark="x3f-edge"),
}
APART = replace(EDGE, tag="x3f-edge", remark="x3f-edge", port=8443)


async def refusal(store: Store, bundle: Bundle) -> str:
    async with store.reading() as session:
        with pytest.raises(Conflict) as refused:
            await plan_bundle(session, bundle)
    return refused.value.message


@pytest.mark.parametrize("word", CLASHES)
async def test_what_another_source_has_on_a_shared_node_is_refused(
    sqlite_store: Store, word: str
) -> None:
    await apply(sqlite_store, WITH)
    theirs = Bundle(inbounds=(CLASHES[word],), revision="r9", source="elsewhere")

    told = await refusal(sqlite_store, theirs)

    assert f"inbound edge has the {word} of inbound front on node {NODE.name}" in told


async def test_another_source_may_have_it_on_other_nodes_or_under_other_traits(
    sqlite_store: Store,
) -> None:
    await apply(sqlite_store, WITH)
    far = replace(EDGE, labels=(("country", "nowhere"),))
    listens = {"listen": "192.0.2.7", "tag": "x3f-edge", "remark": "x3f-edge"}

    for spec in (APART, far):
        theirs = Bundle(inbounds=(spec,), revision="r9", source="elsewhere")
        assert [Verb.CREATE] == await verbs(sqlite_store, theirs)
    theirs = Bundle(inbounds=(replace(EDGE, **listens),), revision="r9", source="elsewhere")
    assert "has the port of inbound front" in await refusal(sqlite_store, theirs)


async def test_a_change_into_the_way_of_another_source_is_refused_and_a_repetition_is_not(
    sqlite_store: Store,
) -> None:
    await apply(sqlite_store, WITH)
    theirs = Bundle(inbounds=(APART,), revision="r9", source="elsewhere")
    await apply(sqlite_store, theirs)

    moved = replace(theirs, inbounds=(replace(APART, port=443),))

    assert [] == await verbs(sqlite_store, theirs)
    assert "has the port of inbound front" in await refusal(sqlite_store, moved)


async def test_a_renamed_document_keeps_its_traits_or_is_refused_while_a_node_has_the_old_one(
    sqlite_store: Store,
) -> None:
    await apply(sqlite_store, WITH)
    free = [await verbs(sqlite_store, replace(WITH, inbounds=(one,))) for one in CLASHES.values()]
    await stands(sqlite_store)

    renamed = await verbs(sqlite_store, replace(WITH, inbounds=(EDGE,)))
    other = await verbs(sqlite_store, replace(WITH, inbounds=(APART,)))

    assert [[Verb.CREATE, Verb.DELETE]] * 3 == free
    assert [[Verb.CREATE, Verb.ORPHAN]] * 2 == [renamed, other]
    for word, one in CLASHES.items():
        told = await refusal(sqlite_store, replace(WITH, inbounds=(one,)))
        assert f"has the {word} of inbound front, which node {NODE.name} still has" in told


async def test_what_left_its_manifests_earlier_is_in_the_way_for_as_long_as_a_node_has_it(
    sqlite_store: Store,
) -> None:
    await apply(sqlite_store, WITH)
    await stands(sqlite_store)
    await apply(sqlite_store, WITHOUT)

    late = await verbs(sqlite_store, replace(WITH, inbounds=(EDGE,)))
    told = await refusal(sqlite_store, replace(WITH, inbounds=(CLASHES["port"],)))

    assert [Verb.CREATE] == late
    assert "still has" in told


async def test_a_list_shows_what_is_awaited_and_what_a_turn_said(sqlite_store: Store) -> None:
    await apply(sqlite_store, WITH)
    async with sqlite_store.reading() as session:
        [awaited] = await list_inbounds(session)
    await stands(sqlite_store, state="refused", reason="InboundPortTaken", message="port 443 ...")
    async with sqlite_store.reading() as session:
        [told] = await list_inbounds(session)

    assert [(InboundState.PENDING, None)] == [(on.state, on.inbound_id) for on in awaited.nodes]
    assert [(InboundState.REFUSED, "InboundPortTaken", 7)] == [
        (on.state, on.reason, on.inbound_id) for on in told.nodes
    ]
