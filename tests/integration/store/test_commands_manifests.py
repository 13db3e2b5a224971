"""Applying a bundle: exactly what was planned, all of it or nothing."""

import pytest
from sqlalchemy import select

from desired_state.commands import nodes
from desired_state.commands.differences import Difference, FieldChange, Verb
from desired_state.commands.errors import AlreadyExists, Conflict
from desired_state.commands.installation import set_email_template
from desired_state.commands.manifests import Applied, plan_bundle
from desired_state.manifests.bundle import Bundle
from desired_state.model.errors import InvalidValue
from desired_state.model.generation import JournalState
from desired_state.model.ids import KeyId, NodeName
from desired_state.model.node import AuthRefs, DeletionPolicy, Node, NodeOverrides, SecretRef
from desired_state.model.ownership import DEFAULT_TEMPLATE
from desired_state.store.convert import node_from, policy_from, tariff_from
from desired_state.store.engine import Store
from desired_state.store.installation import read_ownership
from desired_state.store.tables.desired import ManifestSourceRow, NodeRow, PolicyRow, TariffRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_policy, make_tariff
from tests.data.rows import apply, journal, place, wakes_since

NODE, TARIFF, POLICY = make_node_spec(), make_tariff(), make_policy()


async def plan(store: Store, bundle: Bundle) -> tuple[Difference, ...]:
    async with store.reading() as session:
        return await plan_bundle(session, bundle)


async def verbs(store: Store, bundle: Bundle) -> list[tuple[str, str, Verb]]:
    return [(d.kind, d.name, d.verb) for d in await plan(store, bundle)]


async def declared(store: Store) -> dict[str, Node]:
    async with store.reading() as session:
        return {row.name: node_from(row) for row in await session.scalars(select(NodeRow))}


async def test_a_bundle_is_written_as_it_was_declared(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE, TARIFF, POLICY))

    async with sqlite_store.reading() as session:
        assert NODE == node_from(await session.get_one(NodeRow, NODE.name)).spec
        assert TARIFF == tariff_from(await session.get_one(TariffRow, TARIFF.name))
        assert POLICY == policy_from(await session.get_one(PolicyRow, POLICY.name))
        source = await session.get_one(ManifestSourceRow, "fleet")
        assert ("r1", sqlite_store.clock.now()) == (source.applied_revision, source.applied_at)


async def test_what_is_planned_is_what_is_applied(sqlite_store: Store) -> None:
    bundle = make_bundle(NODE, TARIFF, POLICY)

    planned = await plan(sqlite_store, bundle)
    applied = await apply(sqlite_store, bundle)

    assert planned == applied.differences
    assert () == await plan(sqlite_store, bundle)


async def test_planning_changes_nothing(sqlite_store: Store) -> None:
    await plan(sqlite_store, make_bundle(NODE))

    assert {} == await declared(sqlite_store)


async def test_a_plan_names_every_field_that_differs(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE, TARIFF))
    changed = make_node_spec(weight=2.0, labels=(("country", "nl"), ("tier", "premium")))

    found = await plan(sqlite_store, make_bundle(changed, TARIFF))

    labels = FieldChange("labels", [["country", "nl"]], [["country", "nl"], ["tier", "premium"]])
    fields = (labels, FieldChange("weight", 1.0, 2.0))
    assert (Difference("Node", "nl-1", Verb.UPDATE, fields),) == found


async def test_a_plan_shows_where_a_secret_is_and_never_what_it_holds(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE))
    sealed = AuthRefs(token=SecretRef("ciphertext", "gAAAAhunter2"))

    found = await plan(sqlite_store, make_bundle(make_node_spec(auth=sealed)))

    assert (FieldChange("auth.token", "env NL_1_TOKEN", "ciphertext"),) == found[0].fields


async def test_a_new_ciphertext_is_a_difference_though_both_look_alike(
    sqlite_store: Store,
) -> None:
    for token in ("gAAAAone", "gAAAAtwo"):
        auth = AuthRefs(token=SecretRef("ciphertext", token))
        applied = await apply(sqlite_store, make_bundle(make_node_spec(auth=auth), revision=token))

    change = FieldChange("auth.token", "ciphertext", "ciphertext")
    assert (Difference("Node", "nl-1", Verb.UPDATE, (change,)),) == applied.differences


