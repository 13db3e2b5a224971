"""`x3fleet subscriptions change --diff`: what another tariff would do, before anybody does it.

Not here: where keys would live (`desired_state.queries.tariff_change`), the change itself.
"""

from typing import TYPE_CHECKING, Any

from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Block, Grid, Output, Page, show
from desired_state.model.ids import SubscriptionId, TariffName

if TYPE_CHECKING:
    from desired_state.queries.tariff_change import KeyChange, TariffChange


async def show_diff(subscription: SubscriptionId, tariff: TariffName, output: Output) -> Exit:
    """Show it; 2 when anything would change.

    Raises:
        NotFound: no such subscription or tariff.
    """
    from desired_state.commands.errors import NotFound
    from desired_state.queries.tariff_change import preview_tariff

    async with opened_store() as store, store.reading() as session:
        found = await preview_tariff(session, subscription, tariff, store.clock.now())
    if found is None:
        raise NotFound(
            "subscription or tariff",
            f"{subscription}, {tariff}",
            hint="x3fleet subscriptions list shows them",
        )
    show(Page(_document(subscription, found), tuple(_blocks(found))), output)
    return Exit.DRIFT if found.before != tariff else Exit.DONE


def _document(subscription: str, found: "TariffChange") -> dict[str, Any]:
    return {
        "subscription": subscription,
        "tariff": {"before": found.before, "after": found.after.name},
        "quota_bytes": {"before": found.quota_bytes, "after": found.after.traffic_bytes},
        "devices": {"before": found.devices, "after": found.after.devices},
        "keys": [
            {
                "key": one.key,
                "stays": list(one.stays),
                "leaves": list(one.leaves),
                "gets": list(one.gets),
                "why_short": one.why_short or None,
            }
            for one in found.keys
        ],
        "refused": list(found.refused),
    }


def _blocks(found: "TariffChange") -> list[Block]:
    if found.before == found.after.name:
        return [f"it is of tariff {found.before} already"]
    grid = Grid(
        ("KEY", "STAYS ON", "LEAVES", "GETS", "WHY NOT MORE"),
        tuple(_row(one) for one in found.keys),
        empty="it has no key",
    )
    return [f"{found.before} -> {found.after.name}", grid, *found.refused]


def _row(one: "KeyChange") -> tuple[str, ...]:
    return (
        one.key,
        ", ".join(one.stays),
        ", ".join(one.leaves),
        ", ".join(one.gets),
        one.why_short,
    )
