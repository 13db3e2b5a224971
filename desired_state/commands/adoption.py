"""Adoption: what a panel holds already becomes keys, and goes back to being foreign again.

Planning reads the last inventory of a node, which the controller took; adopting writes exactly what was
planned, or nothing. No panel is called, and none is written to. Callers: entrances. Not here: whose client
it is (`model.adopting`), the journal's beginning (the controller).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from sqlalchemy import select

from desired_state.commands.adoption_facts import AdoptionWish, read_circumstances, read_found
from desired_state.commands.errors import Conflict, NotFound, PlanStale
from desired_state.commands.ids import draw_id
from desired_state.commands.subscriptions import find_tariff
from desired_state.commands.whereabouts import nodes_of_keys
from desired_state.model.adopting import plan_adoption
from desired_state.model.adoption import FIRST_GENERATION
from desired_state.model.adoption_plan import AdoptionPlan, KeyPlan
from desired_state.model.credentials import (
    SEED_BYTES,
    ClientSecrets,
    pack_adopted,
    read_secrets,
)
from desired_state.model.ids import Digest, KeyId, NodeName, TariffName
from desired_state.store.adoption_rows import adopted_facts
from desired_state.store.convert import seed_place, tariff_from
from desired_state.store.tables.adoption import AdoptionRow
from desired_state.store.tables.desired import (
    KeyGenerationRow,
    KeyRow,
    PersonRow,
    SubscriptionRow,
)
from desired_state.store.unit_of_work import UnitOfWork

SHORTEST_DIGEST = 8
"""Digits that a person must repeat, as of an approval."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was adopted. `repeated`: exactly this was adopted before, and nothing was done."""

    plan: AdoptionPlan
    digest: Digest
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Released:
    """A key that was given up, and the clients that are foreign again, by node and email."""

    key: KeyId
    clients: tuple[tuple[NodeName, str], ...]
    changed: bool


async def plan(work: UnitOfWork, node: NodeName, wish: AdoptionWish) -> AdoptionPlan:
    """Tell what adopting would do, by the last inventory of the node; writes nothing.

    Raises:
        NotFound: no such node, or a tariff that nobody declares.
        Conflict: a tariff is withdrawn.
        SecretUnreadable: the inventory was sealed with other keys.
    """
    found = await read_found(work, node)
    around = await read_circumstances(work, node, wish, found)
    made = plan_adoption(found, around)
    for tariff in sorted({key.subscription.tariff for key in made.keys}):
        await find_tariff(work, tariff)
    return made


async def adopt(work: UnitOfWork, node: NodeName, wish: AdoptionWish, digest: str) -> Adopted:
    """Adopt exactly what was shown under a digest.

    Args:
        work: the transaction.
        node: whose clients.
        wish: the same that it was shown for.
        digest: its first digits, at least eight.

    Raises:
        PlanStale: the panel, the mapping or what we hold has changed since; nothing was adopted.
        Conflict: the digest is too short.
        NotFound: as `plan`.
    """
    prefix = digest.strip().lower()
    if len(prefix) < SHORTEST_DIGEST:
        raise Conflict(f"a digest is at least {SHORTEST_DIGEST} hexadecimal digits")
    made = await plan(work, node, wish)
    if not made.digest.startswith(prefix) or not made.keys:
        if (known := await _adopted_under(work, node, prefix)) is not None:
            return Adopted(replace(made, keys=()), known, repeated=True)
        raise PlanStale(
            f"what would be adopted on {node} is not what was shown as {prefix}",
            hint="look at it again: x3fleet nodes adopt without --apply",
        )
    revision = await work.revise(node, scheduler=True)
    people = await _people(work, made.keys)
    adoptions: list[AdoptionRow] = []
    for key in made.keys:
        person = None if key.telegram_id is None else people[key.telegram_id]
        row = await _new_key(work, key, person) if not key.key else await _widen(work, key, node)
        adoptions += [
            AdoptionRow(
                key_id=row.id, node=node, email=client.adopted.email,
                generation=client.adopted.generation, sub_id=client.adopted.sub_id,
                secrets_digest=client.adopted.secrets_digest,
                facts=adopted_facts(client.adopted), digest=made.digest, at=work.now,
                released_at=None, revision=revision,
            )
            for client in key.clients
        ]  # fmt: skip
        work.audit("key_adopted", f"key/{row.id}", node=node, clients=len(key.clients))
    # Their keys first: no relationship tells the session so.
    await work.session.flush()
    work.session.add_all(adoptions)
    work.audit(
        "node_adopted",
        f"node/{node}",
        keys=len(made.keys),
        clients=made.clients,
        digest=made.digest,
    )
    return Adopted(made, made.digest)


