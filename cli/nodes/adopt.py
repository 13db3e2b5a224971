"""`x3fleet nodes adopt`, `x3fleet keys release`: what a panel held before becomes ours, and is given back.

The panel is read by the controller, here or where it is at work; desired state is written by a command.
Not here: whose client it is (`desired_state.model.adopting`), what follows on the panel.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.keys.change import Keys
from cli.nodes.change import NodeArgument
from cli.opening import ACTOR, LogOption, opened_controller, unit_of_work
from cli.render import Block, Grid, Output, OutputOption, Page, Text, Tone, count, day, show
from desired_state.model.errors import X3FleetError
from desired_state.model.ids import KeyId, NodeName, TariffName

if TYPE_CHECKING:
    from desired_state.commands.adoption_facts import AdoptionWish
    from desired_state.model.adoption_plan import AdoptionPlan, KeyPlan, LeftAlone
    from desired_state.store.engine import Store

SHOWN = 20
"""Clients that stay foreign, listed before `--all` is asked for."""


class InventoryFailed(X3FleetError):
    """The panel did not show what it holds."""

    code = "inventory_failed"


async def adopt(
    node: NodeArgument,
    /,
    *,
    map: Annotated[  # noqa: A002 - the option's name
        Path | None, Parameter(help="who holds which client: CSV or YAML, see docs/adoption.md")
    ] = None,
    tariff: Annotated[str | None, Parameter(help="of clients for which the map names none")] = None,
    without_person: Annotated[
        bool, Parameter(help="adopt also clients that nobody is known to hold")
    ] = False,
    apply: Annotated[
        str | None,
        Parameter(name="--apply", help="adopt what was shown under this digest, nothing else"),
    ] = None,
    every: Annotated[bool, Parameter(name="--all", help="list every client that stays")] = False,
    log_level: LogOption = "off",
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Take over clients that a panel holds already; shows first, changes nothing on the panel."""
    from desired_state.commands.adoption_facts import AdoptionWish

    wish = AdoptionWish(
        _read_map(map), None if tariff is None else TariffName(tariff), not without_person
    )
    name = NodeName(node)
    async with opened_controller(log_level) as controller:
        answer = await _take_inventory(controller, name, output)
        if apply is not None:
            return await _apply(controller.store, name, wish, apply, output)
        plan = await _plan(controller.store, name, wish)
    show(Page(_document(plan, answer), tuple(_told(plan, answer, every=every))), output)
    return Exit.DRIFT if plan.keys else Exit.DONE


async def release(*keys: Keys, output: OutputOption = Output.TABLE) -> Exit:
    """Give adopted keys back: their clients stay on the panels, and are foreign from now on."""
    from desired_state.commands.adoption import release as release_key

    async with unit_of_work() as work:
        released = [await release_key(work, KeyId(key)) for key in keys]
    document = {
        "keys": [
            {
                "key": one.key,
                "changed": one.changed,
                "clients": [{"node": node, "email": email} for node, email in one.clients],
            }
            for one in released
        ]
    }
    lines = [
        f"{one.key}: {count(len(one.clients), 'client')} "
        + ("is foreign from the next turn on" if one.changed else "was given back already")
        for one in released
    ]
    show(Page(document, tuple(lines)), output)
    return Exit.DONE


def _read_map(path: Path | None) -> tuple[Any, ...]:
    if path is None:
        return ()
    from desired_state.manifests.adoption_map import read_map
    from desired_state.manifests.errors import ManifestSourceUnavailable
    from desired_state.manifests.sources.source import ManifestFile

    try:
        content = path.read_bytes()
    except OSError as error:
        message = f"the map {path} cannot be read: {error.strerror}"
        raise ManifestSourceUnavailable(message) from error
    return read_map(ManifestFile(str(path), content))


async def _take_inventory(controller: Any, node: NodeName, output: Output) -> dict[str, Any]:  # noqa: ANN401 - loaded late
    from cli.following import ask_and_follow
    from controller.runtime.errors import AlreadyRunning, HolderKind
    from desired_state.model.request import RequestKind

    try:
        answer: dict[str, Any] = await controller.take_inventory(node)
    except AlreadyRunning as refused:
        if refused.holder.kind not in (HolderKind.DAEMON, HolderKind.REPLICA):
            raise
        (view,) = await ask_and_follow(controller.store, RequestKind.INVENTORY, (node,), output)
        answer = view.answers[0].detail
    if answer.get("state") != "taken":
        raise InventoryFailed(f"{node} did not show what it holds: {answer.get('error')}")
    return answer


