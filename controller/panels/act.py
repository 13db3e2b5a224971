"""One `Write` effect: exactly one POST, and its `Outcome`. Never raises, never repeats.

Called by `panel`, for the worker. Not here: which call a write is (`dialects`), what an answer's
status means (`controller.panels.api.outcomes`), whether to write at all (`controller.core`).
"""

from pydantic_core import to_json

from controller.core.effects import ClientRecord, MemberResult, Outcome, Verdict, Write
from controller.core.features import Features
from controller.panels.api.outcomes import WriteAnswer
from controller.panels.api.session import PanelApi
from controller.panels.dialects.choose import dialect_of
from controller.panels.dialects.dialect import Dialect, Impossible, SharedKeys

LIMIT_BYTES = 9 * 1024 * 1024
"""Below the 10 MiB that panels from 3.4.0 on take; chunks are to stay far below it."""


async def act(
    api: PanelApi, write: Write, features: Features, shared_keys: SharedKeys = frozenset()
) -> Outcome:
    """Send one write.

    Args:
        api: of the node.
        write: what is to be done.
        features: of the version that the look found which the write was planned from. Should the
            panel be of another one by now, nothing is sent.
        shared_keys: what that look found ambiguous.

    Returns:
        `NOT_SENT` also when the body is too large. `REJECTED` also for what no call can say (a
        client that no path can address): its neighbours go on.
    """
    dialect = dialect_of(features)
    call = dialect.call(write, features, shared_keys)
    if isinstance(call, Impossible):
        return Outcome(Verdict.REJECTED, call.reason)
    content = None if call.body is None else to_json(call.body)
    if content is not None and len(content) > LIMIT_BYTES:
        cause = f"the body has {len(content)} bytes, and panels take {LIMIT_BYTES}"
        return Outcome(Verdict.NOT_SENT, cause)
    secrets = tuple(secret for member in write.members for secret in _secrets(member))
    answer = await api.write(call.path, content=content, secrets=secrets)
    return _outcome(dialect, write, answer)


def _secrets(member: ClientRecord) -> tuple[str, ...]:
    # A refusal may repeat what was sent, and a path holds a credential up to 2.7.x.
    held = member.current
    present = () if held is None else (held.uuid, held.password, held.auth)
    written = (member.sub_id, member.uuid, member.password, member.auth)
    return tuple(secret for secret in (*written, *present) if secret)


def _outcome(dialect: Dialect, write: Write, answer: WriteAnswer) -> Outcome:
    members: tuple[MemberResult, ...] = ()
    # QUIRK(refused-yet-stored, 3x-ui 3.1.0+): a client for a good and a missing inbound is refused,
    # and is on the good one. A refusal is passed on as that and no more: only a look can tell.
    if answer.verdict is Verdict.REJECTED:
        members = dialect.refused(write, answer.cause)
    elif answer.verdict is Verdict.APPLIED and answer.body is not None:
        members = dialect.members(write, answer.body)
    return Outcome(
        verdict=answer.verdict,
        cause=answer.cause,
        members=members,
        duration_s=answer.duration_s,
        sent_bytes=answer.sent_bytes,
    )
