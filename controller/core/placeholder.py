"""The placeholder: panels up to 3.0.2 refuse to delete the last client of an inbound.

The first time a plan would empty an inbound, a disabled client of ours without a key is put there and
stays; it counts nowhere. Callers: draw, records. Not here: when slices run.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence

from controller.core.desired import Desired
from controller.core.effects import Verb
from controller.core.observed import Observation
from controller.core.plan import Action
from desired_state.model.generation import JournalRow
from desired_state.model.ids import Email, Generation, InboundId, KeyId
from desired_state.model.ownership import Ownership

PLACEHOLDER = "placeholder"
_GENERATION = Generation(1)


def is_placeholder(row: JournalRow) -> bool:
    """Tell whether a row is a placeholder's: it has no key."""
    return row.key is None


def is_placeholder_action(action: Action) -> bool:
    """Tell whether an action puts a placeholder in."""
    return action.reason == PLACEHOLDER


def placeholder_email(ownership: Ownership, inbound: InboundId) -> Email:
    """Make the one email that this installation's placeholder in an inbound has."""
    name = ownership.mark(f"{PLACEHOLDER}-{inbound}")[:10]
    return ownership.email(KeyId(name), _GENERATION, inbound)


def placeholder_seed(ownership: Ownership, inbound: InboundId) -> bytes:
    """Derive its seed, so that a lost answer never leads to a second placeholder."""
    return hashlib.sha256(ownership.mark(f"{PLACEHOLDER}-seed-{inbound}").encode()).digest()


def add_placeholders(
    desired: Desired, look: Observation, actions: Sequence[Action]
) -> list[Action]:
    """Return the actions with a placeholder's create for each inbound that they would empty."""
    if not look.features.keeps_last_client:
        return list(actions)
    going = [action for action in actions if action.verb is Verb.DELETE]
    leaving = Counter(i for a in going if a.current is not None for i in a.inbound_ids)
    # A delete that was refused although nobody was seen: it may have been the last client's.
    refused = {i for a in going if a.row and a.row.delete_attempts for i in a.inbound_ids}
    if not leaving and not refused:
        return list(actions)
    present = Counter(i for client in look.clients for i in client.inbound_ids)
    nameless = {inbound.id: len(inbound.nameless_clients) for inbound in look.inbounds}
    # Where there is no inbound any more nothing can be put, and nothing is its last client.
    there = {*leaving, *refused} & nameless.keys()
    emptied = [i for i in there if present[i] + nameless[i] <= leaving[i]]
    return [*actions, *(_create(desired, inbound) for inbound in sorted(emptied))]


def _create(desired: Desired, inbound: InboundId) -> Action:
    email = placeholder_email(desired.ownership, inbound)
    row = next((row for row in desired.journal if row.email == email), None)
    return Action(
        verb=Verb.CREATE,
        email=email,
        key=None,
        generation=_GENERATION,
        inbound_ids=(inbound,),
        reason=PLACEHOLDER,
        row=row,
    )
