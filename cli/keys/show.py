"""`x3fleet keys list|show`: which keys there are, and why one is or is not on a node.

No credential, subId or link is ever shown here. Not here: SQL (`desired_state.queries`).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.moves import waiting_document
from cli.opening import opened_store
from cli.render import Block, Cell, Grid, Output, OutputOption, Page, Text, Tone, count, day, show
from desired_state.model.ids import KeyId, NodeName, TariffName

if TYPE_CHECKING:
    from desired_state.model.subscription import Subscription
    from desired_state.queries.explain import Explanation
    from desired_state.queries.key import KeyDetail
    from desired_state.queries.keys import KeySummary
    from desired_state.queries.waiting import Waiting

MOST = 1_000
STEPS = ("declared", "eligible", "placed", "journalled", "sent", "verified")


async def list_keys(
    *,
    node: Annotated[str | None, Parameter(help="only those that live there")] = None,
    tariff: Annotated[str | None, Parameter(help="only those of it")] = None,
    revoked: Annotated[bool, Parameter(help="revoked ones too")] = False,
    limit: Annotated[int, Parameter(help="how many at most, the newest first")] = MOST,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """List keys and where they live, the newest first."""
    from desired_state.queries.keys import KeyFilter
    from desired_state.queries.keys import list_keys as read_keys

    chosen = KeyFilter(
        node=NodeName(node) if node else None,
        tariff=TariffName(tariff) if tariff else None,
        wanted=None if revoked else True,
        limit=limit,
    )
    async with opened_store() as store, store.reading() as session:
        keys = await read_keys(session, store.clock.now(), chosen)
    blocks: list[Block] = [
        Grid(
            ("KEY", "GEN", "TARIFF", "VALID UNTIL", "USED", "STATE", "NODES"),
            tuple(_row(key) for key in keys),
            empty="no key; x3fleet keys issue --tariff T issues one",
        )
    ]
    if len(keys) == limit:
        blocks.append(Text(f"the newest {limit}; --limit shows more", Tone.DIM))
    show(Page({"keys": [_document(key) for key in keys]}, tuple(blocks)), output)
    return Exit.DONE


async def show_key(
    key: Annotated[str, Parameter(name="KEY", help="its id")],
    /,
    *,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Explain, node by node, why a key is there or is not: the first step that failed."""
    from desired_state.commands.errors import NotFound
    from desired_state.queries.key import show_key as read_key

    async with opened_store() as store, store.reading() as session:
        detail = await read_key(session, KeyId(key), store.clock.now())
    if detail is None:
        raise NotFound("key", key, hint="x3fleet keys list shows them")
    show(Page(_detail_document(detail), tuple(_told(detail))), output)
    return Exit.DONE


# -- JSON ------------------------------------------------------------------------------------------


def _document(summary: "KeySummary") -> dict[str, Any]:
    key, subscription = summary.key, summary.subscription
    return {
        "key": key.id,
        "generation": key.generation,
        "tariff": subscription.tariff,
        "subscription": subscription.id,
        "state": _state(summary).text,
        "ended": summary.ended and summary.ended.value,
        "valid_until": subscription.valid_until,
        "quota_bytes": subscription.quota_bytes,
        "used_bytes": subscription.used_bytes,
        "left_bytes": _left(subscription),
        "pinned": key.pinned,
        "nodes": list(summary.nodes),
        "leaving": list(summary.leaving),
        "live": summary.live,
        "held": summary.held,
        "created_at": summary.created_at,
    }


def _detail_document(detail: "KeyDetail") -> dict[str, Any]:
    key, subscription = detail.key, detail.subscription
    return {
        "key": key.id,
        "generation": key.generation,
        "wanted": key.is_wanted,
        "reason": key.reason or None,
        "pinned": key.pinned,
        "selector": {"labels": dict(key.nodes.labels), "count": key.nodes.count},
        "subscription": {
            "id": subscription.id,
            "tariff": subscription.tariff,
            "valid_until": subscription.valid_until,
            "quota_bytes": subscription.quota_bytes,
            "used_bytes": subscription.used_bytes,
            "left_bytes": _left(subscription),
            "devices": subscription.devices,
            "suspended": subscription.suspended,
            "ended": detail.ended and detail.ended.value,
        },
        "nodes": [
            {**_explanation(one), "kept": waiting_document(_waiting(detail, one.node))}
            for one in detail.nodes
        ],
        "usage": [
            {
                "node": one.node,
                "used_bytes": one.used_bytes,
                "up_bytes": one.up_bytes,
                "down_bytes": one.down_bytes,
                "sampled_at": one.sampled_at,
            }
            for one in detail.usage
        ],
        "adopted": [
            {"node": one.node, "email": one.email, "at": one.at, "released_at": one.released_at}
            for one in detail.adopted
        ],
    }


