"""Bugs that operators of such fleets suffer from, each planted outside the core by one small patch.

Callers: `test_fleet_mutants`, which plays the life that is known to show it, and in the deep run lives at
random. A mutant is a function that changes the product through a `MonkeyPatch`. Not here: finding them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import and_, bindparam, select, update

from controller.core import usage as usage_module
from controller.core.desired import KeyOnNode
from controller.core.usage import Counter, Mark, Usage
from controller.jobs import place as place_module
from controller.jobs import write_off as write_off_module
from controller.runtime import keys_here, reads, successors
from controller.runtime.keys_here import _HERE, _KEY_HERE
from controller.runtime.tables import KEY, KEY_USAGE, SUBSCRIPTION
from controller.runtime.usage_rows import USED_BYTES
from desired_state.commands import fulfilment, payments, subscriptions
from desired_state.model.generation import JournalState
from desired_state.model.placement import DeleteReason
from desired_state.scheduling import eligible
from desired_state.scheduling import place as scheduler
from desired_state.scheduling.proofs import Proofs
from desired_state.store.tables.desired import KeyRow, SubscriptionRow
from desired_state.store.tables.status import RemoteGenerationRow

Patch = pytest.MonkeyPatch
_JOURNAL = RemoteGenerationRow.__table__


@dataclass(frozen=True)
class Mutant:
    """A planted bug: its name, how it is planted, and the life in `fleet_lives` that is known to show it."""

    name: str
    plant: Callable[[Patch], None]
    life: str


# -- debts and moves -------------------------------------------------------------------------------


def _debt_paid_unseen(patch: Patch) -> None:
    """What a dead node owes is booked as gone as soon as its keys live elsewhere."""
    store = place_module._store

    async def forgetful(session: Any, result: Any, now: Any) -> int:
        for one in result.ended:
            if one.leaving is DeleteReason.FAILED_OVER:
                rows = update(_JOURNAL).where(
                    _JOURNAL.c.node == one.node, _JOURNAL.c.key == one.key
                )
                gone = rows.values(state=JournalState.GONE.value, gone_at=now)
                await session.execute(gone)
        return await store(session, result, now)

    patch.setattr(place_module, "_store", forgetful)


def _debt_never_paid(patch: Patch) -> None:
    """A node that is back goes on serving keys that were placed elsewhere meanwhile."""

    async def read_keys(*words: Any, **options: Any) -> tuple[KeyOnNode, ...]:
        owed = DeleteReason.FAILED_OVER
        return tuple(
            replace(one, placed=True, leaving=None) if one.leaving is owed else one
            for one in await keys_here.read_keys(*words, **options)
        )

    patch.setattr(reads, "read_keys", read_keys)


def _old_key_deleted_before_the_new_one_is_proved(patch: Patch) -> None:
    patch.setattr(Proofs, "_holds", lambda *_: True)
    patch.setattr(reads, "keep", lambda keys, _kept: keys)


def _a_record_is_proof_enough(patch: Patch) -> None:
    """The old key goes on the word of a record, however long ago its node fell silent."""
    patch.setattr(Proofs, "_holds", lambda self, key, name: (key, name) in self.live)
    patch.setattr(successors, "is_serving", lambda *_: True)
    patch.setattr(successors, "_is_confirmed", lambda *_: True)


def _drain_does_nothing(patch: Patch) -> None:
    leave_nodes = scheduler.leave_nodes

    def leave(draft: Any, keys: Any, proofs: Any, now: Any) -> Any:
        drained = {k: v for k, v in draft.rooms.by_name.items() if v.state.node.is_draining}
        kept = {k: v for k, v in keys.items() if not drained.keys() & set(draft.lives(k))}
        return leave_nodes(draft, kept, proofs, now)

    patch.setattr(scheduler, "leave_nodes", leave)


def _surplus_stays(patch: Patch) -> None:
    """A smaller tariff takes no key from any node."""
    patch.setattr(scheduler, "end_surplus", lambda *_: None)


def _cordon_is_not_asked(patch: Patch) -> None:
    refuse = eligible._refuse_by_operator

    def lenient(node: Any) -> Any:
        overrides = replace(node.overrides, cordoned=False)
        return refuse(replace(node, overrides=overrides))

    patch.setattr(eligible, "_refuse_by_operator", lenient)


def _forgotten_is_proved_gone(patch: Patch) -> None:
    """What a lost node held counts as seen to be gone."""
    patch.setattr(write_off_module, "JournalState", SimpleNamespace(WRITTEN_OFF=JournalState.GONE))


# -- quotas ----------------------------------------------------------------------------------------


def _counter_that_fell_counts_again(patch: Patch) -> None:
    """After a restore the panel's old counter is taken for new use."""

    def fall(usage: Usage, email: str, mark: Mark, seen: Counter, **_: bool) -> Usage:
        counter = usage.counter_bytes - mark.at.total_bytes + seen.total_bytes
        after = replace(usage, marks={**usage.marks, email: Mark(seen)})
        used = usage.used_bytes + seen.total_bytes
        return usage_module._settle(after, used, counter, min(usage.base_bytes, counter))

    patch.setattr(usage_module, "_fall", fall)


