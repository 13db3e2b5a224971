"""One slice: deletes with their proof and finalise, or changes with their intent and proof.

Callers: reconcile, in the order that `Turn.next_slice` chooses.
Sans-I/O like the spine: every `perform` is a crash point. Not here: what runs next, status.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from controller.core.compose import (
    SEEDLESS,
    Seeds,
    compose_record,
    compose_row,
    cut_writes,
    lacks_seed,
    seeds_needed,
)
from controller.core.desired import Desired
from controller.core.effects import (
    ClientRecord,
    Finalise,
    Gone,
    JournalIntent,
    MemberVerdict,
    Observe,
    Outcome,
    ReadSeeds,
    RecordRows,
    StartApprovals,
    Steps,
    Verb,
    Verdict,
    Write,
    perform,
)
from controller.core.ladder import delete_writes, left_unnamed
from controller.core.observed import NotObserved
from controller.core.placeholder import is_placeholder_action
from controller.core.plan import Action
from controller.core.reserve import reserve
from controller.core.restart import owe_restart
from controller.core.result import refused_members
from controller.core.turn import MOST_DOUBTS, Turn
from desired_state.model.credentials import digest_secrets
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Email
from desired_state.model.node import Mode
from desired_state.model.placement import DeleteReason


def run_slice(turn: Turn, piece: tuple[Action, ...]) -> Steps[None]:
    """Run deletes with their proof, or everything else with its proof."""
    if turn.checked.started:
        yield from perform(
            StartApprovals(turn.target.node, turn.checked.started, turn.desired.epoch)
        )
        turn.desired = _started(turn.desired, turn.checked.started, turn.now)
    if piece[0].verb is Verb.DELETE:
        yield from run_deletes(turn, piece)
    else:
        yield from run_changes(turn, piece)


def run_deletes(turn: Turn, piece: tuple[Action, ...]) -> Steps[None]:
    """Delete, look, and finalise what is proved gone."""
    if doubtful := turn.doubt(piece):
        # A list that misses clients may be an old one, and clearing the way would cost live ones.
        turn.doubted |= doubtful
        if turn.doubts <= MOST_DOUBTS and (yield from look_again(turn)):
            yield from learn(turn)
        return
    yield from reserve(turn)
    piece = tuple(a for a in piece if a.email.lower() not in turn.held)
    if not piece:
        return
    seeds = yield from read_seeds(turn, piece)
    yield from owe_restart(turn, piece)
    tried = yield from send(turn, delete_writes(turn, piece, seeds))
    if not tried or not (yield from look_again(turn)):
        return
    answered = {
        member.email.lower()
        for write, outcome in tried
        if write.verb is Verb.DELETE and outcome.verdict is not Verdict.UNKNOWN
        for member in write.members
    }
    for action in piece:
        turn.given_up.setdefault(action.email.lower(), "its delete was not proved")
    if turn.checked.is_trusted:
        left = left_unnamed(tried, turn.look)
        yield from finalise(turn, piece, answered - left - _contradicted(piece, tried))
        yield from count_refused(turn, piece, tried)


def finalise(turn: Turn, piece: tuple[Action, ...], answered: set[str]) -> Steps[None]:
    """Bury what we deleted ourselves and then did not see: absence alone proves nothing.

    A delete without an answer proves nothing either; the next turn repeats it. After a create without
    an answer, no sooner than 60 s: its request may still be on the way.
    """
    seen = {client.email.lower() for client in turn.look.clients}
    wait = timedelta(seconds=turn.desired.policy.unknown_create_wait_s)
    gone: dict[str, Gone] = {}
    for action in piece:
        email, row = action.email.lower(), action.row
        if row is None or email in seen or email not in answered:
            continue
        if row.create_unknown_at is not None and turn.now < row.create_unknown_at + wait:
            continue
        gone[email] = _gone(row, action)
    if not gone:
        return
    buried = tuple(gone.values())
    yield from perform(Finalise(turn.target.node, buried, turn.desired.epoch))
    turn.deleted += len(buried)
    turn.bury(buried)
    turn.cleared |= {a.email.lower() for a in piece if a.recreates and a.drift} & gone.keys()
    for email in gone:
        turn.given_up.pop(email, None)
    turn.draw()


def _contradicted(piece: tuple[Action, ...], tried: list[tuple[Write, Outcome]]) -> frozenset[str]:
    """Return clients whose delete was refused and that may yet be there, whatever the look shows.

    Those that were seen before, that the panel says it has, and those refused for the first time: only
    refusals in two turns, with no look between that shows it, say the same as an answer that there is no
    such client.
    """
    refused = _refused(tried)
    results = [r for _, outcome in tried for r in outcome.members]
    present = {r.email.lower() for r in results if r.verdict is MemberVerdict.PRESENT}
    return frozenset(
        a.email.lower()
        for a in piece
        if a.email.lower() in refused
        and (
            a.current is not None
            or a.row is None
            or not a.row.delete_attempts
            or a.email.lower() in present
        )
    )


def _refused(tried: list[tuple[Write, Outcome]]) -> frozenset[str]:
    """Return members whose delete was refused; not those that the panel says it does not have."""
    refused: set[str] = set()
    for write, outcome in tried:
        if write.verb is not Verb.DELETE:
            continue
        absent = {r.email.lower() for r in outcome.members if r.verdict is MemberVerdict.ABSENT}
        whole = outcome.verdict is Verdict.REJECTED
        named = {m.email.lower() for m in write.members} if whole else refused_members(outcome)
        refused |= set(named) - absent
    return frozenset(refused)


def count_refused(
    turn: Turn, piece: tuple[Action, ...], tried: list[tuple[Write, Outcome]]
) -> Steps[None]:
    """Count deletes that were answered and did not remove the client: the next turn climbs a rung."""
    seen = {client.email.lower() for client in turn.look.clients}
    answered = {
        member.email.lower()
        for write, outcome in tried
        if outcome.verdict in (Verdict.APPLIED, Verdict.REJECTED)
        for member in write.members
    }
    unproved = _contradicted(piece, tried)
    rows = {
        a.email.lower(): replace(
            a.row, delete_attempts=a.row.delete_attempts + 1, delete_reason=DeleteReason(a.reason)
        )
        for a in piece
        if a.row is not None and a.email.lower() in (seen & answered) | unproved
    }
    if rows:
        yield from perform(RecordRows(turn.target.node, tuple(rows.values()), turn.desired.epoch))
        turn.put_rows(rows.values())
        turn.draw()


def run_changes(turn: Turn, piece: tuple[Action, ...]) -> Steps[None]:
    """Update, journal the intent, create, look, and record what is proved."""
    seeds = yield from read_seeds(turn, piece)
    lacking = {a.email.lower() for a in piece if lacks_seed(a, seeds)}
    turn.given_up |= dict.fromkeys(lacking, SEEDLESS)
    piece = tuple(a for a in piece if a.email.lower() not in lacking)
    yield from owe_restart(turn, piece)
    seen = turn.look.inbounds
    pairs = [(a, compose_record(a, turn.desired, seeds, seen)) for a in piece]
    creates = [pair for pair in pairs if pair[0].verb is Verb.CREATE]
    if creates:
        # Before the call: when its answer is lost, the journal still knows what may exist.
        rows = tuple(compose_row(a, record, turn.desired, turn.now) for a, record in creates)
        yield from perform(JournalIntent(turn.target.node, rows, turn.desired.epoch))
        turn.put_rows(rows)
    yield from note_secrets(turn, pairs)
    tried = yield from send(turn, _change_writes(turn, pairs))
    yield from take_back(turn, [a for a, _ in creates], tried)
    if not tried or not (yield from look_again(turn)):
        return
    sent = {member.email.lower() for write, _ in tried for member in write.members}
    drifted = {a.email.lower() for a in piece if a.drift} | turn.cleared
    yield from learn(
        turn,
        tuple(a.email for a in piece if a.email.lower() in drifted & sent),
        created={a.email.lower() for a, _ in creates},
    )
    changed = {a.email.lower() for a in piece if a.verb is not Verb.CREATE}
    turn.updated += len((changed & sent) - turn.unproved())
    turn.narrow(tried)
    if any(map(is_placeholder_action, piece)):
        live = {row.email for row in turn.desired.journal if row.state is JournalState.LIVE}
        turn.held_inbounds |= {i for a in piece if a.email not in live for i in a.inbound_ids}


def note_secrets(turn: Turn, pairs: list[tuple[Action, ClientRecord]]) -> Steps[None]:
    """Record which credentials an update writes to a client that was found without a row.

    Without this it would differ for ever from what nobody knows.
    """
    rows = tuple(
        replace(a.row, secrets_digest=digest_secrets(record.uuid, record.password, record.auth))
        for a, record in pairs
        if a.verb is Verb.UPDATE and a.row is not None and not a.row.secrets_digest
    )
    if rows:
        yield from perform(RecordRows(turn.target.node, rows, turn.desired.epoch))
        turn.put_rows(rows)


def take_back(turn: Turn, creates: list[Action], tried: list[tuple[Write, Outcome]]) -> Steps[None]:
    """Record that creates were not sent after all: nothing of them is on its way.

    Without this they would count as lost answers: a wait, and on panels that may store a client twice
    a delete for each; a turn that is cut short again and again would never get beyond those.
    """
    sent = {m.email.lower() for w, _ in tried if w.verb is Verb.CREATE for m in w.members}
    unsent = {a.email.lower(): a.row for a in creates if a.email.lower() not in sent}
    if not unsent:
        return
    rows = tuple(
        unsent[email] or replace(row, create_unknown_at=None)
        for row in turn.desired.journal
        if (email := row.email.lower()) in unsent
    )
    yield from perform(RecordRows(turn.target.node, rows, turn.desired.epoch))
    turn.put_rows(rows)


def learn(turn: Turn, tried: tuple[Email, ...] = (), created: Iterable[str] = ()) -> Steps[None]:
    """Record what the last look proved: seen, equal, or found without a row.

    Args:
        turn: its last look.
        tried: emails whose drift this slice wrote over.
        created: lower-cased emails that it created.
    """
    if not turn.checked.is_trusted:
        return
    learned = turn.plan.learned
    if not learned and not tried:
        return
    left = turn.unproved()
    healed = tuple(email for email in tried if email.lower() not in left)
    yield from perform(RecordRows(turn.target.node, learned, turn.desired.epoch, healed, tried))
    # A placeholder counts nowhere.
    proved = {row.email.lower() for row in learned if row.key is not None} - left
    turn.created += len(proved & set(created))
    turn.healed += len(healed)
    turn.put_rows(learned)
    turn.plan = replace(turn.plan, learned=())


def bury_taken(turn: Turn) -> Steps[None]:
    """Finalise what is to go and whose email a stranger holds: two looks in a row must agree.

    An email is unique on a panel, so nothing of ours is there under it; a delete would hit the stranger,
    and without this rotating, the remedy for a taken email, would wait for it for ever.
    """
    before = {row.email for row in turn.plan.lapsed}
    if not before or turn.desired.mode is not Mode.ENFORCE or not turn.checked.is_trusted:
        return
    if not (yield from look_again(turn)):
        return
    yield from learn(turn)
    gone = tuple(Gone(row) for row in turn.plan.lapsed if row.email in before)
    if gone and turn.checked.is_trusted:
        yield from perform(Finalise(turn.target.node, gone, turn.desired.epoch))
        turn.bury(gone)
        turn.draw()


def look_again(turn: Turn) -> Steps[bool]:
    """Look after writes: an answer is a hint, only this tells."""
    look = yield from perform(Observe(turn.target))
    if isinstance(look, NotObserved):
        turn.lost, turn.stopped = look, True
        return False
    turn.see(look)
    return True


def read_seeds(turn: Turn, piece: tuple[Action, ...]) -> Steps[Seeds]:
    """Read the seeds that a slice writes with."""
    wanted = seeds_needed(piece)
    if not wanted:
        return {}
    return (yield from perform(ReadSeeds(turn.target.node, wanted)))


def send(turn: Turn, writes: Iterable[Write]) -> Steps[list[tuple[Write, Outcome]]]:
    """Issue writes in order, up to the first that is unknown or was not sent.

    Returns:
        Those that may have reached the panel.
    """
    tried = []
    for write in writes:
        outcome = yield from perform(write)
        turn.note(write, outcome)
        if outcome.verdict is not Verdict.NOT_SENT:
            tried.append((write, outcome))
        if outcome.ends_writing:
            break
    return tried


def _change_writes(turn: Turn, pairs: list[tuple[Action, ClientRecord]]) -> Iterable[Write]:
    """Cut changes into calls, verb by verb, in the plan's order: creates come last."""
    for verb in Verb:
        records = [
            (record, turn.widths.get(action.email.lower(), turn.width))
            for action, record in pairs
            if action.verb is verb
        ]
        if records:
            yield from cut_writes(turn.target, verb, records, turn.look.features)


def _gone(row: JournalRow, action: Action) -> Gone:
    seen = action.current
    row = replace(row, delete_reason=DeleteReason(action.reason))
    if seen is None:
        return Gone(row)
    return Gone(row, seen.up_bytes, seen.down_bytes)


def _started(desired: Desired, digests: tuple[str, ...], now: datetime) -> Desired:
    return replace(
        desired,
        approvals=tuple(
            replace(a, started_at=now) if a.digest in digests and a.started_at is None else a
            for a in desired.approvals
        ),
    )