def _waiting(detail: "KeyDetail", node: NodeName) -> "Waiting | None":
    return next((one for one in detail.waiting if one.source == node), None)


def _left(subscription: "Subscription") -> int | None:
    """Bytes that are left of the quota; None without one."""
    quota = subscription.quota_bytes
    return None if quota is None else max(0, quota - subscription.used_bytes)


def _explanation(one: "Explanation") -> dict[str, Any]:
    return {
        "node": one.node,
        "live": one.is_live,
        "done": [step.value for step in one.done],
        "failed": one.failed and one.failed.value,
        "why": one.why or None,
        "event": one.event and {"at": one.event.at, "name": one.event.name, "detail": one.event.detail},
        "next_try": one.next_try or None,
        "leaving": [row.email for row in one.leaving],
    }  # fmt: skip


# -- text ------------------------------------------------------------------------------------------


def _row(summary: "KeySummary") -> tuple[Cell, ...]:
    nodes = [*summary.nodes, *(f"{node} (leaving)" for node in summary.leaving)]
    return (
        summary.key.id,
        summary.key.generation,
        summary.subscription.tariff,
        day(summary.subscription.valid_until),
        _used(summary.subscription),
        _state(summary),
        ", ".join(nodes) or "nowhere",
    )


def _state(summary: "KeySummary") -> Text:
    key = summary.key
    if not key.is_wanted:
        return Text("revoked, going" if summary.held else "revoked", Tone.DIM)
    if summary.ended is not None:
        return Text(summary.ended.value, Tone.WARN)
    if not summary.nodes:
        return Text("not placed", Tone.WARN)
    if summary.live == len(summary.nodes):
        return Text("live", Tone.GOOD)
    return Text(f"live on {summary.live} of {len(summary.nodes)}", Tone.WARN)


def _told(detail: "KeyDetail") -> Iterator[Block]:
    key, subscription = detail.key, detail.subscription
    state = "" if key.is_wanted else f", revoked: {key.reason}"
    yield Text(f"key {key.id}, generation {key.generation}{state}", Tone.HEAD)
    ended = f", {detail.ended.value}" if detail.ended else ""
    left = _left(subscription)
    rest = "" if left is None else f", {_size(left)} left"
    yield (
        f"tariff {subscription.tariff}, valid until {day(subscription.valid_until)}{ended}; "
        f"used {_used(subscription)}{rest}"
    )
    if detail.usage:
        places = (f"{_size(one.used_bytes)} on {one.node}" for one in detail.usage)
        yield f"in this period {', '.join(places)}"
    yield Grid(
        ("NODE", *(step.upper() for step in STEPS), "WHY NOT"),
        tuple(_explained(one) for one in detail.nodes),
        empty="no node is declared; x3fleet manifests apply DIR declares them",
    )
    for one in detail.nodes:
        yield from _after(one)
    for waiting in detail.waiting:
        since = f"{waiting.since:%Y-%m-%d %H:%M:%S} UTC"
        yield Text(f"{waiting.source}: {waiting.told}, since {since}", Tone.WARN)
    for taken in detail.adopted:
        given = "" if taken.released_at is None else f", given back on {day(taken.released_at)}"
        yield f"adopted on {taken.node}: {taken.email}, on {day(taken.at)}{given}"
    for row in detail.orphaned_rows:
        yield Text(f"{row.email} was on {row.node}, which is not declared any more", Tone.WARN)


def _explained(one: "Explanation") -> tuple[Cell, ...]:
    done = {step.value for step in one.done}
    failed = one.failed.value if one.failed else ""
    marks: list[Cell] = []
    for step in STEPS:
        if step in done:
            marks.append(Text("yes", Tone.GOOD))
        elif step == failed:
            marks.append(Text("no", Tone.BAD))
        else:
            marks.append(Text("-", Tone.DIM))
    return (one.node, *marks, one.why)


def _after(one: "Explanation") -> Iterator[Block]:
    if one.leaving:
        yield f"{one.node}: {count(len(one.leaving), 'client')} of it still to be deleted there"
    failed = None if one.failed is None else one.failed.value
    wanted_here = failed not in (None, "declared", "eligible") or one.may_pass
    if wanted_here and one.next_try:
        yield f"{one.node}: next try {one.next_try}"
    if wanted_here and one.event is not None:
        event = one.event
        yield Text(
            f"{one.node}: last event {event.at:%Y-%m-%d %H:%M:%S} UTC {event.name} {event.detail}",
            Tone.DIM,
        )


def _used(subscription: "Subscription") -> str:
    quota = subscription.quota_bytes
    of = "" if quota is None else f" of {_size(quota)}"
    return f"{_size(subscription.used_bytes)}{of}"


def _size(size_bytes: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size_bytes >= 1 << shift:
            return f"{size_bytes / (1 << shift):.1f} {unit}"
    return f"{size_bytes} B"
