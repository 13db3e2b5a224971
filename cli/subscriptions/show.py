"""`x3fleet subscriptions list|show`: what is left of what people bought, and where it is served.

No credential, subId or link is ever shown here. Not here: SQL (`desired_state.queries`).
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store
from cli.payments import minor, money_document, purchase_document
from cli.render import Block, Cell, Grid, Output, OutputOption, Page, Text, Tone, count, day, show
from desired_state.model.errors import ConfigError
from desired_state.model.ids import PersonId, SubscriptionId, TariffName
from desired_state.model.quantities import format_size

if TYPE_CHECKING:
    from desired_state.queries.subscription import KeyOnNode, SubscriptionDetail
    from desired_state.queries.subscriptions import SubscriptionSummary

TONES = {
    "served": Tone.GOOD, "off": Tone.DIM, "being-prepared": Tone.WARN, "switching-off": Tone.WARN,
    "unsure": Tone.WARN, "leaving": Tone.DIM,
}  # fmt: skip


async def list_subscriptions(
    *,
    person: Annotated[int | None, Parameter(help="only theirs")] = None,
    tariff: Annotated[str | None, Parameter(help="only those of it")] = None,
    in_force: Annotated[bool, Parameter(help="only those in force")] = False,
    ended: Annotated[bool, Parameter(help="only those that are not")] = False,
    limit: Annotated[int, Parameter(help="how many at most, the newest first")] = 1_000,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """List subscriptions with what is left of them, the newest first."""
    from desired_state.queries.subscriptions import SubscriptionFilter
    from desired_state.queries.subscriptions import list_subscriptions as read_all

    if in_force and ended:
        raise ConfigError("name either --in-force or --ended")
    chosen = SubscriptionFilter(
        person=None if person is None else PersonId(person),
        tariff=None if tariff is None else TariffName(tariff),
        in_force=in_force if in_force or ended else None,
        limit=limit,
    )
    async with opened_store() as store, store.reading() as session:
        found = await read_all(session, store.clock.now(), chosen)
    blocks: list[Block] = [summary_grid(found)]
    if len(found) == limit:
        blocks.append(Text(f"the newest {limit}; --limit shows more", Tone.DIM))
    document = {"subscriptions": [summary_document(one) for one in found]}
    show(Page(document, tuple(blocks)), output)
    return Exit.DONE


async def show_subscription(
    subscription: Annotated[str, Parameter(name="SUBSCRIPTION", help="its id")],
    /,
    *,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Show one subscription: days and quota left, each key on each node, purchases, devices."""
    from desired_state.commands.errors import NotFound
    from desired_state.queries.subscription import show_subscription as read_one

    async with opened_store() as store, store.reading() as session:
        found = await read_one(session, SubscriptionId(subscription), store.clock.now())
    if found is None:
        raise NotFound("subscription", subscription, hint="x3fleet subscriptions list shows them")
    show(Page(detail_document(found), tuple(_told(found))), output)
    return Exit.DONE


# -- JSON ------------------------------------------------------------------------------------------


def summary_document(one: "SubscriptionSummary") -> dict[str, Any]:
    """Make the JSON of one line of the list."""
    subscription, person = one.subscription, one.person
    return {
        "subscription": subscription.id,
        "person": None if person is None else person.id,
        "telegram_id": None if person is None else person.telegram_id,
        "tariff": subscription.tariff,
        "state": "in-force" if one.ended is None else one.ended.value,
        "frozen_at": subscription.frozen_at,
        "banned": subscription.banned,
        "valid_until": subscription.valid_until,
        "days_left": one.days_left,
        "quota_bytes": subscription.quota_bytes,
        "used_bytes": subscription.used_bytes,
        "bytes_left": one.bytes_left,
        "device_limit": subscription.devices,
        "keys": [key.key.id for key in one.keys],
        "placed": one.placed,
        "live": one.live,
        "created_at": one.since,
    }


