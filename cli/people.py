"""`x3fleet people list|show|ban|unban`: who buys, and who may not.

Not here: what they bought (`cli.subscriptions`), SQL, rules.
"""

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cli.exits import Exit
from cli.opening import opened_store, unit_of_work
from cli.render import Cell, Grid, Output, OutputOption, Page, Text, Tone, day, show
from desired_state.model.errors import ConfigError
from desired_state.model.ids import PersonId

if TYPE_CHECKING:
    from desired_state.commands.people import PersonChange
    from desired_state.model.person import Person
    from desired_state.queries.people import PersonView
    from desired_state.store.unit_of_work import UnitOfWork

Who = Annotated[int, Parameter(name="PERSON", help="their number, as people list shows it")]
PersonOption = Annotated[int | None, Parameter(name="--person", help="who: their number here")]
TelegramOption = Annotated[
    int | None,
    Parameter(name="--telegram", help="or the number of their account; one not known yet is met"),
]
TokenOption = Annotated[
    str | None,
    Parameter(name="--token", help="of your own: the same command under it is done once"),
]


async def list_people(
    *,
    banned: Annotated[bool, Parameter(help="only those who are banned")] = False,
    limit: Annotated[int, Parameter(help="how many at most, the newest first")] = 1_000,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """List people, the newest first."""
    from desired_state.queries.people import list_people as read_people

    async with opened_store() as store, store.reading() as session:
        people = await read_people(session, banned=True if banned else None, limit=limit)
    grid = Grid(
        ("PERSON", "TELEGRAM", "LANGUAGE", "SINCE", "SUBSCRIPTIONS", "STATE"),
        tuple(_row(one) for one in people),
        empty="nobody; x3fleet subscriptions sell --telegram NUMBER meets somebody",
    )
    show(Page({"people": [_document(one) for one in people]}, (grid,)), output)
    return Exit.DONE


async def show_person(person: Who, /, *, output: OutputOption = Output.TABLE) -> Exit:
    """Show one person: their subscriptions, and what they paid."""
    from cli.payments import payment_document, payment_grid
    from cli.subscriptions.show import summary_document, summary_grid
    from desired_state.commands.errors import NotFound
    from desired_state.queries.payments import list_payments
    from desired_state.queries.people import show_person as read_person
    from desired_state.queries.subscriptions import SubscriptionFilter, list_subscriptions

    async with opened_store() as store, store.reading() as session:
        found = await read_person(session, person=PersonId(person))
        if found is None:
            raise NotFound("person", str(person), hint="x3fleet people list shows them")
        now = store.clock.now()
        chosen = SubscriptionFilter(person=PersonId(person))
        held = await list_subscriptions(session, now, chosen)
        paid = await list_payments(session, person=PersonId(person))
    document = {
        **_document(found),
        "held": [summary_document(one) for one in held],
        "payments": [payment_document(one) for one in paid],
    }
    heading = Text(f"person {person}, {_told(found.person)}", Tone.HEAD)
    show(Page(document, (heading, summary_grid(held), payment_grid(paid))), output)
    return Exit.DONE


async def ban(
    person: Who,
    /,
    *,
    reason: Annotated[str, Parameter(help="shown to operators")] = "",
    token: TokenOption = None,
    output: OutputOption = Output.TABLE,
) -> Exit:
    """Switch every key of a person off and sell them nothing more."""
    from desired_state.commands.people import ban as ban_person

    async with unit_of_work() as work:
        change = await ban_person(work, PersonId(person), reason=reason, token=token)
    _show_change(change, "is banned" if change.changed else "was banned before", output)
    return Exit.DONE


async def unban(
    person: Who, /, *, token: TokenOption = None, output: OutputOption = Output.TABLE
) -> Exit:
    """Take a ban back: what is in force is served again, with the credentials that it had."""
    from desired_state.commands.people import unban as unban_person

    async with unit_of_work() as work:
        change = await unban_person(work, PersonId(person), token=token)
    _show_change(change, "is not banned any more" if change.changed else "is not banned", output)
    return Exit.DONE


async def find_or_meet(work: "UnitOfWork", person: int | None, telegram: int | None) -> PersonId:
    """Give the person that two options of a command name, one of which must be given.

    Raises:
        ConfigError: none of them is given, or both are.
    """
    from desired_state.commands.people import meet

    if person is not None and telegram is None:
        return PersonId(person)
    if telegram is None or person is not None:
        raise ConfigError("name either --person NUMBER or --telegram NUMBER")
    return (await meet(work, telegram)).person.id


# -- what is shown ---------------------------------------------------------------------------------


def _document(view: "PersonView") -> dict[str, Any]:
    return {**_of(view.person), "subscriptions": view.subscriptions}


def _of(person: "Person") -> dict[str, Any]:
    return {
        "person": person.id,
        "telegram_id": person.telegram_id,
        "language": person.language or None,
        "created_at": person.created_at,
        "banned": person.is_banned,
        "banned_at": person.banned_at,
        "ban_reason": person.ban_reason or None,
    }


def _row(view: "PersonView") -> tuple[Cell, ...]:
    person = view.person
    return (
        str(person.id),
        "" if person.telegram_id is None else str(person.telegram_id),
        person.language,
        day(person.created_at),
        view.subscriptions,
        Text("banned", Tone.BAD) if person.is_banned else "",
    )


def _told(person: "Person") -> str:
    since = f"since {day(person.created_at)}"
    if person.banned_at is None:
        return since
    reason = f": {person.ban_reason}" if person.ban_reason else ""
    return f"{since}, banned on {day(person.banned_at)}{reason}"


def _show_change(change: "PersonChange", done: str, output: Output) -> None:
    document = {**_of(change.person), "changed": change.changed}
    show(Page(document, (f"person {change.person.id} {done}",)), output)
