"""Tokens of callers: what comes twice under one is done once, however late the second comes.

Callers: commands whose effect would add up, or undo what was done since. What makes a row of its own
(a purchase, a key, a request) keeps the token there instead. Not here: drawing tokens.
"""

from desired_state.commands.errors import Conflict
from desired_state.store.tables.shop import CommandTokenRow
from desired_state.store.unit_of_work import UnitOfWork


async def is_repeat(work: UnitOfWork, token: str | None, action: str, subject: str) -> bool:
    """Tell whether this was done under the token before; if not, remember that it is done now.

    Args:
        work: the transaction: where the command is refused after this, nothing is remembered.
        token: the caller's own; None: every call is one of its own.
        action: what is done, as the audit names it, with what it says: twelve days are not ten.
        subject: to what: `kind/name`.

    Raises:
        Conflict: the token stands for something else.
    """
    if token is None:
        return False
    known = await work.session.get(CommandTokenRow, token)
    if known is not None:
        if (known.action, known.subject) != (action, subject):
            raise Conflict("the token stands for another command")
        return True
    work.session.add(
        CommandTokenRow(
            token=token, action=action, subject=subject, at=work.now,
            revision=await work.revise(wakes=False),
        )
    )  # fmt: skip
    work.audit("token_kept", subject, of=action)
    return False