def _quota_of_each_node(patch: Patch) -> None:
    """What was used on one node switches nothing off on another."""
    here = KEY_USAGE.join(KEY, KEY.c.id == KEY_USAGE.c.key).join(
        SUBSCRIPTION, SUBSCRIPTION.c.id == KEY.c.subscription_id
    )
    query = (
        select(KEY.c.subscription_id, USED_BYTES)
        .select_from(here)
        .where(
            and_(
                KEY_USAGE.c.period == SUBSCRIPTION.c.period, KEY_USAGE.c.node == bindparam("node")
            ),
            KEY.c.subscription_id.in_(
                select(_KEY_HERE.c.subscription_id)
                .join(_HERE, _HERE.c.key == _KEY_HERE.c.id)
                .where(_HERE.c.node == bindparam("node"))
            ),
        )
    )
    patch.setattr(keys_here, "_USED_HERE", query)


# -- people and money ------------------------------------------------------------------------------


def _refund_leaves_the_key_alive(patch: Patch) -> None:
    async def take_back(*_: Any) -> None:
        """Money goes back, and nothing else does."""

    patch.setattr(payments, "_take_back", take_back)


def _credited_as_often_as_told(patch: Patch) -> None:
    """A provider that says a thing twice gives twice the time."""
    record = payments.record

    async def eager(work: Any, charge: Any, paid: Any, purchase: Any = None) -> Any:
        change = await record(work, charge, paid, purchase)
        if not change.changed and change.payment.credited is not None:
            row = await payments.find_purchase(work, change.payment.credited)
            await fulfilment.fulfil(work, row)
        return change

    patch.setattr(payments, "record", eager)


def _renewal_brings_a_freed_key_back(patch: Patch) -> None:
    """Who renews one subscription has every key again that was ever taken from them."""
    extend = subscriptions.extend

    async def generous(work: Any, subscription: Any, *words: Any, **options: Any) -> Any:
        change = await extend(work, subscription, *words, **options)
        row = await work.session.get(SubscriptionRow, subscription)
        theirs = select(SubscriptionRow.id).where(SubscriptionRow.person_id == row.person_id)
        back = update(KeyRow).where(KeyRow.subscription_id.in_(theirs))
        await work.session.execute(back.values(deleted_at=None))
        return change

    patch.setattr(subscriptions, "extend", generous)


def _thaw_lifts_a_ban(patch: Patch) -> None:
    unfreeze = subscriptions.unfreeze

    async def lenient(work: Any, subscription: Any, **options: Any) -> Any:
        change = await unfreeze(work, subscription, **options)
        (await work.session.get(SubscriptionRow, subscription)).banned = False
        return change

    patch.setattr(subscriptions, "unfreeze", lenient)


MUTANTS: tuple[Mutant, ...] = (
    Mutant("debt paid unseen", _debt_paid_unseen, "a node is given up and comes back"),
    Mutant("debt never paid", _debt_never_paid, "a node is given up and comes back"),
    Mutant(
        "old key deleted before the new one is proved",
        _old_key_deleted_before_the_new_one_is_proved,
        "the new node is dead",
    ),
    Mutant(
        "a record is proof enough",
        _a_record_is_proof_enough,
        "the new node falls before the old goes",
    ),
    Mutant("drain does nothing", _drain_does_nothing, "a drain that creates first"),
    Mutant("surplus stays", _surplus_stays, "a smaller tariff"),
    Mutant("cordon is not asked", _cordon_is_not_asked, "a cordoned node"),
    Mutant("forgotten is proved gone", _forgotten_is_proved_gone, "a node is lost for good"),
    Mutant("a counter that fell counts again", _counter_that_fell_counts_again, "a restored panel"),
    Mutant("quota of each node", _quota_of_each_node, "a quota is used up"),
    Mutant("a refund leaves the key alive", _refund_leaves_the_key_alive, "a refund"),
    Mutant("credited as often as told", _credited_as_often_as_told, "a payment told twice"),
    Mutant("a renewal brings a freed key back", _renewal_brings_a_freed_key_back, "a freed key"),
    Mutant("a thaw lifts a ban", _thaw_lifts_a_ban, "banned and frozen"),
)