async def release(work: UnitOfWork, key: KeyId) -> Released:
    """Give up an adopted key: its clients stay on their panels and are foreign from now on.

    What the key holds elsewhere by our own making goes as with `keys revoke`.

    Raises:
        NotFound: no such key.
        Conflict: it was never adopted, was rotated since, or is revoked: its clients are to be deleted.
    """
    row = await work.session.get(KeyRow, key)
    if row is None:
        raise NotFound("key", key, hint="x3fleet keys list shows them")
    query = select(AdoptionRow).where(AdoptionRow.key_id == key).order_by(AdoptionRow.email)
    adoptions = (await work.session.scalars(query)).all()
    held = [one for one in adoptions if one.released_at is None]
    if not adoptions:
        raise Conflict(f"key {key} was not adopted", hint="x3fleet keys revoke deletes it")
    clients = tuple((NodeName(one.node), one.email) for one in adoptions)
    if not held:
        return Released(key, clients, changed=False)
    if row.deleted_at is not None:
        raise Conflict(f"key {key} is revoked: its clients are being deleted")
    if row.generation != FIRST_GENERATION:
        raise Conflict(
            f"key {key} was rotated: its adopted client was replaced",
            hint="x3fleet keys revoke deletes what it holds now",
        )
    nodes = {*await nodes_of_keys(work.session, key), *(NodeName(one.node) for one in held)}
    revision = await work.revise(*sorted(nodes), scheduler=True)
    row.deleted_at, row.reason, row.revision = work.now, "released", revision
    for one in held:
        one.released_at, one.revision = work.now, revision
    work.audit("key_released", f"key/{key}", clients=[one.email for one in held])
    return Released(key, clients, changed=True)


# -- writing ---------------------------------------------------------------------------------------


async def _adopted_under(work: UnitOfWork, node: NodeName, prefix: str) -> Digest | None:
    query = select(AdoptionRow.digest).where(
        AdoptionRow.node == node,
        AdoptionRow.digest.startswith(prefix, autoescape=True),
        AdoptionRow.released_at.is_(None),
    )
    found = await work.session.scalar(query.limit(1))
    return None if found is None else Digest(found)


async def _people(work: UnitOfWork, keys: Iterable[KeyPlan]) -> dict[int, int]:
    """Find or make the people of these keys; gives ids by Telegram id."""
    wanted = sorted({key.telegram_id for key in keys if key.telegram_id is not None})
    ids: dict[int, int] = {}
    for start in range(0, len(wanted), 500):
        query = select(PersonRow).where(PersonRow.telegram_id.in_(wanted[start : start + 500]))
        ids |= {
            row.telegram_id: row.id for row in await work.session.scalars(query) if row.telegram_id
        }
    missing = [
        PersonRow(
            telegram_id=number,
            language="",
            created_at=work.now,
            banned_at=None,
            ban_reason="",
            revision=await work.revise(),
        )
        for number in wanted
        if number not in ids
    ]
    work.session.add_all(missing)
    await work.session.flush()
    return ids | {row.telegram_id: row.id for row in missing if row.telegram_id is not None}


async def _new_key(work: UnitOfWork, key: KeyPlan, person: int | None) -> KeyRow:
    terms = key.subscription
    revision = await work.revise()
    owner = SubscriptionRow(
        id=draw_id(work.randomness), person_id=person, tariff_name=terms.tariff,
        valid_until=terms.valid_until, quota_bytes=terms.quota_bytes, devices=terms.devices,
        suspended=terms.suspended,
        suspended_reason="switched off on the panel when adopted" if terms.suspended else "",
        frozen_at=None, banned=terms.banned, period=1, period_started_at=work.now,
        created_at=work.now, revision=revision,
    )  # fmt: skip
    selector = tariff_from(await find_tariff(work, TariffName(terms.tariff))).nodes
    row = KeyRow(
        id=draw_id(work.randomness), subscription_id=owner.id, generation=FIRST_GENERATION,
        # It lives where it was found: a tariff of every node must not spread what nobody asked for.
        selector_labels=dict(selector.labels), selector_count=1, pinned_node=None, token=None,
        deleted_at=None, reason="", created_at=work.now, revision=revision,
    )  # fmt: skip
    work.session.add_all([owner, row])
    material = pack_adopted(_merge(None, key), work.randomness.draw(SEED_BYTES))
    seed = await work.seal(material, seed_place(row.id, FIRST_GENERATION))
    work.session.add(
        KeyGenerationRow(key_id=row.id, generation=FIRST_GENERATION, seed=seed, created_at=work.now)
    )
    return row


async def _widen(work: UnitOfWork, key: KeyPlan, node: NodeName) -> KeyRow:
    """Take further clients of a key in: on another node it lives on one more."""
    row = await work.session.get_one(KeyRow, key.key)
    known = await work.session.scalars(
        select(AdoptionRow.node).where(AdoptionRow.key_id == key.key)
    )
    if node not in set(known) and row.selector_count is not None:
        row.selector_count += 1
    row.revision = await work.revise()
    stored = await work.session.get_one(KeyGenerationRow, (key.key, FIRST_GENERATION))
    place = seed_place(key.key, FIRST_GENERATION)
    held = read_secrets(work.vault.open(stored.seed, place))
    material = pack_adopted(_merge(held, key), work.randomness.draw(SEED_BYTES))
    stored.seed = await work.seal(material, place)
    return row


def _merge(held: ClientSecrets | None, key: KeyPlan) -> ClientSecrets:
    """Give one set of credentials for all clients of a key: what a protocol logs in with comes first."""
    merged = held or key.clients[0].found.secrets
    for client in key.clients:
        found = client.found.secrets
        for name in client.found.needs:
            merged = replace(merged, **{name: getattr(found, name)})
    return merged
