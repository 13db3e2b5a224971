"""`x3fleet check`: in what the shop, desired keys and panels contradict each other, and who wins.

Reads the database alone. Not here: finding them (`desired_state.queries.check`), looking at panels
(`doctor`, `plan`).
"""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store
from cli.render import Block, Grid, Output, OutputOption, Page, Text, Tone, show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from desired_state.queries.disagreements import Disagreement, Kind

SHOWN = 20
"""Lines of the table of one kind: a dead node's debts hide no payment. JSON has all of them."""


async def check(
    *,
    all_lines: Annotated[bool, Parameter(name="--all", help="every line of a long table")] = False,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Name every disagreement between what was sold, what is wanted and what panels hold.

    Exits 2 if there is one.
    """
    from desired_state.queries.check import find_disagreements

    async with opened_store() as store, store.reading() as session:
        found = await find_disagreements(session, store.clock.now())
    shown = found if all_lines else some_of_each(found)
    blocks: list[Block] = [
        Grid(
            ("KIND", "SUBJECT", "WINS", "WHAT"),
            tuple(
                (one.kind.value, one.subject, one.rule.winner.value, one.message) for one in shown
            ),
            empty="shop, keys and panels agree",
        )
    ]
    if len(found) > len(shown):
        told = f"{len(shown)} of {len(found)}, the first of each kind; --all shows the rest"
        blocks.append(Text(told, Tone.DIM))
    counts = Counter(one.kind for one in found)
    for kind, number in counts.items():
        rule = next(one.rule for one in found if one.kind is kind)
        blocks.append(
            f"{number} {kind.value}: {rule.winner.value} wins, since {rule.why}; {rule.hint}"
        )
    document = {
        "agree": not found,
        "counts": {kind.value: number for kind, number in counts.items()},
        "disagreements": [_document(one) for one in found],
    }
    show(Page(document, tuple(blocks)), output)
    return Exit.DRIFT if found else Exit.DONE


def some_of_each(found: "Sequence[Disagreement]") -> list["Disagreement"]:
    """Leave the first lines of every kind."""
    seen: Counter[Kind] = Counter()
    shown = []
    for one in found:
        seen[one.kind] += 1
        if seen[one.kind] <= SHOWN:
            shown.append(one)
    return shown


def _document(one: "Disagreement") -> dict[str, Any]:
    return {
        "kind": one.kind.value,
        "subject": one.subject,
        "message": one.message,
        "winner": one.rule.winner.value,
        "why": one.rule.why,
        "hint": one.rule.hint or None,
    }
