"""Declared inbounds in a turn: recorded, created, changed, and deleted once they are empty.

Steps: before keys are bound and planned (`ensure_inbounds`), and after their slices (`remove_inbounds`).
Sans-I/O like the spine: every `perform` is a crash point, and every write is proved by a look. Callers:
reconcile. Not here: what is to be done (`declared`), calls of a panel.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta

from controller.core.declared import (
    REFUSED,
    Standing,
    Step,
    digest_of,
    stand,
    with_facts,
    without_facts,
)
from controller.core.desired import ManagedInbound
from controller.core.effects import (
    Event,
    Finalise,
    Gone,
    InboundWrite,
    Outcome,
    RecordInbounds,
    Steps,
    Verb,
    Verdict,
    Write,
    perform,
)
from controller.core.observed import ObservedClient, ObservedInbound
from controller.core.placeholder import is_placeholder
from controller.core.slices import look_again
from controller.core.turn import Turn
from desired_state.model.generation import JournalRow
from desired_state.model.ids import InboundId, InboundName
from desired_state.model.inbound import InboundState
from desired_state.model.legible import legible
from desired_state.model.node import Mode, Recovery
from desired_state.model.placement import DeleteReason

_WRITING = frozenset({Mode.ENFORCE, Mode.UPSERT_ONLY})


def ensure_inbounds(turn: Turn) -> Steps[None]:
    """Record what the look shows of declared inbounds, create what is missing, change what differs."""
    if not _is_concerned(turn):
        return
    yield from _recognise(turn)
    steps: dict[Step, Callable[[Turn, Standing], Steps[None]]] = {
        Step.CREATE: _create,
        Step.UPDATE: _update,
    }
    for name in [one.spec.name for one in _standings(turn)]:
        if turn.stopped or turn.desired.mode not in _WRITING or not turn.checked.is_trusted:
            return
        standing = _standing(turn, name)
        if standing is not None and standing.step in steps and _is_let(turn, standing):
            yield from steps[standing.step](turn, standing)


def _is_let(turn: Turn, standing: Standing) -> bool:
    """Whether it may be done: an older database must not put an inbound back to what it was."""
    return standing.step is Step.CREATE or turn.desired.recovery is Recovery.NONE


def remove_inbounds(turn: Turn) -> Steps[None]:
    """Delete what is declared no more and is to go, once nothing lives on it but our placeholder."""
    if not _is_concerned(turn):
        return
    for name in [one.spec.name for one in _standings(turn) if one.step is Step.DELETE]:
        if turn.stopped or not turn.checked.is_trusted:
            return
        standing = _standing(turn, name)
        if standing is not None:
            yield from _remove(turn, standing)


def standings_at_end(turn: Turn) -> tuple[Standing, ...]:
    """Tell what is left to do at the end of a turn, and what is in the way."""
    if not turn.checked.is_trusted or not turn.desired.inbounds:
        return ()
    return tuple(_standings(turn))


def _is_concerned(turn: Turn) -> bool:
    """Whether anything is declared, on a panel that is ours and was bound."""
    known = turn.desired.bound is not None and turn.checked.is_trusted
    return bool(turn.desired.inbounds) and known and not turn.stopped


def _standings(turn: Turn) -> list[Standing]:
    return stand(turn.desired, turn.look.inbounds, turn.now, turn.look.features)


def _standing(turn: Turn, name: InboundName) -> Standing | None:
    return next((one for one in _standings(turn) if one.spec.name == name), None)


# -- what the look shows ---------------------------------------------------------------------------


def _recognise(turn: Turn) -> Steps[None]:
    """Record ids, ports and reasons that are news; a converged turn records nothing."""
    rows, events, over = [], [], []
    for standing in _standings(turn):
        row = _row_of(turn, standing)
        if standing.leaving and standing.owner is not None:
            over.append(standing.spec.name)
        elif row is not None and row != standing.row:
            rows.append(row)
            events += _events_of(standing, row)
    yield from _record(turn, rows, gone=tuple(over), events=events)


def _row_of(turn: Turn, standing: Standing) -> ManagedInbound | None:
    """Make the row that the look asks for; None where there is nothing to say yet."""
    row = standing.row or ManagedInbound(standing.spec.name)
    if standing.seen is not None:
        row = with_facts(row, standing.seen)
    elif standing.owner is not None:
        row = without_facts(row)
    if standing.leaving:
        return _leaving(standing, row)
    if standing.reason and standing.step is not Step.WAIT:
        return replace(
            row, state=InboundState.REFUSED, reason=standing.reason, message=standing.message,
            sent_at=row.sent_at if _may_arrive(turn, row) else None,
        )  # fmt: skip
    if standing.step is Step.CREATE:
        # Its row begins with the intent of its create.
        return standing.row
    return _live(row) if standing.step is Step.NONE else row


def _leaving(standing: Standing, row: ManagedInbound) -> ManagedInbound | None:
    if standing.row is None:
        return None
    leaves = standing.step is Step.DELETE
    state = InboundState.LEAVING if leaves else InboundState.KEPT
    keeps = leaves and standing.row.state is InboundState.LEAVING
    return row if keeps else replace(row, state=state, reason="", message="")


def _live(row: ManagedInbound) -> ManagedInbound:
    return replace(
        row, state=InboundState.LIVE, reason="", message="", sent_at=None, tried_at=None,
        tried_digest="",
    )  # fmt: skip


def _events_of(standing: Standing, row: ManagedInbound) -> list[Event]:
    before = standing.row
    name = standing.spec.name
    if row.reason and (before is None or before.reason != row.reason):
        return [Event("inbound_refused", detail=f"{name}: {row.message}")]
    if row.state is InboundState.LIVE and before is not None and before.sent_at is not None:
        return [_created(row)]
    return []


def _created(row: ManagedInbound) -> Event:
    detail = f"{row.name}: {row.protocol} on port {row.port}, inbound {row.inbound_id}"
    return Event("inbound_created", detail=detail)


def _record(
    turn: Turn,
    rows: Iterable[ManagedInbound],
    *,
    gone: tuple[InboundName, ...] = (),
    events: Iterable[Event] = (),
) -> Steps[None]:
    fresh = {row.name: row for row in rows}
    if not fresh and not gone:
        return
    desired = turn.desired
    yield from perform(
        RecordInbounds(desired.node, tuple(fresh.values()), desired.epoch, gone, tuple(events))
    )
    kept = [r for r in desired.managed if r.name not in fresh and r.name not in gone]
    managed = tuple(sorted((*kept, *fresh.values()), key=lambda row: row.name))
    declared = tuple(one for one in desired.inbounds if one.spec.name not in gone)
    turn.desired = replace(desired, managed=managed, inbounds=declared)


# -- creating and changing -------------------------------------------------------------------------


def _create(turn: Turn, standing: Standing) -> Steps[None]:
    """Journal the intent, create, look: a lost answer never leads to a second one.

    One that was there and is not has to be missed by two looks in each of two turns: a list may be an old
    one, and a second inbound of ours under another port would be nobody's.
    """
    row = standing.row or ManagedInbound(standing.spec.name)
    if row.inbound_id is not None:
        if not (yield from look_again(turn)):
            return
        again = _standing(turn, standing.spec.name)
        if again is None or again.step is not Step.CREATE or not turn.checked.is_trusted:
            return
        if row.state is not InboundState.PENDING:
            yield from _record(turn, [replace(row, state=InboundState.PENDING)])
            return
    row = replace(
        row, state=InboundState.PENDING, reason="", message="", inbound_id=None, sent_at=turn.now,
        tried_at=None,
    )  # fmt: skip
    yield from _record(turn, [row])
    outcome = yield from _send(turn, Verb.ADD_INBOUND, InboundWrite(standing.spec))
    if outcome.verdict is Verdict.NOT_SENT:
        yield from _record(turn, [replace(row, sent_at=None)])
        return
    if not (yield from look_again(turn)) or not turn.checked.is_trusted:
        return
    after = _standing(turn, standing.spec.name)
    if after is not None and after.seen is not None:
        row = _live(with_facts(row, after.seen))
        yield from _record(turn, [row], events=[_created(row)])
    elif outcome.verdict is Verdict.REJECTED:
        yield from _refuse(turn, replace(row, sent_at=None), standing, outcome.cause)


def _update(turn: Turn, standing: Standing) -> Steps[None]:
    """Change what differs, look, and see that its clients are as they were."""
    seen = standing.seen
    if seen is None or standing.row is None:
        return
    before = _clients_on(turn, seen.id)
    outcome = yield from _send(turn, Verb.EDIT_INBOUND, InboundWrite(standing.spec, seen))
    if outcome.verdict is Verdict.NOT_SENT:
        return
    if not (yield from look_again(turn)) or not turn.checked.is_trusted:
        return
    after = _standing(turn, standing.spec.name)
    if after is None or after.seen is None:
        return
    row = with_facts(standing.row, after.seen)
    events = _lost(standing, before, _clients_on(turn, after.seen.id))
    if not after.changes:
        detail = f"{standing.spec.name}: {', '.join(standing.changes)}"
        yield from _record(
            turn, [_live(row)], events=[Event("inbound_updated", detail=detail), *events]
        )
    elif outcome.verdict is not Verdict.UNKNOWN:
        cause = outcome.cause or f"accepted, but not stored: {', '.join(after.changes)}"
        yield from _refuse(turn, row, standing, cause, events)


def _refuse(
    turn: Turn,
    row: ManagedInbound,
    standing: Standing,
    cause: str,
    events: Iterable[Event] = (),
) -> Steps[None]:
    """Record that the panel did not do as it was asked; it is asked once more in the next turn.

    After that only later, or when it is declared anew: a change of an inbound breaks its connections.
    """
    digest = digest_of(standing.spec)
    again = standing.row is not None and standing.row.tried_digest == digest
    refused = replace(
        row, state=InboundState.REFUSED, reason=REFUSED, message=cause,
        tried_at=turn.now if again else None, tried_digest=digest,
    )  # fmt: skip
    event = Event("inbound_refused", detail=f"{row.name}: {cause}")
    yield from _record(turn, [refused], events=[event, *events])


def _send(turn: Turn, verb: Verb, change: InboundWrite) -> Steps[Outcome]:
    write = Write(turn.target, verb, (), inbound=change)
    outcome = yield from perform(write)
    turn.note(write, outcome)
    return outcome


def _clients_on(turn: Turn, inbound: InboundId) -> dict[str, ObservedClient]:
    return {c.email.lower(): c for c in turn.look.clients if inbound in c.inbound_ids}


def _lost(
    standing: Standing, before: dict[str, ObservedClient], after: dict[str, ObservedClient]
) -> list[Event]:
    """Tell of clients that a change of their inbound took away, which no panel known to us does."""
    lost = sorted(before.keys() - after.keys())
    if not lost:
        return []
    told = f"{len(lost)} clients, the first is {legible(before[lost[0]].email)}"
    return [Event("inbound_clients_lost", detail=f"{standing.spec.name}: {told}")]


# -- deleting --------------------------------------------------------------------------------------


def _remove(turn: Turn, standing: Standing) -> Steps[None]:
    row, seen = standing.row, standing.seen
    if row is None or seen is None:
        yield from _forget(turn, standing)
    elif (obstacle := _obstacle(turn, seen)) is not None:
        yield from _note(turn, row, *obstacle)
    elif turn.desired.mode is Mode.ENFORCE and turn.desired.may_remove:
        yield from _drop(turn, standing, row, seen)


def _obstacle(turn: Turn, seen: ObservedInbound) -> tuple[str, str] | None:
    """Say why it cannot go yet, as reason and message; None when nothing lives on it."""
    on_it = _clients_on(turn, seen.id)
    left = on_it.keys() - {p.email.lower() for p in _placeholders(turn, seen.id)}
    if foreign := sorted(left - {r.email.lower() for r in turn.desired.journal}):
        first = legible(on_it[foreign[0]].email)
        message = f"holds {len(foreign)} foreign clients, the first is {first}: it stays with them"
        return "InboundHoldsForeign", message
    if left or _awaits(turn, seen.id):
        return "", "clients of ours leave it first"
    return None


def _drop(
    turn: Turn, standing: Standing, row: ManagedInbound, seen: ObservedInbound
) -> Steps[None]:
    placeholders = _placeholders(turn, seen.id)
    emails = frozenset(p.email.lower() for p in placeholders)
    outcome = yield from _send(turn, Verb.DROP_INBOUND, InboundWrite(standing.spec, seen, emails))
    # One without an answer proves nothing: the next turn repeats it.
    if outcome.ends_writing:
        if outcome.verdict is Verdict.UNKNOWN:
            yield from look_again(turn)
        return
    is_gone = yield from _is_gone(turn, standing)
    if is_gone:
        yield from _bury(turn, standing, placeholders)
    elif outcome.verdict is Verdict.REJECTED and turn.checked.is_trusted and turn.lost is None:
        yield from _note(turn, row, REFUSED, outcome.cause)


def _is_gone(turn: Turn, standing: Standing) -> Steps[bool]:
    """Look twice: nothing is left that a later look could find, so an old list must not end it."""
    for _ in range(2):
        if not (yield from look_again(turn)) or not turn.checked.is_trusted:
            return False
        after = _standing(turn, standing.spec.name)
        if after is None or after.seen is not None:
            return False
    return True


def _placeholders(turn: Turn, inbound: InboundId) -> tuple[JournalRow, ...]:
    rows = turn.desired.journal
    return tuple(r for r in rows if is_placeholder(r) and inbound in r.inbound_ids)


def _awaits(turn: Turn, inbound: InboundId) -> bool:
    """Whether a client of a key is journalled there and not finalised yet."""
    return any(r.key is not None and inbound in r.inbound_ids for r in turn.desired.journal)


def _forget(turn: Turn, standing: Standing) -> Steps[None]:
    """Nobody saw it at this turn's first look: only a second one that agrees ends it."""
    row = standing.row
    if row is None or turn.desired.mode is not Mode.ENFORCE or _may_arrive(turn, row):
        return
    if not (yield from look_again(turn)):
        return
    after = _standing(turn, standing.spec.name)
    if after is None or after.seen is not None or not turn.checked.is_trusted:
        return
    placeholders = () if row.inbound_id is None else _placeholders(turn, row.inbound_id)
    yield from _bury(turn, standing, placeholders)


def _may_arrive(turn: Turn, row: ManagedInbound) -> bool:
    """Whether a create without an answer may still be on its way."""
    wait = timedelta(seconds=turn.desired.policy.unknown_create_wait_s)
    return row.sent_at is not None and turn.now < row.sent_at + wait


def _bury(turn: Turn, standing: Standing, placeholders: tuple[JournalRow, ...]) -> Steps[None]:
    """Finalise the placeholder that went with it, then strike out its row."""
    if placeholders:
        gone = tuple(Gone(replace(p, delete_reason=DeleteReason.UNMATCHED)) for p in placeholders)
        yield from perform(Finalise(turn.target.node, gone, turn.desired.epoch))
        turn.bury(gone)
        turn.draw()
    event = Event("inbound_deleted", detail=f"{standing.spec.name}: port {standing.spec.port}")
    yield from _record(turn, (), gone=(standing.spec.name,), events=[event])


def _note(turn: Turn, row: ManagedInbound, reason: str, message: str) -> Steps[None]:
    after = replace(row, state=InboundState.LEAVING, reason=reason, message=message)
    if after == row:
        return
    told = [Event("inbound_refused", detail=f"{row.name}: {message}")] if reason else []
    yield from _record(turn, [after], events=told)
