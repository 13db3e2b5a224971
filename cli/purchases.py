"""`x3fleet purchases list`: what people ordered, and how far each order came.

Not here: payments (`cli.payments`), ordering (`cli.subscriptions.sell`).
"""

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store
from cli.payments import purchase_document
from cli.render import Cell, Grid, Output, OutputOption, Page, Text, Tone, day, show
from desired_state.model.ids import PersonId

if TYPE_CHECKING:
    from desired_state.model.purchase import Purchase

State = Literal["open", "fulfilled", "taken-back"]
TONES = {"open": Tone.WARN, "fulfilled": Tone.GOOD, "taken-back": Tone.DIM}


async def list_purchases(
    *,
    state: Annotated[State | None, Parameter(help="only those that came so far")] = None,
    person: Annotated[int | None, Parameter(help="only theirs")] = None,
    limit: Annotated[int, Parameter(help="how many at most, the newest first")] = 1_000,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """List orders, the newest first: those that nobody paid, too."""
    from desired_state.model.purchase import PurchaseState
    from desired_state.queries.payments import list_purchases as read_purchases

    async with opened_store() as store, store.reading() as session:
        found = await read_purchases(
            session,
            person=None if person is None else PersonId(person),
            state=None if state is None else PurchaseState(state),
            limit=limit,
        )
    grid = Grid(
        (
            "PURCHASE",
            "DAY",
            "KIND",
            "PERSON",
            "TARIFF",
            "MINOR UNITS",
            "SUBSCRIPTION",
            "STATE",
            "WHY",
        ),
        tuple(_row(one) for one in found),
        empty="no purchase",
    )
    show(Page({"purchases": [purchase_document(one) for one in found]}, (grid,)), output)
    return Exit.DONE


def _row(one: "Purchase") -> tuple[Cell, ...]:
    price = one.price
    return (
        one.id,
        day(one.created_at),
        one.kind.value,
        str(one.person),
        one.tariff,
        "" if one.is_free else f"{price.amount_minor} {price.currency}",
        one.subscription or "",
        Text(one.state.value, TONES[one.state.value]),
        one.keeps,
    )