async def test_the_same_revision_again_does_nothing(sqlite_store: Store) -> None:
    first = await apply(sqlite_store, make_bundle(NODE))
    again = await apply(sqlite_store, make_bundle(NODE))

    assert Applied((), None) == again
    assert first.revision is not None
    assert {None, "nl-1"} == await wakes_since(sqlite_store, first.revision)


async def test_a_new_revision_without_a_difference_is_remembered(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE))

    applied = await apply(sqlite_store, make_bundle(NODE, revision="r2"))

    assert () == applied.differences
    async with sqlite_store.reading() as session:
        source = await session.get_one(ManifestSourceRow, "fleet")
        assert ("r2", applied.revision) == (source.applied_revision, source.revision)


async def test_what_vanishes_is_orphaned_withdrawn_or_deleted(sqlite_store: Store) -> None:
    drained = make_node_spec("nl-2", deletion_policy=DeletionPolicy.DRAIN)
    await apply(sqlite_store, make_bundle(NODE, drained, TARIFF, POLICY))
    empty = make_bundle(revision="r2")

    assert [
        ("Node", "nl-1", Verb.ORPHAN),
        ("Node", "nl-2", Verb.DRAIN),
        ("Tariff", "month-nl", Verb.WITHDRAW),
        ("Policy", "default", Verb.DELETE),
    ] == await verbs(sqlite_store, empty)
    await apply(sqlite_store, empty)

    found = await declared(sqlite_store)
    assert {"nl-1": (True, False), "nl-2": (True, True)} == {
        name: (node.orphaned, node.is_draining) for name, node in found.items()
    }
    assert () == await plan(sqlite_store, empty)
    async with sqlite_store.reading() as session:
        assert (await session.get_one(TariffRow, TARIFF.name)).withdrawn
        assert await session.get(PolicyRow, POLICY.name) is None


async def test_what_returns_is_restored(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE, TARIFF))
    await apply(sqlite_store, make_bundle(revision="r2"))
    back = make_bundle(NODE, TARIFF, revision="r3")

    assert [
        ("Node", "nl-1", Verb.RESTORE),
        ("Tariff", "month-nl", Verb.RESTORE),
    ] == await verbs(sqlite_store, back)
    await apply(sqlite_store, back)

    assert not (await declared(sqlite_store))["nl-1"].orphaned
    assert () == await plan(sqlite_store, back)


async def test_a_manifest_never_clears_an_override(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE))
    async with begin(sqlite_store, "test") as work:
        await nodes.cordon(work, NodeName("nl-1"))

    await apply(sqlite_store, make_bundle(make_node_spec(weight=3.0), revision="r2"))

    assert NodeOverrides(cordoned=True) == (await declared(sqlite_store))["nl-1"].overrides


async def test_sources_live_side_by_side(sqlite_store: Store) -> None:
    """What one source does not mention is none of its business."""
    await apply(sqlite_store, make_bundle(NODE, source="a"))
    await apply(sqlite_store, make_bundle(make_node_spec("nl-2"), TARIFF, POLICY, source="b"))

    found = await declared(sqlite_store)

    assert [False, False] == [node.orphaned for node in found.values()]


@pytest.mark.parametrize("value", [NODE, TARIFF, POLICY], ids=["a node", "a tariff", "a policy"])
async def test_no_source_takes_what_another_declares(sqlite_store: Store, value: object) -> None:
    await apply(sqlite_store, make_bundle(value, source="a"))

    with pytest.raises(Conflict, match="declared by the manifests of a"):
        await plan(sqlite_store, make_bundle(value, source="b"))


async def test_an_orphan_may_be_declared_by_another_source(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE, TARIFF, source="a"))
    await apply(sqlite_store, make_bundle(source="a", revision="r2"))

    await apply(sqlite_store, make_bundle(NODE, TARIFF, source="b"))

    assert () == await plan(sqlite_store, make_bundle(NODE, TARIFF, source="b"))
    assert () == await plan(sqlite_store, make_bundle(source="a", revision="r2"))


async def test_one_wrong_thing_leaves_the_whole_bundle_out(sqlite_store: Store) -> None:
    twin = make_node_spec("nl-2", url=NODE.url)

    with pytest.raises(AlreadyExists, match="nl-1 and nl-2"):
        await apply(sqlite_store, make_bundle(NODE, twin, TARIFF, POLICY))

    async with sqlite_store.reading() as session:
        for table in (NodeRow, TariffRow, PolicyRow, ManifestSourceRow):
            assert [] == (await session.scalars(select(table))).all()


