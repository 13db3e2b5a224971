"""What can go wrong at one effect: the kinds of fault, where each applies, and what a faulty look shows.

Callers: `world` (plays them), the explorer (enumerates them). A crash *before* an effect is the crash
after the one before it: the generator's memory is lost either way, so one kind covers both. Not here:
choosing faults.
"""

from dataclasses import replace
from enum import StrEnum

from controller.core import effects as fx
from controller.core.observed import NotObserved, NotSeen, Observation
from tests.fakes.panel import GUIDS_SINCE, FakePanel


class Fault(StrEnum):
    """One kind of fault at one effect."""

    CRASH = "crash after it"
    # -- looks
    UNSEEN = "the look fails"
    NULL = "the answer holds no list"
    STALE = "the list of one change ago"
    STALE_3 = "the list of three changes ago"
    OLDEST = "the oldest list remembered"
    EMPTY = "an empty list"
    BARE = "an empty list, of inbounds too"
    HALF = "half of the list"
    TORN = "attachments are missing"
    STRANGER = "another machine answers"
    # -- writes
    LOST = "request lost"
    UNANSWERED = "done, answer lost"
    LIE = "answered as done, nothing done"
    HALF_LIE = "answered as done, half done"
    REFUSED = "refused, nothing done"
    HALF_REFUSED = "refused, half done"
    SKIPPED = "half of the members skipped"
    NOT_SENT = "not sent"
    TWICE = "delivered twice"
    DELAYED = "no answer, arrives before the next look"
    LATE = "no answer, arrives after the next look"
    # -- the database
    BUSY = "the transaction fails"
    FENCED = "another replica took the node"
    EXHAUSTED = "the fleet's share of deletes is used up"


LOOKS = (
    Fault.UNSEEN, Fault.NULL, Fault.STALE, Fault.STALE_3, Fault.OLDEST, Fault.EMPTY, Fault.BARE,
    Fault.HALF, Fault.TORN, Fault.STRANGER,
)  # fmt: skip
LOOKS_AT_FIRST = tuple(kind for kind in LOOKS if kind is not Fault.STRANGER)
UNTRUE_LISTS = frozenset({
    Fault.STALE, Fault.STALE_3, Fault.OLDEST, Fault.EMPTY, Fault.BARE, Fault.HALF,
})  # fmt: skip
UNDONE = frozenset({Fault.LIE, Fault.HALF_LIE})
SINGLE_WRITES = (
    Fault.LOST, Fault.UNANSWERED, Fault.LIE, Fault.REFUSED, Fault.NOT_SENT, Fault.TWICE,
    Fault.DELAYED, Fault.LATE,
)  # fmt: skip
READS = (fx.ReadDesired, fx.ReadSeeds, fx.ReadGenerations)


def applicable(effect: fx.Effect[object], panel: FakePanel, *, known: bool) -> tuple[Fault, ...]:
    """List the faults that make a difference at this effect on this panel, as it is now.

    `known`: whether the panel was ever bound; before, whoever answers first is the one.
    """
    if isinstance(effect, fx.Observe):
        true = panel.look()
        seen = [true]
        kinds = []
        for kind in LOOKS if known else LOOKS_AT_FIRST:
            shown = look(kind, panel)
            if shown not in seen:
                seen.append(shown)
                kinds.append(kind)
        return (*kinds, Fault.CRASH)
    if isinstance(effect, fx.Write) and effect.verb is fx.Verb.RESTART:
        # Xray is started within the call, and what became of that is its answer: there is no list to
        # read it back from.
        return (*(kind for kind in SINGLE_WRITES if kind is not Fault.LIE), Fault.CRASH)
    if isinstance(effect, fx.Write):
        wide = len(effect.members) > 1
        torn = wide or (effect.verb is fx.Verb.CREATE and len(effect.members[0].inbound_ids) > 1)
        return (
            *SINGLE_WRITES,
            *((Fault.HALF_REFUSED,) if torn else ()),
            *((Fault.SKIPPED, Fault.HALF_LIE) if wide else ()),
            Fault.CRASH,
        )
    if isinstance(effect, READS):
        return (Fault.BUSY, Fault.CRASH)
    if isinstance(effect, fx.ReserveDeletes):
        return (Fault.BUSY, Fault.FENCED, Fault.EXHAUSTED, Fault.CRASH)
    return (Fault.BUSY, Fault.FENCED, Fault.CRASH)


def look(kind: Fault | None, panel: FakePanel) -> Observation | NotObserved:
    """Return what a look shows under a fault; None is an honest one."""
    match kind:
        case Fault.UNSEEN:
            return NotObserved(panel.node, NotSeen.TIMEOUT, "the panel did not answer in time")
        case Fault.NULL:
            return NotObserved(panel.node, NotSeen.BUSY, "the panel answered without a list")
        case Fault.STALE | Fault.STALE_3 | Fault.OLDEST:
            steps = {Fault.STALE: 1, Fault.STALE_3: 3}.get(kind, 10**6)
            return panel.older_look(steps)
    true = panel.look()
    match kind:
        case Fault.EMPTY:
            return replace(true, clients=())
        case Fault.BARE:
            return replace(true, clients=(), inbounds=())
        case Fault.HALF:
            return replace(true, clients=true.clients[len(true.clients) // 2 :])
        case Fault.TORN if not true.features.email_per_inbound and true.clients:
            bare = tuple(replace(c, inbound_ids=()) for c in true.clients[::2])
            return replace(true, clients=(*bare, *true.clients[1::2]), torn=True)
        case Fault.STRANGER:
            return _another_machine(true, panel)
    return true


def _another_machine(true: Observation, panel: FakePanel) -> Observation:
    """Show a machine at our address that is not ours: by GUID, or below 3.3.0 by what it holds."""
    if panel.version >= GUIDS_SINCE:
        return replace(true, guid="guid-of-a-stranger")
    if not true.clients:
        return true
    moved = tuple(replace(i, port=i.port + 1000) for i in true.inbounds)
    return replace(true, clients=(), inbounds=moved)
