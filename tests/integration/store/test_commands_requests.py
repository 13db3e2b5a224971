"""Requests to the controller, approvals, and subscriptions."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from desired_state.commands import keys, requests, subscriptions
from desired_state.commands.errors import Conflict, NotFound, PlanStale
from desired_state.commands.requests import Approved, Asked
from desired_state.commands.subscriptions import SubscriptionChange
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import Digest, Email, KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.request import RequestKind
from desired_state.model.subscription import EndedBy, Subscription
from desired_state.store.convert import subscription_from, used_bytes_of
from desired_state.store.engine import Store
from desired_state.store.tables.desired import PlanApprovalRow, RequestRow, SubscriptionRow
from desired_state.store.tables.status import KeyUsageRow
from desired_state.store.unit_of_work import begin
from tests.builders import make_bundle, make_node_spec, make_tariff
from tests.data.rows import apply, place, set_status, use, wakes_since

NL1, NL2 = NodeName("nl-1"), NodeName("nl-2")
MONTH = TariffName("month-nl")
DIGEST = "0123456789abcdef" * 4


@pytest.fixture
async def fleet(sqlite_store: Store) -> Store:
    """Two nodes and a tariff."""
    await apply(sqlite_store, make_bundle(make_node_spec(), make_node_spec("nl-2"), make_tariff()))
    return sqlite_store


# -- ask -------------------------------------------------------------------------------------------


async def ask(fleet: Store, kind: RequestKind, **options: object) -> Asked:
    async with begin(fleet, "cli") as work:
        return await requests.ask(work, kind, **options)


async def test_a_request_wakes_its_node_and_waits_for_an_answer(fleet: Store) -> None:
    asked = await ask(fleet, RequestKind.REMATCH, node=NL1)

    async with fleet.reading() as session:
        row = await session.get_one(RequestRow, asked.token)
    assert ("rematch", "nl-1", "cli") == (row.kind, row.node, row.actor)
    assert {NL1} == await wakes_since(fleet, row.revision)
    assert not asked.repeated


async def test_a_request_of_all_wakes_every_node(fleet: Store) -> None:
    asked = await ask(fleet, RequestKind.RECONCILE)

    async with fleet.reading() as session:
        row = await session.get_one(RequestRow, asked.token)
    assert {NL1, NL2} == await wakes_since(fleet, row.revision)


async def test_asking_twice_under_one_token_asks_once(fleet: Store) -> None:
    first = await ask(fleet, RequestKind.PROBE, node=NL1, token="t")
    again = await ask(fleet, RequestKind.PROBE, node=NL1, token="t")

    assert (Asked("t", repeated=False), Asked("t", repeated=True)) == (first, again)
    with pytest.raises(Conflict, match="stands for another request"):
        await ask(fleet, RequestKind.PROBE, node=NL2, token="t")


@pytest.mark.parametrize("kind", [RequestKind.REMATCH, RequestKind.REBIND, RequestKind.RESUME])
async def test_what_changes_a_binding_is_asked_of_one_node(fleet: Store, kind: RequestKind) -> None:
    with pytest.raises(Conflict, match="asked of one node"):
        await ask(fleet, kind)


async def test_an_unknown_node_is_asked_nothing(fleet: Store) -> None:
    with pytest.raises(NotFound, match="no node fr-1"):
        await ask(fleet, RequestKind.PROBE, node=NodeName("fr-1"))


async def test_tokens_are_not_guessed(fleet: Store) -> None:
    tokens = {(await ask(fleet, RequestKind.PROBE)).token for _ in range(5)}

    assert 5 == len(tokens)
    assert {24} == {len(token) for token in tokens}


# -- approve ---------------------------------------------------------------------------------------


def blocked(digest: str, *emails: str, kind: str = "deletes") -> dict[str, object]:
    return {"kind": kind, "digest": digest, "emails": list(emails)}


async def approve(fleet: Store, digest: str, node: NodeName | None = None) -> Approved:
    async with begin(fleet, "admin:ann") as work:
        return await requests.approve(work, digest, node=node)


async def approvals(fleet: Store) -> list[tuple[str, str, str, list[str], str]]:
    async with fleet.reading() as session:
        rows = await session.scalars(select(PlanApprovalRow).order_by(PlanApprovalRow.id))
        return [(row.node, row.kind, row.digest, row.emails, row.actor) for row in rows]


async def test_an_approval_stores_exactly_what_was_withheld(fleet: Store) -> None:
    sets = [blocked(DIGEST, "a", "b"), blocked("f" * 64, "c", kind="disables")]
    await set_status(fleet, NL1, blocked_sets=sets)

    approved = await approve(fleet, DIGEST[:12].upper())

    emails = (Email("a"), Email("b"))
    assert Approved(NL1, "deletes", Digest(DIGEST), emails) == approved
    assert [("nl-1", "deletes", DIGEST, ["a", "b"], "admin:ann")] == await approvals(fleet)
    async with fleet.reading() as session:
        row = (await session.scalars(select(PlanApprovalRow))).one()
    assert {NL1} == await wakes_since(fleet, row.revision)


@pytest.mark.parametrize(
    "sets", [[], [blocked("f" * 64, "a")]], ids=["nothing is withheld", "another set is withheld"]
)
async def test_what_is_not_withheld_now_cannot_be_approved(
    fleet: Store, sets: list[dict[str, object]]
) -> None:
    await set_status(fleet, NL1, blocked_sets=sets)

    with pytest.raises(PlanStale, match=r"0123456789ab now.*x3fleet reconcile now"):
        await approve(fleet, DIGEST[:12])
    assert [] == await approvals(fleet)


@pytest.mark.parametrize("digest", ["", "0123456", "not-a-digest", DIGEST + "0"])
async def test_too_short_or_no_digest_is_refused(fleet: Store, digest: str) -> None:
    await set_status(fleet, NL1, blocked_sets=[blocked(DIGEST, "a")])

    with pytest.raises(Conflict, match="at least 8 hexadecimal digits"):
        await approve(fleet, digest)


async def test_an_ambiguous_digest_is_approved_on_one_named_node(fleet: Store) -> None:
    for node in (NL1, NL2):
        await set_status(fleet, node, blocked_sets=[blocked(DIGEST, "a")])

    with pytest.raises(Conflict, match="on nl-1, nl-2"):
        await approve(fleet, DIGEST)
    approved = await approve(fleet, DIGEST, NL2)

    assert NL2 == approved.node


async def test_an_approval_that_nobody_used_may_be_given_again(fleet: Store) -> None:
    await set_status(fleet, NL1, blocked_sets=[blocked(DIGEST, "a")])

    await approve(fleet, DIGEST)
    await approve(fleet, DIGEST)

    assert 2 == len(await approvals(fleet))


# -- subscriptions ---------------------------------------------------------------------------------


@pytest.fixture
async def sold(fleet: Store) -> Subscription:
    """A subscription with one key on a node."""
    async with begin(fleet, "test") as work:
        issued = await keys.issue(work, MONTH)
    await place(fleet, issued.key.id, NL1)
    return issued.subscription


async def extend(
    fleet: Store, subscription: SubscriptionId, days: int, **options: bool
) -> Subscription:
    async with begin(fleet, "test") as work:
        change = await subscriptions.extend(work, subscription, days, **options)
    return change.subscription


async def period(fleet: Store, subscription: SubscriptionId) -> int:
    async with fleet.reading() as session:
        return (await session.get_one(SubscriptionRow, subscription)).period


async def test_days_are_added_to_the_end_of_what_is_in_force(
    fleet: Store, sold: Subscription
) -> None:
    assert sold.valid_until is not None

    extended = await extend(fleet, sold.id, 7)

    assert sold.valid_until + timedelta(days=7) == extended.valid_until
    assert 1 == await period(fleet, sold.id)
    row_revision = await revision_of(fleet, sold.id)
    assert {None, NL1} == await wakes_since(fleet, row_revision)


async def revision_of(fleet: Store, subscription: SubscriptionId) -> int:
    async with fleet.reading() as session:
        return (await session.get_one(SubscriptionRow, subscription)).revision


async def test_what_has_expired_begins_anew_from_now(fleet: Store, sold: Subscription) -> None:
    fleet.clock.advance(days=40)
    assert EndedBy.EXPIRY == sold.ended_by(fleet.clock.now())

    extended = await extend(fleet, sold.id, 7)

    assert fleet.clock.now() + timedelta(days=7) == extended.valid_until
    assert 2 == await period(fleet, sold.id)


async def test_a_new_period_is_asked_for(fleet: Store, sold: Subscription) -> None:
    await extend(fleet, sold.id, 7, new_period=True)

    assert 2 == await period(fleet, sold.id)


@pytest.mark.parametrize("days", [0, -1, 36_501])
async def test_less_than_a_day_and_more_than_a_century_are_refused(
    fleet: Store, sold: Subscription, days: int
) -> None:
    with pytest.raises(InvalidValue, match="is not between 1 and 36500"):
        await extend(fleet, sold.id, days)


async def test_a_suspended_subscription_is_not_in_force_until_it_is_resumed(
    fleet: Store, sold: Subscription
) -> None:
    now = fleet.clock.now()
    async with begin(fleet, "test") as work:
        suspended = await subscriptions.freeze(work, sold.id, reason="abuse")
        again = await subscriptions.freeze(work, sold.id)
    async with begin(fleet, "test") as work:
        resumed = await subscriptions.unfreeze(work, sold.id)
        twice = await subscriptions.unfreeze(work, sold.id)

    assert EndedBy.PERSON == suspended.subscription.ended_by(now)
    assert resumed.subscription.ended_by(now) is None
    assert SubscriptionChange(sold, changed=True) == resumed
    assert (False, False) == (again.changed, twice.changed)


async def test_an_unknown_subscription_is_named(fleet: Store) -> None:
    with pytest.raises(NotFound, match="no subscription none"):
        await extend(fleet, SubscriptionId("none"), 1)


async def test_a_subscription_without_an_end_is_not_extended(
    fleet: Store, sold: Subscription
) -> None:
    async with begin(fleet, "test") as work:
        (await subscriptions.find_subscription(work, sold.id)).valid_until = None
        await work.revise()
        work.audit("test", "test/1")

    with pytest.raises(Conflict, match="has no end"):
        await extend(fleet, sold.id, 1)


async def test_what_was_used_in_an_earlier_period_does_not_count(
    fleet: Store, sold: Subscription
) -> None:
    await use(fleet, KeyId("k"), NL1, 5, base_bytes=2, booked_bytes=10)

    async with fleet.reading() as session:
        row = (await session.scalars(select(KeyUsageRow))).one()
    assert (13, 0) == (used_bytes_of(row, 1), used_bytes_of(row, 2))
    assert 7 == subscription_from(await find(fleet, sold.id), 7).used_bytes


async def find(fleet: Store, subscription: SubscriptionId) -> SubscriptionRow:
    async with fleet.reading() as session:
        return await session.get_one(SubscriptionRow, subscription)


async def test_a_counter_that_went_back_counts_nothing(fleet: Store) -> None:
    """A wiped panel begins at zero, below the base: used traffic is never negative."""
    await use(fleet, KeyId("k"), NL1, 1, base_bytes=9, booked_bytes=4)

    async with fleet.reading() as session:
        row = (await session.scalars(select(KeyUsageRow))).one()
    assert 4 == used_bytes_of(row, 1)