async def test_two_nodes_may_swap_their_panels_in_one_bundle(sqlite_store: Store) -> None:
    """Compared is what would be, not one node after another."""
    other = make_node_spec("nl-2")
    await apply(sqlite_store, make_bundle(NODE, other))
    swapped = (make_node_spec(url=other.url), make_node_spec("nl-2", url=NODE.url))

    await apply(sqlite_store, make_bundle(*swapped, revision="r2"))

    found = await declared(sqlite_store)
    assert {"nl-1": other.url, "nl-2": NODE.url} == {n: node.spec.url for n, node in found.items()}


async def test_a_changed_policy_wakes_every_node(sqlite_store: Store) -> None:
    await apply(sqlite_store, make_bundle(NODE, make_node_spec("nl-2"), POLICY))

    stricter = make_policy(max_delete_floor=1)
    changed = await apply(
        sqlite_store, make_bundle(NODE, make_node_spec("nl-2"), stricter, revision="r2")
    )

    assert changed.revision is not None
    assert {None, "nl-1", "nl-2"} == await wakes_since(sqlite_store, changed.revision)


async def test_a_row_of_an_older_release_is_read_with_the_defaults(sqlite_store: Store) -> None:
    """A field that it lacks is no difference: an upgrade of ours changes nothing declared."""
    await apply(sqlite_store, make_bundle(NODE))
    async with sqlite_store.recording() as session:
        row = await session.get_one(NodeRow, "nl-1")
        row.spec = {name: value for name, value in row.spec.items() if name != "weight"}

    assert () == await plan(sqlite_store, make_bundle(NODE))
    assert 1.0 == (await declared(sqlite_store))["nl-1"].spec.weight


# -- the email template ----------------------------------------------------------------------------


async def test_a_bundle_may_set_the_email_template(sqlite_store: Store) -> None:
    bundle = make_bundle(email_template="shop-{key}-{generation}")

    applied = await apply(sqlite_store, bundle)

    assert ["Installation"] == [d.kind for d in applied.differences]
    assert () == await plan(sqlite_store, bundle)
    async with sqlite_store.reading() as session:
        ownership = await read_ownership(session, sqlite_store.vault)
    assert "shop-{key}-{generation}" == ownership.template


async def test_setting_the_template_that_is_set_already_changes_nothing(
    sqlite_store: Store,
) -> None:
    async with begin(sqlite_store, "test") as work:
        assert await set_email_template(work, DEFAULT_TEMPLATE) is None


async def test_a_template_that_panels_could_not_address_is_refused(sqlite_store: Store) -> None:
    with pytest.raises(InvalidValue, match="email_template"):
        await plan(sqlite_store, make_bundle(email_template="a/{key}-{generation}"))


async def test_the_template_of_clients_that_exist_stays(sqlite_store: Store) -> None:
    """They would be strangers: neither deleted nor counted any more."""
    await journal(sqlite_store, None, NodeName("nl-1"))

    with pytest.raises(Conflict, match="clients carry it already"):
        await apply(sqlite_store, make_bundle(NODE, email_template="shop-{key}-{generation}"))
    assert {} == await declared(sqlite_store)


async def test_a_drained_node_that_vanishes_is_removed_and_one_that_holds_something_is_orphaned(
    sqlite_store: Store,
) -> None:
    """Nothing is owed by the first; the second has a client that is not proved gone."""
    nodes = [make_node_spec(name, drain=True) for name in ("nl-1", "nl-2", "nl-3")]
    await apply(sqlite_store, make_bundle(*nodes, TARIFF))
    key = KeyId("a" * 10)
    await journal(sqlite_store, key, NodeName("nl-2"))
    await place(sqlite_store, key, NodeName("nl-3"))
    await journal(sqlite_store, key, NodeName("nl-1"), state=JournalState.GONE)
    less = make_bundle(TARIFF, revision="r2")

    differences = await verbs(sqlite_store, less)
    await apply(sqlite_store, less)

    assert [
        ("Node", "nl-1", Verb.DELETE), ("Node", "nl-2", Verb.ORPHAN), ("Node", "nl-3", Verb.ORPHAN),
    ] == differences  # fmt: skip
    assert {"nl-2", "nl-3"} == set(await declared(sqlite_store))
