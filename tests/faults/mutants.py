"""Seventeen bugs that such controllers were seen to have, each planted in the core by one small patch.

Callers: `test_mutants`, which fails when the explorer and the state machine let one live. A mutant is a
function that changes the core through a `MonkeyPatch`. Not here: finding them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

import pytest

from controller.core import (
    compose,
    declared,
    draw,
    effects,
    guards,
    inbound_steps,
    reconcile,
    slices,
)
from controller.core import memo as memo_module
from controller.core.declared import Standing
from controller.core.effects import (
    Finalise,
    Gone,
    JournalIntent,
    Observe,
    Outcome,
    Steps,
    Verb,
    Verdict,
    Write,
    WriteStatus,
    perform,
)
from controller.core.observed import NotObserved, Observation, ObservedClient, ObservedInbound
from controller.core.plan import Action
from controller.core.turn import Turn
from desired_state.model.credentials import ClientSecrets
from desired_state.model.generation import JournalRow
from desired_state.model.ids import Email, Generation, InboundId
from desired_state.model.inbound import InboundSpec
from desired_state.model.placement import DeleteReason
from tests.fakes import world as world_module

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Mutant:
    """A planted bug: its name, how it is planted, and the world that is known to show it: tried first."""

    name: str
    plant: Callable[[Patch], None]
    world: str = "create 3"


def _finalise_before_verify(patch: Patch) -> None:
    def run_deletes(turn: Turn, piece: tuple[Action, ...]) -> Steps[None]:
        yield from slices.reserve(turn)
        piece = tuple(a for a in piece if a.email.lower() not in turn.held)
        if not piece:
            return
        seeds = yield from slices.read_seeds(turn, piece)
        yield from slices.send(turn, slices.delete_writes(turn, piece, seeds))
        yield from _bury(turn, [a.row for a in piece if a.row is not None])
        yield from slices.look_again(turn)

    patch.setattr(slices, "run_deletes", run_deletes)


def _nameless_taken_for_gone(patch: Patch) -> None:
    patch.setattr(slices, "left_unnamed", lambda *_: frozenset())


def _no_verify(patch: Patch) -> None:
    """Believe the answers: the look after a write is made up from what was sent."""

    def look_again(turn: Turn) -> Steps[bool]:
        clients = {client.email: client for client in turn.look.clients}
        for write, outcome in turn.sent:
            if outcome.verdict is Verdict.APPLIED:
                _pretend(clients, write)
        turn.see(replace(turn.look, clients=tuple(clients.values())))
        return True
        yield

    patch.setattr(slices, "look_again", look_again)


def _pretend(clients: dict[str, ObservedClient], write: Write) -> None:
    for member in write.members:
        if write.verb is Verb.DELETE:
            clients.pop(member.email, None)
        elif write.verb is Verb.CREATE:
            clients[member.email] = ObservedClient(
                email=member.email,
                inbound_ids=member.inbound_ids,
                sub_id=member.sub_id,
                uuid=member.uuid,
                password=member.password,
                auth=member.auth,
                flow=member.flow,
                enable=True,
                expiry_ms=member.expiry_ms,
                total_bytes=member.total_bytes,
                limit_ip=member.limit_ip,
            )


def _no_ownership_check(patch: Patch) -> None:
    """An email that looks like ours is ours."""
    patch.setattr(draw, "read_mark", lambda client, ownership: ownership.parse(client.email))
    patch.setattr(draw, "is_ours_by_row", lambda _client, _row: True)


def _panel_makes_the_credential(patch: Patch) -> None:
    patch.setattr(compose, "read_secrets", lambda *_, **__: ClientSecrets("", "", ""))


def _random_remote_name(patch: Patch) -> None:
    """Each planning draws a new name."""
    numbers = count()
    wanted_clients = memo_module.wanted_clients

    def renamed(*args: object) -> object:
        for want in wanted_clients(*args):  # type: ignore[arg-type]
            yield replace(want, email=f"{want.email}-{next(numbers)}")

    patch.setattr(memo_module, "wanted_clients", renamed)


def _create_before_delete(patch: Patch) -> None:
    """A new generation does not wait for the older one, and goes first."""
    patch.setattr(memo_module, "older_keys", lambda *_: frozenset())

    def next_slice(turn: Turn) -> tuple[Action, ...]:
        todo = [a for a in turn._allowed() if a.email.lower() not in turn.given_up]
        creates = tuple(a for a in todo if a.verb is Verb.CREATE)
        return creates or tuple(a for a in todo if a.verb is Verb.DELETE) or tuple(todo)

    patch.setattr(Turn, "next_slice", next_slice)


def _status_written_each_cycle(patch: Patch) -> None:
    def write_status(desired: object, status: object, **_: object) -> Steps[None]:
        yield from perform(
            WriteStatus(desired.node, status, desired.epoch, (), ())  # type: ignore[attr-defined, arg-type]
        )

    patch.setattr(reconcile, "write_status", write_status)


def _no_deletion_limit(patch: Patch) -> None:
    limits = (guards.too_many_deletes, guards.empty_desired)
    patch.setattr(guards, "GUARDS", tuple(g for g in guards.GUARDS if g not in limits))


def _no_identity_check(patch: Patch) -> None:
    patch.setattr(guards, "GUARDS", tuple(g for g in guards.GUARDS if g is not guards.identity))
    patch.setattr(reconcile, "_is_stranger", lambda *_: False)


def _absence_trusted(patch: Patch) -> None:
    """What nobody wants and the list does not show is recorded as gone without a delete."""

    def learn_and_bury(turn: Turn) -> Steps[None]:
        yield from slices.learn(turn)
        absent = [
            a.row
            for a in turn.checked.allowed.of(Verb.DELETE)
            if a.current is None and a.row is not None and not a.recreates
        ]
        yield from _bury(turn, absent)

    patch.setattr(reconcile, "learn", learn_and_bury)


def _no_intent_journal(patch: Patch) -> None:
    """Creates leave no row before they are seen."""

    def without_intent(effect: object) -> Steps[object]:
        if isinstance(effect, JournalIntent):
            return None
        return (yield from effects.perform(effect))  # type: ignore[arg-type]

    patch.setattr(slices, "perform", without_intent)


def _missing_page_read_as_an_empty_list(patch: Patch) -> None:
    """A look that failed counts as a look at an empty panel."""
    shown: list[Observation] = []

    def hear(effect: object, answer: object) -> object:
        if isinstance(effect, Observe) and isinstance(answer, Observation):
            shown[:] = [answer]
        if isinstance(answer, NotObserved) and shown and shown[0].node == answer.node:
            return replace(shown[0], clients=())
        return answer

    _mishear(patch, hear)


def _empty_answer_trusted(patch: Patch) -> None:
    """A write without an answer counts as done."""

    def hear(effect: object, answer: object) -> object:
        lost = isinstance(answer, Outcome) and answer.verdict is Verdict.UNKNOWN
        return replace(answer, verdict=Verdict.APPLIED) if lost else answer  # type: ignore[type-var]

    _mishear(patch, hear)


def _mishear(patch: Patch, hear: Callable[[object, object], object]) -> None:
    """Put an adapter between core and world that changes what the core is told."""

    def misheard(*args: object) -> Steps[object]:
        steps = reconcile.reconcile(*args)  # type: ignore[arg-type]
        answer: object = None
        while True:
            try:
                effect = steps.send(answer)
            except StopIteration as stop:
                return stop.value
            answer = hear(effect, (yield effect))

    patch.setattr(world_module, "reconcile", misheard)


def _bury(turn: Turn, rows: list[JournalRow]) -> Steps[None]:
    gone = tuple(
        Gone(replace(row, delete_reason=row.delete_reason or DeleteReason.REVOKED)) for row in rows
    )
    if gone:
        yield from perform(Finalise(turn.target.node, gone, turn.desired.epoch))
        turn.bury(gone)
        turn.draw()


def _anybodys_inbound(patch: Patch) -> None:
    """Whatever listens on the declared port is the declared inbound."""

    def find_seen(spec: InboundSpec, _row: object, inbounds: Iterable[ObservedInbound]) -> object:
        return next((one for one in inbounds if one.port == spec.port), None)

    patch.setattr(declared, "find_seen", find_seen)


def _inbound_missed_once(patch: Patch) -> None:
    """One list that misses it has it made anew."""
    create = inbound_steps._create

    def hasty(turn: Turn, standing: Standing) -> Steps[None]:
        row = standing.row and replace(standing.row, inbound_id=None)
        yield from create(turn, replace(standing, row=row))

    patch.setattr(inbound_steps, "_create", hasty)


def _inbound_dropped_with_whatever_is_on_it(patch: Patch) -> None:
    """What is declared no more is deleted at once, and every client on it with it."""

    def placeholders(turn: Turn, inbound: InboundId) -> tuple[JournalRow, ...]:
        on_it = [c for c in turn.look.clients if inbound in c.inbound_ids]
        return tuple(
            JournalRow(turn.target.node, Email(c.email), None, Generation(1), (inbound,), "")
            for c in on_it
        )

    patch.setattr(inbound_steps, "_placeholders", placeholders)
    patch.setattr(inbound_steps, "_obstacle", lambda *_: None)


def _inbound_gone_at_one_look(patch: Patch) -> None:
    """One list that misses it ends its record, and nobody ever deletes it."""

    def forget(turn: Turn, standing: Standing) -> Steps[None]:
        yield from inbound_steps._bury(turn, standing, ())

    patch.setattr(inbound_steps, "_forget", forget)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("finalise before verify", _finalise_before_verify, world="delete 2 of 4"),
    Mutant("no verify at all", _no_verify, world="delete 2 of 4"),
    Mutant("no ownership check", _no_ownership_check, world="email taken"),
    Mutant("panel makes the credential", _panel_makes_the_credential),
    Mutant("random remote name", _random_remote_name),
    Mutant("create before delete", _create_before_delete, world="rotate 2 of 3"),
    Mutant("status written each cycle", _status_written_each_cycle),
    Mutant("no deletion limit", _no_deletion_limit, world="all revoked, approved"),
    Mutant("no identity check", _no_identity_check, world="panel replaced"),
    Mutant("absence trusted", _absence_trusted, world="delete 2 of 4"),
    Mutant("no intent journal", _no_intent_journal, world="all revoked, approved"),
    Mutant("404 read as an empty list", _missing_page_read_as_an_empty_list),
    Mutant("empty 200 trusted", _empty_answer_trusted, world="create on two inbounds"),
    Mutant("anybody's inbound", _anybodys_inbound, world="inbound in the way"),
    Mutant("inbound missed once", _inbound_missed_once, world="inbound changed"),
    Mutant(
        "inbound dropped with its clients",
        _inbound_dropped_with_whatever_is_on_it,
        world="inbound leaves with a guest",
    ),
    Mutant("nameless taken for gone", _nameless_taken_for_gone, world="row lost"),
    Mutant("inbound gone at one look", _inbound_gone_at_one_look, world="inbound leaves"),
)