async def _plan(store: "Store", node: NodeName, wish: "AdoptionWish") -> "AdoptionPlan":
    from desired_state.commands.adoption import plan
    from desired_state.store.unit_of_work import begin

    async with begin(store, ACTOR) as work:
        return await plan(work, node, wish)


async def _apply(
    store: "Store", node: NodeName, wish: "AdoptionWish", digest: str, output: Output
) -> Exit:
    from desired_state.commands.adoption import adopt as adopt_clients
    from desired_state.store.unit_of_work import begin

    async with begin(store, ACTOR) as work:
        adopted = await adopt_clients(work, node, wish, digest)
    document = {
        "node": node,
        "digest": adopted.digest,
        "adopted": not adopted.repeated,
        "keys": len(adopted.plan.keys),
        "clients": adopted.plan.clients,
    }
    if adopted.repeated:
        line = f"{node}: this was adopted already; nothing was done"
    else:
        line = (
            f"{node}: {count(adopted.plan.clients, 'client')} adopted as "
            f"{count(len(adopted.plan.keys), 'key')}; x3fleet plan --node {node} shows what follows"
        )
    show(Page(document, (line,)), output)
    return Exit.DONE


# -- what is shown ---------------------------------------------------------------------------------


def _document(plan: "AdoptionPlan", answer: dict[str, Any]) -> dict[str, Any]:
    return {
        "node": plan.node,
        "digest": plan.digest if plan.keys else None,
        "adopt": [_key_document(key) for key in plan.keys],
        "foreign": [_left_document(one) for one in plan.left if not one.is_doubled],
        "doubled": [_left_document(one) for one in plan.left if one.is_doubled],
        "ours": plan.ours,
        "nameless": answer.get("nameless", 0),
        "unmet": list(plan.unmet),
    }


def _key_document(key: "KeyPlan") -> dict[str, Any]:
    terms = key.subscription
    return {
        "key": key.key or None,
        "telegram_id": key.telegram_id,
        "matched_by": key.matched_by.value,
        "tariff": terms.tariff,
        "valid_until": terms.valid_until,
        "quota_bytes": terms.quota_bytes,
        "used_bytes": terms.used_bytes,
        "devices": terms.devices,
        "suspended": terms.suspended,
        "clients": [
            {
                "email": client.found.email,
                "inbound_ids": list(client.found.inbound_ids),
                "enable": client.found.enable,
                "changes": list(client.changes),
            }
            for client in key.clients
        ],
    }


def _left_document(one: "LeftAlone") -> dict[str, Any]:
    return {"email": one.email, "inbound_ids": list(one.inbound_ids), "why": one.why}


def _told(plan: "AdoptionPlan", answer: dict[str, Any], *, every: bool) -> list[Block]:
    blocks: list[Block] = []
    rows = tuple(
        (
            client.found.email,
            ",".join(map(str, client.found.inbound_ids)),
            "nobody known" if key.telegram_id is None else str(key.telegram_id),
            key.matched_by.value,
            key.subscription.tariff,
            day(key.subscription.valid_until),
            key.key or "new",
            "; ".join(client.changes) or Text("stays as it is", Tone.DIM),
        )
        for key in plan.keys
        for client in key.clients
    )
    columns = ("EMAIL", "INBOUNDS", "PERSON", "BY", "TARIFF", "VALID UNTIL", "KEY", "WOULD CHANGE")
    blocks.append(Grid(columns, rows, empty="nothing new to adopt"))
    left = plan.left if every else plan.left[:SHOWN]
    if left:
        stays = tuple((one.email, ",".join(map(str, one.inbound_ids)), one.why) for one in left)
        blocks.append(Grid(("STAYS FOREIGN", "INBOUNDS", "WHY"), stays))
    if len(left) < len(plan.left):
        blocks.append(f"and {len(plan.left) - len(left)} more; --all lists them")
    doubled = sum(one.is_doubled for one in plan.left)
    blocks.append(
        f"{plan.node}: {count(plan.clients, 'client')} to adopt as {count(len(plan.keys), 'key')}, "
        f"{len(plan.left) - doubled} foreign, {doubled} doubled, {plan.ours} ours already"
    )
    if answer.get("nameless"):
        blocks.append(
            f"{count(answer['nameless'], 'client')} without an email: give it one by hand"
        )
    if plan.unmet:
        named = ", ".join(plan.unmet if every else plan.unmet[:SHOWN])
        more = "" if every or len(plan.unmet) <= SHOWN else ", ..."
        told = f"{count(len(plan.unmet), 'line')} of the map met no client here: {named}{more}"
        blocks.append(Text(told, Tone.WARN))
    if plan.keys:
        blocks.append(f"nothing was changed; --apply {plan.digest[:12]} adopts exactly this")
    return blocks
