"""People: meet, ban, unban. A ban switches every key of theirs off and sells them nothing more.

Callers: entrances, `commands.purchases`. Not here: admin accounts, messages, what people bought.
"""

from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.errors import NotFound, PersonBanned
from desired_state.commands.tokens import is_repeat
from desired_state.commands.whereabouts import nodes_of_keys
from desired_state.model.errors import InvalidValue
from desired_state.model.ids import KeyId, PersonId
from desired_state.model.person import Person
from desired_state.store.convert_shop import person_from
from desired_state.store.tables.desired import KeyRow, PersonRow, SubscriptionRow
from desired_state.store.unit_of_work import UnitOfWork

LANGUAGES = ("ru", "en")
_TELEGRAM_MOST = 2**52
"""Numbers of accounts have at most 52 significant bits, by the Bot API's word."""


@dataclass(frozen=True, slots=True)
class PersonChange:
    """The person as they are now, and whether the command changed anything."""

    person: Person
    changed: bool


async def meet(
    work: UnitOfWork, telegram_id: int | None = None, *, language: str = ""
) -> PersonChange:
    """Know a person: the one of this account, or a new one.

    Args:
        work: the transaction.
        telegram_id: the number of their account; None makes a person without one, every time.
        language: what they chose; "" leaves what is known.

    Raises:
        InvalidValue: no such number, or a language that we do not speak.
    """
    if telegram_id is not None and not 0 < telegram_id < _TELEGRAM_MOST:
        raise InvalidValue("telegram", f"{telegram_id} is no number of an account")
    if language and language not in LANGUAGES:
        raise InvalidValue("language", f"{language!r} is none of {', '.join(LANGUAGES)}")
    row = None
    if telegram_id is not None:
        row = await work.session.scalar(
            select(PersonRow).where(PersonRow.telegram_id == telegram_id)
        )
    if row is not None and language in ("", row.language):
        return PersonChange(person_from(row), changed=False)
    revision = await work.revise(wakes=False)
    if row is None:
        row = PersonRow(
            telegram_id=telegram_id, language=language, created_at=work.now, banned_at=None,
            ban_reason="", revision=revision,
        )  # fmt: skip
        work.session.add(row)
        await work.session.flush()
        work.audit("person_met", f"person/{row.id}")
    else:
        row.language, row.revision = language, revision
        work.audit("person_language_chosen", f"person/{row.id}", language=language)
    return PersonChange(person_from(row), changed=True)


async def ban(
    work: UnitOfWork, person: PersonId, *, reason: str = "", token: str | None = None
) -> PersonChange:
    """Switch every key of a person off, and sell them nothing, until `unban`.

    Their time goes on meanwhile: a ban is no freeze.

    Raises:
        NotFound: no such person.
        Conflict: the token stands for another command.
    """
    row = await find_person(work, person)
    repeated = await is_repeat(work, token, "person_banned", f"person/{person}")
    if repeated or row.banned_at is not None:
        return PersonChange(person_from(row), changed=False)
    row.banned_at, row.ban_reason = work.now, reason
    return await _switch(work, row, "person_banned", reason=reason)


async def unban(work: UnitOfWork, person: PersonId, *, token: str | None = None) -> PersonChange:
    """Take a ban back: keys whose subscriptions are in force are served again, with what they were.

    Raises:
        NotFound: no such person.
        Conflict: the token stands for another command.
    """
    row = await find_person(work, person)
    repeated = await is_repeat(work, token, "person_unbanned", f"person/{person}")
    if repeated or row.banned_at is None:
        return PersonChange(person_from(row), changed=False)
    row.banned_at, row.ban_reason = None, ""
    return await _switch(work, row, "person_unbanned")


async def find_person(work: UnitOfWork, person: PersonId) -> PersonRow:
    """Return the row of a person.

    Raises:
        NotFound: no such person.
    """
    row = await work.session.get(PersonRow, person)
    if row is None:
        raise NotFound("person", str(person), hint="x3fleet people list shows them")
    return row


async def find_customer(work: UnitOfWork, person: PersonId) -> PersonRow:
    """Return the row of a person that something may be sold to.

    Raises:
        NotFound: no such person.
        PersonBanned: they are banned.
    """
    row = await find_person(work, person)
    if row.banned_at is not None:
        raise PersonBanned(f"person {person} is banned", hint="x3fleet people unban takes it back")
    return row


async def _switch(work: UnitOfWork, row: PersonRow, action: str, **detail: object) -> PersonChange:
    """Let each subscription say what its person is, and wake the nodes of their keys."""
    owned = (
        await work.session.scalars(
            select(SubscriptionRow).where(SubscriptionRow.person_id == row.id)
        )
    ).all()
    keys = await work.session.scalars(
        select(KeyRow.id).where(KeyRow.subscription_id.in_([one.id for one in owned]))
    )
    nodes = await nodes_of_keys(work.session, *(KeyId(key) for key in keys))
    row.revision = await work.revise(*nodes, wakes=False)
    for subscription in owned:
        subscription.banned = row.banned_at is not None
        subscription.revision = row.revision
    work.audit(action, f"person/{row.id}", subscriptions=len(owned), **detail)
    return PersonChange(person_from(row), changed=True)
