"""`x3fleet capacity`: how full nodes and groups of nodes are, and whether the fleet should grow or shrink.

Not here: SQL (`desired_state.queries`), the rules (`desired_state.scheduling`), telling people.
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Block, Cell, Grid, Output, OutputOption, Page, Text, Tone, show

if TYPE_CHECKING:
    from desired_state.queries.capacity import FleetCapacity
    from desired_state.scheduling.capacity import Group, NodeRoom, Signal

LabelOption = Annotated[str | None, Parameter(help="only groups by this label, and their nodes")]
_TIGHT = 0.1


async def capacity(*, label: LabelOption = None, output: OutputOption = Output.TABLE) -> Exit:
    """Show how full nodes and groups are, their trend, and what should be done.

    Args:
        label: only groups by this label, and the nodes that carry it.
        output: table or json.
    """
    from desired_state.queries.capacity import read_capacity

    async with opened_store() as store, store.reading() as session:
        found = await read_capacity(session, store.clock.now())
    groups = [group for group in found.groups if label in (None, group.label)]
    named = {node for group in groups for node in group.nodes}
    nodes = [node for node in found.nodes if label is None or node.name in named]
    show(Page(_document(found, groups, nodes), tuple(_told(found, groups, nodes))), output)
    return Exit.DONE


# -- JSON ------------------------------------------------------------------------------------------


def _document(
    found: "FleetCapacity", groups: "list[Group]", nodes: "list[NodeRoom]"
) -> dict[str, Any]:
    return {
        "groups": [
            {
                "group": group.name,
                "label": group.label,
                "value": group.value,
                "nodes": list(group.nodes),
                **_room(group),
                "head_room": group.scaling.head_room if _scales(group) else None,
            }
            for group in groups
        ],
        "nodes": [
            {
                "node": node.name,
                "open": node.is_open,
                "draining": node.is_draining,
                "owed": node.owed,
                **_room(node),
                "cpu_share": node.cpu_share,
                "memory_share": node.memory_share,
            }
            for node in nodes
        ],
        "signals": [_signal(found, one) for one in found.signals],
    }


def _room(one: "Group | NodeRoom") -> dict[str, Any]:
    return {
        "keys": one.keys,
        "capacity": one.capacity,
        "free_share": one.free_share,
        "traffic_rate_bps": one.traffic_rate_bps,
        "keys_a_day": one.keys_a_day,
        "days_until_full": one.days_until_full,
    }


def _signal(found: "FleetCapacity", one: "Signal") -> dict[str, Any]:
    return {
        "signal": one.direction.value,
        "group": one.group or None,
        "node": one.node or None,
        "message": one.message,
        "told": one.key in found.told,
    }


def _scales(group: "Group") -> bool:
    return group.scaling.label == group.label


# -- text ------------------------------------------------------------------------------------------


def _told(found: "FleetCapacity", groups: "list[Group]", nodes: "list[NodeRoom]") -> "list[Block]":
    blocks: list[Block] = [
        Grid(
            ("GROUP", "NODES", "KEYS", "CAPACITY", "FREE", "TRAFFIC", "KEYS A DAY", "FULL IN"),
            tuple((group.name, len(group.nodes), *_cells(group)) for group in groups),
            empty="no node carries a label",
        ),
        Grid(
            (
                "NODE",
                "KEYS",
                "CAPACITY",
                "FREE",
                "TRAFFIC",
                "KEYS A DAY",
                "FULL IN",
                "CPU",
                "MEMORY",
            ),
            tuple(
                (node.name, *_cells(node), _share(node.cpu_share), _share(node.memory_share))
                for node in nodes
            ),
            empty="no node is declared; x3fleet manifests apply DIR declares them",
        ),
    ]
    blocks += [Text(f"{one.direction.value}: {one.message}", Tone.WARN) for one in found.signals]
    return blocks


def _cells(one: "Group | NodeRoom") -> tuple[Cell, ...]:
    free, days = one.free_share, one.days_until_full
    tone = Tone.BAD if free is not None and free < _TIGHT else None
    growth = "" if one.keys_a_day is None else f"{one.keys_a_day:+.1f}"
    return (
        one.keys,
        "no limit" if one.capacity is None else one.capacity,
        Text(_share(free), tone) if tone else _share(free),
        _rate(one.traffic_rate_bps),
        growth,
        "" if days is None else f"{days:.0f} days",
    )


def _share(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _rate(bytes_a_second: int) -> str:
    for unit, size in (("Gbit/s", 125_000_000), ("Mbit/s", 125_000), ("kbit/s", 125)):
        if bytes_a_second >= size:
            return f"{bytes_a_second / size:.1f} {unit}"
    return "0"
