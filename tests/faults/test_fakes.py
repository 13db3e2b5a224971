"""The fake panel does what running panels of each version were seen to do."""

from dataclasses import replace

import pytest

from controller.core.effects import ClientRecord, MemberVerdict, Verb, Verdict, Write
from controller.core.features import Version
from desired_state.model.ids import Email, InboundId, NodeName
from tests.fakes.panel import TROJAN, VLESS, FakePanel
from tests.fakes.panel_rules import NoSuchCall
from tests.fakes.store import FakeStore

OLD = [(2, 8, 11), (2, 9, 4), (3, 0, 2)]
NEW = [(3, 1, 0), (3, 2, 8), (3, 4, 2), (3, 6, 0)]


def record(email: str, *inbounds: int, **fields: object) -> ClientRecord:
    ids = tuple(InboundId(i) for i in inbounds or (1,))
    base = ClientRecord(
        Email(email), ids, sub_id=f"sub-{email}", uuid=f"uuid-{email}", password="p"
    )
    return replace(base, **fields)


def write(panel: FakePanel, verb: Verb, *members: ClientRecord) -> Verdict:
    return panel.apply(call(panel, verb, *members)).verdict


def call(panel: FakePanel, verb: Verb, *members: ClientRecord) -> Write:
    store = FakeStore()
    store.add_node(panel.node)
    inbound = members[0].inbound_ids[0] if panel.features.email_per_inbound else None
    return Write(store.target(NodeName(panel.node)), verb, members, inbound)


def emails(panel: FakePanel) -> list[str]:
    return [client.email for client in panel.look().clients]


@pytest.mark.parametrize("version", OLD)
def test_an_old_panel_takes_all_members_of_a_create_or_none(version: Version) -> None:
    panel = FakePanel.of(version)
    write(panel, Verb.CREATE, record("a"))

    verdict = write(panel, Verb.CREATE, record("b"), record("A", sub_id="other"))

    assert (Verdict.REJECTED, ["a"]) == (verdict, emails(panel))


@pytest.mark.parametrize("version", OLD)
def test_an_old_panel_keeps_the_last_client_of_an_inbound(version: Version) -> None:
    panel = FakePanel.of(version)
    write(panel, Verb.CREATE, record("a"))

    assert Verdict.REJECTED is write(panel, Verb.DELETE, record("a"))
    assert ["a"] == emails(panel)


@pytest.mark.parametrize(
    ("version", "expected"),
    [((2, 8, 11), Verdict.APPLIED), ((2, 9, 4), Verdict.REJECTED), ((3, 6, 0), Verdict.REJECTED)],
)
def test_deleting_a_missing_client_succeeds_before_2_9_4(
    version: Version, expected: Verdict
) -> None:
    panel = FakePanel.of(version)
    write(panel, Verb.CREATE, record("a"))

    assert expected is write(panel, Verb.DELETE, record("b"))


def test_an_old_panel_honours_a_create_that_is_switched_off() -> None:
    panel = FakePanel.of((2, 9, 4))

    write(panel, Verb.CREATE, record("a", enable=False))

    assert not panel.look().clients[0].enable


@pytest.mark.parametrize("version", NEW)
def test_a_new_panel_switches_every_created_client_on(version: Version) -> None:
    panel = FakePanel.of(version)

    write(panel, Verb.CREATE, record("a", enable=False))

    assert panel.look().clients[0].enable


@pytest.mark.parametrize("version", NEW)
def test_a_refused_create_may_have_stored_a_part(version: Version) -> None:
    panel = FakePanel.of(version)

    verdict = write(panel, Verb.CREATE, record("a", 1, 9))

    assert (Verdict.REJECTED, ["a"]) == (verdict, emails(panel))


@pytest.mark.parametrize("version", [(3, 2, 8), (3, 6, 0)])
def test_one_clash_makes_a_bulk_create_skip_the_whole_inbound(version: Version) -> None:
    panel = FakePanel.of(version, VLESS, TROJAN)
    write(panel, Verb.CREATE, record("a"))

    outcome = panel.apply(
        call(panel, Verb.CREATE, record("b"), record("A", sub_id="x"), record("c", 2))
    )

    assert ["b", "A"] == [m.email for m in outcome.members if m.verdict is MemberVerdict.SKIPPED]
    assert ["a", "c"] == emails(panel)


@pytest.mark.parametrize(("version", "doubles"), [((3, 2, 8), True), ((3, 6, 0), False)])
def test_creating_again_stores_it_twice_up_to_3_4_2(version: Version, doubles: bool) -> None:
    panel = FakePanel.of(version)
    write(panel, Verb.CREATE, record("a"))

    write(panel, Verb.CREATE, record("a"))

    assert doubles is bool(panel.doubled)
    assert ["a"] == emails(panel)


def test_3_0_lets_the_same_email_in_twice_when_the_sub_id_is_the_same() -> None:
    panel = FakePanel.of((3, 0, 2))
    write(panel, Verb.CREATE, record("a"))

    write(panel, Verb.CREATE, record("a"))

    assert ["a", "a"] == emails(panel)


def test_a_bulk_delete_names_what_it_skipped_and_what_was_not_there() -> None:
    panel = FakePanel.of((3, 6, 0))
    write(panel, Verb.CREATE, record("a"), record("b"))
    panel.stubborn = frozenset({"a"})

    outcome = panel.apply(call(panel, Verb.DELETE, record("a"), record("b"), record("c")))

    assert {"a": MemberVerdict.SKIPPED, "c": MemberVerdict.ABSENT} == {
        m.email: m.verdict for m in outcome.members
    }
    assert Verdict.APPLIED is write(panel, Verb.DELETE, record("a"))


@pytest.mark.parametrize(
    ("version", "verb"),
    [
        ((2, 9, 4), Verb.DELETE),
        ((3, 1, 0), Verb.CREATE),
        ((3, 1, 0), Verb.DELETE),
        ((3, 6, 0), Verb.UPDATE),
    ],
)
def test_asking_for_a_wide_call_that_a_version_lacks_is_an_error(
    version: Version, verb: Verb
) -> None:
    panel = FakePanel.of(version)

    with pytest.raises(NoSuchCall):
        write(panel, verb, record("a"), record("b"))


def test_an_upgrade_across_3_1_0_switches_every_client_on() -> None:
    panel = FakePanel.of((2, 9, 4))
    write(panel, Verb.CREATE, record("a", enable=False))

    panel.upgrade((3, 6, 0))

    assert panel.look().clients[0].enable


def test_an_entry_without_an_email_poisons_creates_up_to_3_0_1() -> None:
    poisoned = replace(VLESS, nameless_clients=(0,))
    panel = FakePanel.of((2, 9, 4), poisoned)

    assert Verdict.REJECTED is write(panel, Verb.CREATE, record("a"))


def test_older_looks_are_remembered_change_by_change() -> None:
    panel = FakePanel.of((3, 6, 0))
    for name in "abc":
        write(panel, Verb.CREATE, record(name))

    assert [["a", "b"], ["a"], []] == [
        [c.email for c in panel.older_look(steps).clients] for steps in (1, 2, 3)
    ]
