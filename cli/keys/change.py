"""`x3fleet keys issue|rotate|move|revoke`: each changes what is wanted, the next run makes it so.

Not here: the rules (`desired_state.commands.keys`), credentials, which are never shown.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import unit_of_work
from cli.render import Grid, Output, OutputOption, Page, day, show
from cli.render import count as how_many
from desired_state.model.errors import ConfigError
from desired_state.model.ids import KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.policy import MoveOrder
from desired_state.model.tariff import NodeSelector

if TYPE_CHECKING:
    from desired_state.commands.keys import Issued, KeyChange

MOST_AT_ONCE = 10_000
"""Keys of one `keys issue`: one transaction must not hold up every other writer for long."""
NEXT = "x3fleet reconcile now makes it so"

Keys = Annotated[str, Parameter(name="KEY", help="one id or more")]


async def issue(
    *,
    tariff: Annotated[str, Parameter(help="what the keys are sold under")],
    node: Annotated[str | None, Parameter(help="pin them to one node")] = None,
    subscription: Annotated[
        str | None, Parameter(help="whose they are; each gets its own if left out")
    ] = None,
    count: Annotated[int, Parameter(help="how many")] = 1,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Issue keys of a tariff; each gets a subscription of its own that begins now."""
    from desired_state.commands.keys import issue as issue_key

    if not 1 <= count <= MOST_AT_ONCE:
        raise ConfigError(f"--count {count} is not between 1 and {MOST_AT_ONCE}")
    async with unit_of_work() as work:
        issued = [
            await issue_key(
                work,
                TariffName(tariff),
                node=NodeName(node) if node else None,
                subscription=SubscriptionId(subscription) if subscription else None,
            )
            for _ in range(count)
        ]
    show(_issued_page(issued), output)
    return Exit.DONE


async def rotate(*keys: Keys, output: OutputOption = Output.TABLE) -> Exit:
    """Give keys a new identity; the old one is deleted first, on every node."""
    from desired_state.commands.keys import rotate as rotate_key

    async with unit_of_work() as work:
        changes = [await rotate_key(work, KeyId(key)) for key in _some(keys)]
    show(_changed_page(changes, "rotated"), output)
    return Exit.DONE


async def move(
    key: Annotated[str, Parameter(name="KEY", help="which one")],
    /,
    *,
    to: Annotated[str | None, Parameter(help="a node")] = None,
    selector: Annotated[
        str | None, Parameter(help="or labels: country=de,tier=basic; takes a pin back")
    ] = None,
    count: Annotated[str, Parameter(help="with --selector: on how many nodes, or all")] = "1",
    from_node: Annotated[
        str | None,
        Parameter(name="--from", help="which node it leaves, where it lives on several"),
    ] = None,
    order: Annotated[
        Literal["delete-first", "create-first"] | None,
        Parameter(help="a gap or an overlap; as the policy says if left out"),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Have a key live elsewhere."""
    from desired_state.commands.keys import move as move_key

    async with unit_of_work() as work:
        change = await move_key(
            work,
            KeyId(key),
            _target(to, selector, count),
            from_node=NodeName(from_node) if from_node else None,
            order=MoveOrder(order) if order else None,
        )
    show(_changed_page([change], "moved"), output)
    return Exit.DONE


async def revoke(
    *keys: Keys,
    reason: Annotated[str, Parameter(help="for the audit")] = "asked for by an operator",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Take keys away for good; every client of them is deleted and proved gone."""
    from desired_state.commands.keys import revoke as revoke_key

    async with unit_of_work() as work:
        changes = [await revoke_key(work, KeyId(key), reason=reason) for key in _some(keys)]
    show(_changed_page(changes, "revoked"), output)
    return Exit.DONE


def _some(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise ConfigError("no key is named", hint="x3fleet keys list shows them")
    # A key that is named twice is meant once: a second rotation would be one too many.
    return tuple(dict.fromkeys(keys))


def _target(to: str | None, selector: str | None, count: str) -> NodeName | NodeSelector:
    if to is not None and selector is None:
        return NodeName(to)
    if selector is None or to is not None:
        raise ConfigError("name either --to NODE or --selector LABELS")
    labels = tuple(sorted(_label(part) for part in selector.split(",")))
    if count == "all":
        return NodeSelector(labels, None)
    if not count.isdecimal() or int(count) < 1:
        raise ConfigError(f"--count {count} is neither a number nor all")
    return NodeSelector(labels, int(count))


def _label(part: str) -> tuple[str, str]:
    name, sign, value = part.strip().partition("=")
    if not (name and sign and value):
        raise ConfigError(f"--selector: {part!r} is no label", hint="write name=value")
    return name, value


# -- what is shown ---------------------------------------------------------------------------------


def _issued_page(issued: "list[Issued]") -> Page:
    document = {
        "keys": [
            {
                "key": one.key.id,
                "generation": one.key.generation,
                "tariff": one.subscription.tariff,
                "subscription": one.subscription.id,
                "node": one.key.pinned,
                "valid_until": one.subscription.valid_until,
            }
            for one in issued
        ]
    }
    rows = tuple(
        (
            one.key.id,
            one.subscription.tariff,
            one.subscription.id,
            one.key.pinned or "by tariff",
            day(one.subscription.valid_until),
        )
        for one in issued
    )
    grid = Grid(("KEY", "TARIFF", "SUBSCRIPTION", "NODE", "VALID UNTIL"), rows)
    return Page(document, (grid, f"{how_many(len(issued), 'key')} issued; {NEXT}"))


def _changed_page(changes: "list[KeyChange]", done: str) -> Page:
    document: dict[str, Any] = {
        "keys": [
            {
                "key": change.key.id,
                "generation": change.key.generation,
                "wanted": change.key.is_wanted,
                "changed": change.changed,
            }
            for change in changes
        ]
    }
    changed = [change for change in changes if change.changed]
    lines = [f"{change.key.id} was {done} already" for change in changes if not change.changed]
    if changed:
        lines.append(f"{how_many(len(changed), 'key')} {done}; {NEXT}")
    return Page(document, tuple(lines))
