"""Actions to what the panel is told: records with credentials, journal rows, and calls of the right width.

Step: inside a slice, after the seeds were read. Callers: reconcile. Not here: choosing actions.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from controller.core.desired import BoundInbound, Desired
from controller.core.effects import ClientRecord, ObservedRecord, Verb, Write
from controller.core.expect import Shape
from controller.core.features import Features
from controller.core.observed import ObservedClient, ObservedInbound
from controller.core.placeholder import placeholder_seed
from controller.core.plan import Action
from desired_state.model.adoption import AdoptedClient
from desired_state.model.credentials import ClientSecrets, digest_secrets, read_secrets
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import Generation, InboundId, KeyId
from desired_state.model.node import NodeTarget

Seeds = Mapping[tuple[KeyId, Generation], bytes]

RESTORE_RUNG = 2
"""From this failed delete on, the recorded credential is restored before the next try."""
SEEDLESS = "its seed is missing, or these encryption keys do not open it"
_BY_WHAT_IS_SEEN = frozenset({Verb.DELETE, Verb.ENABLE, Verb.DISABLE, Verb.DETACH})
_BULK = {
    Verb.CREATE: "bulk_create",
    Verb.DELETE: "bulk_delete",
    Verb.ENABLE: "bulk_enable",
    Verb.DISABLE: "bulk_enable",
    Verb.ATTACH: "bulk_attach",
    Verb.DETACH: "bulk_attach",
}


def seeds_needed(actions: Iterable[Action]) -> tuple[tuple[KeyId, Generation], ...]:
    """Name the seeds that writing these actions takes; sorted.

    A client that is seen is switched, detached and deleted by what the panel shows of it; only a delete
    that climbs the ladder writes the recorded credential back.
    """
    needed = {(a.key, a.generation) for a in actions if a.key is not None and _writes_secrets(a)}
    return tuple(sorted(needed))


def _writes_secrets(action: Action) -> bool:
    if action.current is None or action.verb not in _BY_WHAT_IS_SEEN:
        return True
    return action.row is not None and action.row.delete_attempts >= RESTORE_RUNG


def lacks_seed(action: Action, seeds: Seeds) -> bool:
    """Tell whether an action would write credentials that nobody knows.

    Whatever else is done to a client names it by what the panel shows of it.
    """
    writes = action.verb in (Verb.CREATE, Verb.UPDATE)
    return writes and action.key is not None and not seeds.get((action.key, action.generation))


def compose_record(
    action: Action, desired: Desired, seeds: Seeds, seen: Iterable[ObservedInbound] = ()
) -> ClientRecord:
    """Make the record of one action: what is wanted, with credentials, and what is there now.

    Args:
        action: what is to be done.
        desired: the bound inbounds, and whose mark new clients get.
        seeds: of the generations that are written.
        seen: inbounds of the last look; one that is not bound any more is still to be emptied.
    """
    secrets = _secrets(action, desired, seeds)
    wanted = action.wanted
    shape = wanted.shape if wanted is not None else None
    inbound = _inbound(action, desired, seen)
    record = ClientRecord(
        email=action.email,
        inbound_ids=action.inbound_ids,
        sub_id=_sub_id(action, desired),
        uuid=secrets.uuid,
        password=secrets.password,
        auth=secrets.auth,
        flow=shape.flow if shape else "",
        enable=wanted.enable if wanted is not None else False,
        expiry_ms=wanted.expiry_ms if wanted is not None else 0,
        total_bytes=wanted.total_bytes if wanted is not None else 0,
        limit_ip=wanted.limit_ip if wanted is not None else 0,
        comment=f"x3fleet key {action.key}" if action.key else "x3fleet placeholder",
        group="x3fleet",
        method="" if inbound is None else _method(inbound),
        protocol="" if inbound is None else inbound.protocol,
        current=_current(action.current),
    )
    if wanted is None or wanted.adopted is None:
        return record
    return _as_adopted(record, action, wanted.shape, wanted.adopted)


def _as_adopted(
    record: ClientRecord, action: Action, shape: Shape, adopted: AdoptedClient
) -> ClientRecord:
    """Keep what is its person's of an adopted client: only its limits are ours to write."""
    seen = action.current
    sub_id = action.row.sub_id if action.row is not None else adopted.sub_id
    if seen is None:
        # The panel would invent a subId for a new client without.
        return replace(
            record,
            sub_id=sub_id or record.sub_id,
            flow=adopted.flow,
            tg_id=adopted.tg_id,
            comment=adopted.comment,
            group=adopted.group,
        )
    return replace(
        record,
        sub_id=sub_id,
        # What its protocols do not log in with is nothing of ours to change.
        uuid=record.uuid if shape.needs_uuid else seen.uuid,
        password=record.password if shape.needs_password else seen.password,
        auth=record.auth if shape.needs_auth else seen.auth,
        flow=seen.flow,
        tg_id=seen.tg_id,
        # Empty: what stands there travels through an update unchanged.
        comment="",
        group="",
    )


