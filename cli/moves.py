"""`x3fleet moves list`, `x3fleet rebalance`: keys on their way between nodes, and evening nodes out.

Not here: which keys move (the scheduler's pass), moving one key (`keys move`), draining (`nodes drain`).
"""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.render import Grid, Output, OutputOption, Page, Text, Tone, ago, count, show
from desired_state.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from desired_state.model.ids import KeyId, NodeName
    from desired_state.queries.balance import RebalanceView
    from desired_state.queries.moves import MoveView, NodeProgress
    from desired_state.queries.waiting import Waiting

LabelOption = Annotated[
    list[str] | None,
    Parameter(name="--label", help="only nodes with this label, such as country=nl; repeatable"),
]
_TONES = {"owed": Tone.BAD, "deleting": Tone.WARN, "creating": Tone.WARN, "proving": Tone.DIM}


async def list_moves(*, limit: int = 50, output: OutputOption = Output.TABLE) -> Exit:
    """List keys on their way, how far each node is, and how long it takes yet.

    Args:
        limit: how many keys at most.
        output: table or json.
    """
    from desired_state.queries import balance, moves, stuck, waiting

    async with opened_store() as store, store.reading() as session:
        now = store.clock.now()
        found = await moves.list_moves(session, now, limit=limit)
        wishes = await balance.list_rebalances(session)
        whys = await stuck.explain_moves(session, found.moves)
        waits = await waiting.list_waiting(session, {one.key for one in found.moves}, now)
        stays = await stuck.list_stuck(session, now, limit=limit)
    document = {
        "nodes": [progress_document(one) for one in found.nodes],
        "moves": [
            {
                **_document(one),
                "held_up": whys[one] or None,
                "waits_for": waiting_document(waits.get((one.key, one.source))),
            }
            for one in found.moves
        ],
        "stuck": [{"key": one.key, "node": one.node, "reason": one.reason} for one in stays],
        "rebalances": [_wish_document(one) for one in wishes],
    }
    open_wishes = tuple(_told(one) for one in wishes if one.done_at is None)
    # A wish that waits for the fleet's share has no key on its way, and is not at its end.
    settled = not stays and not open_wishes
    nodes = Grid(
        ("NODE", "WHAT", "LEFT", "DONE", "TAKES"),
        tuple((n.node, n.what, n.left, n.done, duration(n.left_s)) for n in found.nodes),
        empty="every key is where it is to be" if settled else "no node has keys on their way",
    )
    keys = Grid(
        ("KEY", "FROM", "TO", "WHY", "STAGE", "FOR", "HELD UP"),
        tuple((*_row(one, now), _held_up(whys[one], waits, one)) for one in found.moves),
        empty="no key is on its way",
    )
    kept = Grid(
        ("KEY", "CANNOT LEAVE", "SINCE"),
        tuple((one.key, one.node or "", one.reason) for one in stays),
    )
    show(Page(document, (nodes, keys, *([kept] if stays else []), *open_wishes)), output)
    return Exit.DONE


async def rebalance(
    *, label: LabelOption = None, token: str | None = None, output: OutputOption = Output.TABLE
) -> Exit:
    """Move the fewest keys that bring every node within 10 % of its fair share.

    Args:
        label: only nodes with this label, such as country=nl; repeatable.
        token: your own, so that asking twice asks once.
        output: table or json.
    """
    from desired_state.commands.rebalance import rebalance as ask

    labels = tuple(sorted(_pair(one) for one in label or ()))
    async with unit_of_work() as work:
        asked = await ask(work, labels, token=token)
    document = {"token": asked.token, "labels": dict(asked.labels), "repeated": asked.repeated}
    line = "keys are moved as guards let them pass; x3fleet moves list follows them"
    show(Page(document, (line,)), output)
    return Exit.DONE


def progress_document(one: "NodeProgress") -> dict[str, Any]:
    """Make the document of a node's progress."""
    return {
        "node": one.node,
        "what": one.what,
        "left": one.left,
        "done": one.done,
        "estimate_s": None if one.left_s is None else round(one.left_s),
    }


def waiting_document(one: "Waiting | None") -> dict[str, Any] | None:
    """Make the document of what a key waits for that is to leave a node."""
    if one is None:
        return None
    return {"node": one.by, "since": one.since, "lacks": one.lacks, "missing": one.missing}


def _held_up(why: str, waits: "Mapping[tuple[KeyId, NodeName], Waiting]", one: "MoveView") -> str:
    waiting = waits.get((one.key, one.source))
    return why if waiting is None else waiting.told


def duration(seconds: float | None) -> str:
    """Write an estimate as people do."""
    if seconds is None:
        return "unknown"
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    hours, rest = divmod(minutes, 60)
    return f"about {hours} h {rest} min" if hours else f"about {minutes} min"


def _document(one: "MoveView") -> dict[str, Any]:
    return {
        "key": one.key,
        "from": one.source,
        "to": one.to,
        "reason": one.reason,
        "stage": one.stage,
        "since": one.since,
    }


def _row(one: "MoveView", now: datetime) -> tuple[Any, ...]:
    return (
        one.key,
        one.source,
        one.to or "nowhere else",
        one.reason,
        Text(one.stage, _TONES.get(one.stage, Tone.PLAIN)),
        ago(one.since, now),
    )


def _wish_document(one: "RebalanceView") -> dict[str, Any]:
    return {
        "token": one.token,
        "labels": dict(one.labels),
        "at": one.at,
        "made": one.made,
        "waiting": one.waiting,
        "begun_at": one.begun_at,
        "done_at": one.done_at,
    }


def _told(one: "RebalanceView") -> str:
    over = ",".join(f"{name}={value}" for name, value in one.labels) or "every node"
    if one.begun_at is None:
        return f"rebalance over {over}: no controller has begun with it"
    return f"rebalance over {over}: {count(one.made, 'move')} begun, {one.waiting} to come"


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ConfigError(f"{text!r} is no label", hint="write name=value, such as country=nl")
    return name, value