def detail_document(found: "SubscriptionDetail") -> dict[str, Any]:
    """Make the JSON of one subscription in full."""
    return {
        **summary_document(found.summary),
        "title": {"ru": found.tariff_title_ru, "en": found.tariff_title_en},
        "reason": found.summary.suspended_reason or None,
        "served": found.served,
        "nodes": [_on_node(one) for one in found.nodes],
        "waiting": [{"key": key, "why": why} for key, why in found.waiting],
        "purchases": [purchase_document(one) for one in found.purchases],
        "payments": [money_document(one) for one in found.payments],
        "devices": [
            {
                "device": one.id[:12],
                "title": one.title or None,
                "first_seen_at": one.first_seen_at,
                "last_seen_at": one.last_seen_at,
            }
            for one in found.devices
        ],
    }


def _on_node(one: "KeyOnNode") -> dict[str, Any]:
    return {
        "key": one.key,
        "node": one.node,
        "state": one.state.value,
        "why": one.why or None,
        "next_try": one.next_try or None,
    }


# -- text ------------------------------------------------------------------------------------------


def summary_grid(found: "Sequence[SubscriptionSummary]") -> Grid:
    """Make the table of subscriptions."""
    return Grid(
        ("SUBSCRIPTION", "PERSON", "TARIFF", "DAYS LEFT", "TRAFFIC LEFT", "STATE", "SERVED"),
        tuple(_row(one) for one in found),
        empty="no subscription; x3fleet subscriptions sell --tariff T sells one",
    )


def _row(one: "SubscriptionSummary") -> tuple[Cell, ...]:
    state = Text("in force", Tone.GOOD) if one.ended is None else Text(_ended(one), Tone.WARN)
    return (
        one.subscription.id,
        "" if one.person is None else str(one.person.id),
        one.subscription.tariff,
        "no end" if one.days_left is None else str(one.days_left),
        "no limit" if one.bytes_left is None else format_size(one.bytes_left),
        state,
        f"{one.live} of {one.placed}" if one.placed else "nowhere",
    )


def _ended(one: "SubscriptionSummary") -> str:
    if one.ended is None:
        return "in force"
    if one.subscription.banned:
        return "banned"
    return "frozen" if one.subscription.suspended else one.ended.value


def _told(found: "SubscriptionDetail") -> Iterator[Block]:
    one = found.summary
    subscription = one.subscription
    whose = "of nobody" if one.person is None else f"of person {one.person.id}"
    yield Text(f"subscription {subscription.id} {whose}: {_ended(one)}", Tone.HEAD)
    left = "no end" if one.days_left is None else f"{count(one.days_left, 'day')} left"
    until = "" if subscription.valid_until is None else f", until {day(subscription.valid_until)}"
    if subscription.frozen_at is not None:
        until = f", standing still since {day(subscription.frozen_at)}"
    traffic = "no limit of traffic"
    if subscription.quota_bytes is not None and one.bytes_left is not None:
        of = f"{format_size(one.bytes_left)} of {format_size(subscription.quota_bytes)}"
        traffic = f"{of} left"
    yield f"tariff {subscription.tariff}; {left}{until}; {traffic}"
    yield Grid(
        ("KEY", "NODE", "STATE", "WHY"),
        tuple(
            (one.key, one.node, Text(one.state.value, TONES[one.state.value]), one.why)
            for one in found.nodes
        ),
        empty="no key of it lives anywhere",
    )
    for key, why in found.waiting:
        yield Text(f"key {key} waits for a node: {why}", Tone.WARN)
    yield from _history(found)


def _history(found: "SubscriptionDetail") -> Iterator[Block]:
    for purchase in found.purchases:
        price = "for nothing"
        if not purchase.is_free:
            price = minor(purchase.price)
        yield (
            f"{day(purchase.created_at)}: {purchase.kind.value} of {purchase.tariff}, {price}: "
            f"{purchase.state.value} (purchase {purchase.id})"
        )
        if purchase.keeps:
            yield Text(f"    refunded, and not taken back: {purchase.keeps}", Tone.WARN)
    for device in found.devices:
        yield f"device {device.id[:12]} {device.title}, last seen on {day(device.last_seen_at)}"