def compose_row(
    action: Action, record: ClientRecord, desired: Desired, now: datetime
) -> JournalRow:
    """Make the row of a create, committed before the call: from now on it may exist."""
    ids = action.wanted.shape.inbound_ids if action.wanted is not None else action.inbound_ids
    # An old list may hide a client that is there: where it is attached must not be forgotten.
    held = action.row.inbound_ids if action.row is not None else ()
    return JournalRow(
        node=desired.node,
        email=action.email,
        key=action.key,
        generation=action.generation,
        inbound_ids=tuple(sorted({*ids, *held})),
        sub_id=record.sub_id,
        password_bytes=_password_bytes(action),
        state=JournalState.INTENDED if action.row is None else action.row.state,
        create_unknown_at=now,
        secrets_digest=digest_secrets(record.uuid, record.password, record.auth),
    )


def restore(action: Action) -> Action:
    """Turn a refused delete into an update that writes the recorded credential back."""
    return replace(action, verb=Verb.UPDATE)


def cut_writes(
    target: NodeTarget,
    verb: Verb,
    records: list[tuple[ClientRecord, int]],
    features: Features,
) -> Iterator[Write]:
    """Cut records into calls, each with its own limit of width; single ones where no wide call exists."""
    for record, _ in records:
        if _goes_alone(verb, record, features):
            yield _write(target, verb, (record,), features)
    records = [(r, width) for r, width in records if not _goes_alone(verb, r, features)]
    groups: dict[tuple[tuple[InboundId, ...], int], list[ClientRecord]] = defaultdict(list)
    for record, width in records:
        shared = record.inbound_ids if _needs_one_place(verb, features) else ()
        groups[shared, width].append(record)
    for (_, width), members in groups.items():
        for start in range(0, len(members), width):
            yield _write(target, verb, tuple(members[start : start + width]), features)


def _goes_alone(verb: Verb, record: ClientRecord, features: Features) -> bool:
    # QUIRK(bulk-attach-drops-flow, 3x-ui 3.2.5+): bulkAttach takes the flow of the record, which is
    # empty where the inbound written last carries none, and no list shows it; a single attach takes
    # the one that the client has anywhere.
    if verb is Verb.ATTACH and record.flow and not features.one_flow:
        return True
    return not _is_bulk(verb, features)


def _is_bulk(verb: Verb, features: Features) -> bool:
    feature = _BULK.get(verb)
    return feature is not None and bool(getattr(features, feature))


def _needs_one_place(verb: Verb, features: Features) -> bool:
    """Whether all members of a call share their inbounds: an addClient, an attach, a detach."""
    if verb is Verb.CREATE:
        return features.email_per_inbound
    return verb in (Verb.ATTACH, Verb.DETACH)


def _write(
    target: NodeTarget, verb: Verb, members: tuple[ClientRecord, ...], features: Features
) -> Write:
    inbound = members[0].inbound_ids[0] if features.email_per_inbound else None
    return Write(target, verb, members, inbound)


def _secrets(action: Action, desired: Desired, seeds: Seeds) -> ClientSecrets:
    if action.key is None:
        seed = placeholder_seed(desired.ownership, action.inbound_ids[0])
    else:
        seed = seeds.get((action.key, action.generation), b"")
    if not seed:
        # A generation whose seed is gone can only be switched or deleted, by what the panel shows of it.
        seen = action.current
        return ClientSecrets(
            uuid=seen.uuid if seen else "",
            password=seen.password if seen else "",
            auth=seen.auth if seen else "",
        )
    if action.wanted is not None and action.wanted.adopted is not None:
        return read_secrets(seed)
    bound = desired.bound or ()
    sized = any(b.password_bytes for b in bound if b.id in action.inbound_ids)
    return read_secrets(seed, _password_bytes(action), sized=sized)


def _password_bytes(action: Action) -> int:
    if action.row is not None:
        return action.row.password_bytes
    return action.wanted.shape.password_bytes if action.wanted is not None else 32


def _sub_id(action: Action, desired: Desired) -> str:
    if action.row is not None and action.row.sub_id:
        return action.row.sub_id
    return desired.ownership.mark(action.email)


def _inbound(
    action: Action, desired: Desired, seen: Iterable[ObservedInbound]
) -> BoundInbound | ObservedInbound | None:
    """Up to 3.0.2 the inbound's protocol says which field addresses a client."""
    if len(action.inbound_ids) != 1:
        return None
    places: tuple[BoundInbound | ObservedInbound, ...] = (*(desired.bound or ()), *seen)
    return next((place for place in places if place.id == action.inbound_ids[0]), None)


def _method(inbound: BoundInbound | ObservedInbound) -> str:
    """A 2022 cipher has no method in its clients."""
    is_legacy = inbound.protocol == "shadowsocks" and not inbound.password_bytes
    return inbound.method if is_legacy else ""


def _current(client: ObservedClient | None) -> ObservedRecord | None:
    if client is None:
        return None
    return ObservedRecord(
        email=client.email,
        uuid=client.uuid,
        password=client.password,
        auth=client.auth,
        raw=client.raw,
    )
