"""What adoption is decided by: the last inventory of a node, and what we hold already.

Callers: `commands.adoption`, inside its transaction. Not here: deciding (`model.adopting`), writing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from desired_state.commands.nodes import find_node
from desired_state.model.adopting import people_named
from desired_state.model.adoption import FoundClient
from desired_state.model.adoption_plan import Circumstances, KnownKey, MapEntry
from desired_state.model.ids import KeyId, NodeName, TariffName
from desired_state.model.policy import Policy, policy_for
from desired_state.store.adoption_rows import found_from
from desired_state.store.convert import node_from, subscription_from, used_bytes_of
from desired_state.store.installation import read_ownership
from desired_state.store.journal_states import may_exist
from desired_state.store.policies import read_policies
from desired_state.store.tables.adoption import AdoptionRow, FoundClientRow
from desired_state.store.tables.desired import KeyRow, PersonRow, SubscriptionRow
from desired_state.store.tables.status import KeyUsageRow, RemoteGenerationRow
from desired_state.store.unit_of_work import UnitOfWork

_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class AdoptionWish:
    """What a person asks for. `tariff`: of clients for which the mapping names none."""

    mapping: tuple[MapEntry, ...] = ()
    tariff: TariffName | None = None
    needs_person: bool = True


async def read_found(work: UnitOfWork, node: NodeName) -> tuple[FoundClient, ...]:
    """Read the last inventory of a node; empty when none was taken, or the panel holds nobody.

    Raises:
        SecretUnreadable: it was sealed with other keys.
    """
    query = select(FoundClientRow).where(FoundClientRow.node == node)
    rows = await work.session.scalars(query.order_by(FoundClientRow.number))
    return tuple([found_from(row, work.vault) for row in rows])


async def read_circumstances(
    work: UnitOfWork, node: NodeName, wish: AdoptionWish, found: tuple[FoundClient, ...]
) -> Circumstances:
    """Read everything else that adopting them is decided by.

    Raises:
        NotFound: no such node.
    """
    labels = node_from(await find_node(work, node)).spec.labels
    return Circumstances(
        node=node,
        now=work.now,
        policy=await _policy(work, labels),
        ours=await _ours(work, node, found),
        people=await _people(work, found),
        banned=await _banned(work),
        known=await _known(work, node),
        mapping=wish.mapping,
        tariff=wish.tariff,
        needs_person=wish.needs_person,
    )


async def _policy(work: UnitOfWork, labels: tuple[tuple[str, str], ...]) -> Policy:
    policies = await read_policies(work.session)
    return policy_for(policies, labels)


async def _ours(work: UnitOfWork, node: NodeName, found: Iterable[FoundClient]) -> frozenset[str]:
    """Return emails that the journal holds, that were adopted, or that carry our mark."""
    journalled = await work.session.scalars(
        select(RemoteGenerationRow.email).where(
            RemoteGenerationRow.node == node,
            may_exist(RemoteGenerationRow.state),
        )
    )
    adopted = await work.session.scalars(
        select(AdoptionRow.email).where(AdoptionRow.node == node, AdoptionRow.released_at.is_(None))
    )
    ownership = await read_ownership(work.session, work.vault)
    marked = (
        client.email
        for client in found
        if ownership.parse(client.email) is not None
        and ownership.is_marked(client.email, client.sub_id)
    )
    return frozenset(email.lower() for email in (*journalled, *adopted, *marked))


async def _people(work: UnitOfWork, found: Iterable[FoundClient]) -> frozenset[int]:
    """Of the numbers in emails and comments, those that are Telegram ids of people we know."""
    numbers = sorted(frozenset().union(*people_named(found).values()))
    known: set[int] = set()
    for start in range(0, len(numbers), _AT_ONCE):
        query = select(PersonRow.telegram_id).where(
            PersonRow.telegram_id.in_(numbers[start : start + _AT_ONCE])
        )
        known |= {number for number in await work.session.scalars(query) if number is not None}
    return frozenset(known)


async def _banned(work: UnitOfWork) -> frozenset[int]:
    query = select(PersonRow.telegram_id).where(PersonRow.banned_at.is_not(None))
    return frozenset(number for number in await work.session.scalars(query) if number is not None)


async def _known(work: UnitOfWork, node: NodeName) -> tuple[KnownKey, ...]:
    """Read keys that still hold what was adopted, here or elsewhere.

    Not those that hold something of our own making on this node: a key is either here or there.
    """
    adopted_here = select(AdoptionRow.email).where(
        AdoptionRow.node == node, AdoptionRow.released_at.is_(None)
    )
    made_here = select(RemoteGenerationRow.key).where(
        RemoteGenerationRow.node == node,
        may_exist(RemoteGenerationRow.state),
        RemoteGenerationRow.key.is_not(None),
        RemoteGenerationRow.email.not_in(adopted_here),
    )
    query = (
        select(
            AdoptionRow.key_id, AdoptionRow.secrets_digest, SubscriptionRow, PersonRow.telegram_id
        )
        .join(KeyRow, KeyRow.id == AdoptionRow.key_id)
        .join(SubscriptionRow, SubscriptionRow.id == KeyRow.subscription_id)
        .outerjoin(PersonRow, PersonRow.id == SubscriptionRow.person_id)
        .where(
            AdoptionRow.released_at.is_(None),
            KeyRow.deleted_at.is_(None),
            KeyRow.generation == AdoptionRow.generation,
            AdoptionRow.key_id.not_in(made_here),
        )
        .order_by(AdoptionRow.key_id, AdoptionRow.node, AdoptionRow.email)
    )
    rows = (await work.session.execute(query)).all()
    used = await _used(work) if rows else {}
    return tuple(
        [
            KnownKey(
                KeyId(key), telegram_id, digest, subscription_from(owner, used.get(owner.id, 0))
            )
            for key, digest, owner, telegram_id in rows
        ]
    )


async def _used(work: UnitOfWork) -> dict[str, int]:
    """Bytes that subscriptions with adopted keys used in their paid period."""
    query = (
        select(KeyUsageRow, SubscriptionRow.id, SubscriptionRow.period)
        .join(KeyRow, KeyRow.id == KeyUsageRow.key)
        .join(SubscriptionRow, SubscriptionRow.id == KeyRow.subscription_id)
        .where(KeyRow.id.in_(select(AdoptionRow.key_id)))
    )
    used: dict[str, int] = {}
    for row, owner, period in await work.session.execute(query):
        used[owner] = used.get(owner, 0) + used_bytes_of(row, period)
    return used
