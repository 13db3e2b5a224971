"""How panels write: the rules of both API families, refusals and half-done work included.

Called by `FakePanel.apply`. Written from what running panels of 2.3.15 to 3.6.0 were seen to do. What
a version has no call for raises `NoSuchCall`: asking for it is a bug of the core. Not here: state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from controller.core.effects import (
    ClientRecord,
    MemberResult,
    MemberVerdict,
    Outcome,
    Verb,
    Verdict,
    Write,
)
from controller.core.features import Family
from controller.core.observed import ObservedClient
from desired_state.model.ids import InboundId

if TYPE_CHECKING:
    from tests.fakes.panel import FakePanel

BY_EMAIL_SINCE = (2, 8, 0)
MISSING_IS_REFUSED_SINCE = (2, 9, 4)
GROUPED_CREATE_SINCE = (3, 2, 8)
UNIQUE_SUB_ID_SINCE = (3, 2, 5)

APPLIED = Outcome(Verdict.APPLIED)


class NoSuchCall(AssertionError):
    """The core asked for something that this version cannot do."""


def apply(panel: FakePanel, write: Write) -> Outcome:
    """Do one write after the rules of the panel's family."""
    if not write.members:
        raise NoSuchCall(f"{write.verb} without members")
    old = panel.features.email_per_inbound
    rule = (_OLD if old else _NEW).get(write.verb)
    if rule is None:
        raise NoSuchCall(f"{write.verb} on {panel.version}")
    return rule(panel, write)


def _refused(cause: str) -> Outcome:
    return Outcome(Verdict.REJECTED, cause=cause)


def _absent(member: ClientRecord, cause: str) -> Outcome:
    """Refuse as the panel does when it has no such client; the adapter tells this by the answer."""
    result = MemberResult(member.email, MemberVerdict.ABSENT, cause)
    return Outcome(Verdict.REJECTED, cause=cause, members=(result,))


def _single(panel: FakePanel, write: Write) -> ClientRecord:
    if len(write.members) != 1:
        raise NoSuchCall(f"{write.verb} of {len(write.members)} in one call on {panel.version}")
    return write.members[0]


def _made_of(
    member: ClientRecord, inbounds: tuple[InboundId, ...], *, enable: bool
) -> ObservedClient:
    raw = dict(member.current.raw or {}) if member.current is not None else {}
    return ObservedClient(
        email="" if member.unnamed else member.email,
        inbound_ids=inbounds,
        sub_id=member.sub_id,
        uuid=member.uuid,
        password=member.password,
        auth=member.auth,
        flow=member.flow,
        enable=enable,
        expiry_ms=member.expiry_ms,
        total_bytes=member.total_bytes,
        limit_ip=member.limit_ip,
        comment=member.comment,
        group=member.group,
        traffic_row=0 if member.unnamed else 1,
        raw=raw,
    )


def _credential(protocol: str, item: ClientRecord | ObservedClient) -> str:
    if protocol == "trojan":
        return item.password
    if protocol == "shadowsocks":
        return str(item.email)
    return item.auth if protocol in ("hysteria", "hysteria2") else item.uuid


# -- up to 3.0.2: clients live in inbounds ------------------------------------------------------------


def _old_create(panel: FakePanel, write: Write) -> Outcome:
    """Take all members or none: the first duplicate or empty credential refuses the batch."""
    inbound = panel.inbounds.get(write.inbound_id or InboundId(0))
    if inbound is None:
        return _refused("record not found")
    if panel.features.poisonable and any(i.nameless_clients for i in panel.inbounds.values()):
        return _refused("converting NULL to string is unsupported")
    taken = {e.client.email.lower(): e.client.sub_id for e in panel.entries.values()}
    for member in write.members:
        if member.inbound_ids != (inbound.id,):
            raise NoSuchCall(f"a create for {member.inbound_ids} in a call for {inbound.id}")
        held_by = taken.get(member.email.lower())
        # 3.0.x lets an email in twice when both have the same subId, even into one inbound.
        shared = panel.features.family is Family.V30 and held_by == member.sub_id != ""
        if held_by is not None and not shared:
            return _refused(f"Duplicate email: {member.email}")
        if not _credential(inbound.protocol, member):
            return _refused("empty client ID")
        taken[member.email.lower()] = member.sub_id
    for member in write.members:
        panel.put(_made_of(member, (inbound.id,), enable=member.enable), foreign=False)
        panel.created[member.email] += 1
    return APPLIED


def _old_target(panel: FakePanel, member: ClientRecord) -> tuple[int, ...]:
    """Find what a path with the client's old key addresses in its one inbound."""
    if len(member.inbound_ids) != 1:
        raise NoSuchCall(f"one entry addressed in inbounds {member.inbound_ids}")
    inbound = panel.inbounds.get(member.inbound_ids[0])
    if inbound is None:
        return ()
    spelling = member.current.email if member.current is not None else member.email
    if panel.version >= BY_EMAIL_SINCE and not member.unnamed:
        return panel.numbers_of(spelling, inbound.id)
    known_as = replace(
        member,
        email=spelling,  # type: ignore[arg-type]
        uuid=member.current.uuid if member.current is not None else member.uuid,
        password=member.current.password if member.current is not None else member.password,
        auth=member.current.auth if member.current is not None else member.auth,
    )
    wanted = _credential(inbound.protocol, known_as)
    return tuple(
        number
        for number, entry in panel.entries.items()
        if inbound.id in entry.client.inbound_ids
        and _credential(inbound.protocol, entry.client) == wanted
    )


def _old_delete(panel: FakePanel, write: Write) -> Outcome:
    """Remove one entry; the last client of an inbound stays, whoever it is."""
    member = _single(panel, write)
    numbers = _old_target(panel, member)
    inbound = member.inbound_ids[0]
    if inbound not in panel.inbounds:
        return _refused("record not found")
    if not numbers and panel.version >= MISSING_IS_REFUSED_SINCE:
        return _absent(member, "Client Not Found In Inbound For ID")
    there = sum(inbound in e.client.inbound_ids for e in panel.entries.values())
    if there - len(numbers) < 1:
        return _refused("no client remained in Inbound")
    if any(panel.entries[n].client.email in panel.undeletable for n in numbers):
        return _refused("record not found")
    if any(panel.entries[n].client.email in panel.rowless for n in numbers):
        cause = f"Inbound Not Found For Email: {member.email}"
        told = (MemberResult(member.email, MemberVerdict.PRESENT, cause),)
        by_email = panel.version >= BY_EMAIL_SINCE
        return Outcome(Verdict.REJECTED, cause, told if by_email else ())
    _remove(panel, numbers)
    return APPLIED


def _old_update(panel: FakePanel, write: Write) -> Outcome:
    """Replace one entry wholly; found by its old key in its inbound."""
    member = _single(panel, write)
    numbers = _old_target(panel, member)
    if not numbers:
        return _refused("empty client ID")
    old = panel.entries[numbers[0]].client
    if member.email.lower() != old.email.lower() and not member.unnamed:
        if panel.features.poisonable and any(i.nameless_clients for i in panel.inbounds.values()):
            return _refused("converting NULL to string is unsupported")
        if any(e.client.email.lower() == member.email.lower() for e in panel.entries.values()):
            return _refused(f"Duplicate email: {member.email}")
    _replace(panel, numbers[0], _made_of(member, old.inbound_ids, enable=member.enable))
    return APPLIED


# -- 3.1.0 on: clients are records attached to inbounds ------------------------------------------------


def _new_create(panel: FakePanel, write: Write) -> Outcome:
    if len(write.members) == 1:
        cause = _add(panel, write.members[0], frozenset())
        return _refused(cause) if cause else APPLIED
    if not panel.features.bulk_create:
        raise NoSuchCall(f"a bulk create on {panel.version}")
    # QUIRK V14: one member that clashes makes the panel skip all new clients of that inbound.
    refused: set[InboundId] = set()
    if panel.version >= GROUPED_CREATE_SINCE:
        for member in write.members:
            if _clash(panel, member):
                refused.update(member.inbound_ids)
    skipped = []
    for member in write.members:
        cause = _add(panel, member, frozenset(refused))
        if cause:
            skipped.append(MemberResult(member.email, MemberVerdict.SKIPPED, cause))
    return Outcome(Verdict.APPLIED, members=tuple(skipped))


def _clash(panel: FakePanel, member: ClientRecord) -> bool:
    return any(
        e.client.email != member.email
        and e.client.email.lower() == member.email.lower()
        and (not e.client.sub_id or e.client.sub_id != member.sub_id)
        for e in panel.entries.values()
    )


def _add(panel: FakePanel, member: ClientRecord, refused: frozenset[InboundId]) -> str:
    """Do `clients/add`, inbound by inbound, without taking back what was done before a refusal."""
    if not member.inbound_ids:
        return "at least one inbound is required"
    protocols = {panel.inbounds[i].protocol for i in member.inbound_ids if i in panel.inbounds}
    if panel.features.one_protocol_attach and len(protocols) > 1:
        raise NoSuchCall(f"{member.email} on inbounds of {sorted(protocols)} on {panel.version}")
    found = panel.numbers_of(member.email)
    if found and panel.entries[found[0]].client.sub_id != member.sub_id:
        return f"email already in use: {member.email}"
    owner = [e.client.email for e in panel.entries.values() if e.client.sub_id == member.sub_id]
    if panel.version >= UNIQUE_SUB_ID_SINCE and any(o != member.email for o in owner):
        return f"subId already in use: {member.sub_id}"
    for inbound in member.inbound_ids:
        if inbound not in panel.inbounds:
            return "record not found"
        if inbound in refused or _clash(panel, member):
            return f"Duplicate email: {member.email}"
        cause = _attach_new(panel, member, inbound)
        if cause:
            return cause
    return ""


def _attach_new(panel: FakePanel, member: ClientRecord, inbound: InboundId) -> str:
    """Attach one inbound, making the record first where there is none."""
    found = panel.numbers_of(member.email)
    if not found:
        # Add stores enable=true whatever is sent, and makes up a credential that is left out.
        made = _made_of(member, (inbound,), enable=True)
        if not (made.uuid or made.password or made.auth):
            invented = f"made-up-{panel.next_number}"
            made = replace(made, uuid=invented, password=invented)
        panel.put(made, foreign=False)
        panel.created[member.email] += 1
        return ""
    old = panel.entries[found[0]].client
    if inbound in old.inbound_ids:
        if panel.features.one_protocol_attach:
            return "UNIQUE constraint failed: client_inbounds"
        if panel.features.readd_doubles:
            panel.doubled |= {member.email}
            panel.swap(found[0], replace(old, comment=member.comment))
        return ""
    joined = tuple(sorted((*old.inbound_ids, inbound)))
    fresh = _made_of(member, joined, enable=True)
    panel.swap(found[0], replace(fresh, up_bytes=old.up_bytes, down_bytes=old.down_bytes))
    return ""


def _spelling(member: ClientRecord) -> str:
    return member.current.email if member.current is not None else member.email


def _new_delete(panel: FakePanel, write: Write) -> Outcome:
    if len(write.members) > 1 and not panel.features.bulk_delete:
        raise NoSuchCall(f"a bulk delete on {panel.version}")
    results = []
    for member in write.members:
        email = _spelling(member)
        numbers = panel.numbers_of(email)
        stuck = panel.undeletable | (panel.stubborn if len(write.members) > 1 else frozenset())
        if not numbers:
            verdict, cause = MemberVerdict.ABSENT, "client not found"
        elif email in stuck:
            verdict, cause = MemberVerdict.SKIPPED, "Client Not Found In Inbound"
        else:
            _remove(panel, numbers)
            continue
        results.append(MemberResult(member.email, verdict, cause))
    if len(write.members) == 1 and results:
        gone = results[0].verdict is MemberVerdict.ABSENT
        return _absent(write.members[0], results[0].reason) if gone else _refused("not deleted")
    return Outcome(Verdict.APPLIED, members=tuple(results))


def _new_update(panel: FakePanel, write: Write) -> Outcome:
    """Replace the scalars of a record; credentials that are left out stay."""
    member = _single(panel, write)
    found = panel.numbers_of(_spelling(member))
    if not found:
        return _refused("record not found")
    old = panel.entries[found[0]].client
    if member.email != old.email and _taken(panel, member.email, found[0]):
        return _refused(f"Duplicate email: {member.email}")
    fresh = _made_of(member, old.inbound_ids, enable=member.enable)
    kept = replace(
        fresh,
        sub_id=fresh.sub_id or old.sub_id,
        uuid=fresh.uuid or old.uuid,
        password=fresh.password or old.password,
        auth=fresh.auth or old.auth,
    )
    _replace(panel, found[0], kept)
    return APPLIED


def _taken(panel: FakePanel, email: str, but: int) -> bool:
    lower = email.lower()
    return any(n != but and e.client.email.lower() == lower for n, e in panel.entries.items())


def _switch(panel: FakePanel, write: Write) -> Outcome:
    """Enable or disable by email alone (3.4.1+); before, the adapter sends an update."""
    if not panel.features.bulk_enable:
        return _new_update(panel, write)
    results = []
    for member in write.members:
        numbers = panel.numbers_of(_spelling(member))
        if not numbers:
            results.append(MemberResult(member.email, MemberVerdict.ABSENT, "client not found"))
        for number in numbers:
            old = panel.entries[number].client
            _replace(panel, number, replace(old, enable=write.verb is Verb.ENABLE))
    return Outcome(Verdict.APPLIED, members=tuple(results))


def _rewire(panel: FakePanel, write: Write) -> Outcome:
    """Attach or detach; what is there already, or is not, is passed over in silence."""
    if len(write.members) > 1:
        if not panel.features.bulk_attach:
            raise NoSuchCall(f"a bulk {write.verb} on {panel.version}")
        if len({m.inbound_ids for m in write.members}) > 1:
            raise NoSuchCall(f"one {write.verb} for different inbounds")
    results = []
    for member in write.members:
        cause = _rewire_one(panel, write.verb, member)
        if cause:
            results.append(MemberResult(member.email, MemberVerdict.SKIPPED, cause))
    if len(write.members) == 1 and results:
        return _refused(results[0].reason)
    return Outcome(Verdict.APPLIED, members=tuple(results))


def _rewire_one(panel: FakePanel, verb: Verb, member: ClientRecord) -> str:
    found = panel.numbers_of(_spelling(member))
    if not found:
        return "record not found"
    for inbound in member.inbound_ids:
        old = panel.entries[found[0]].client
        if verb is Verb.DETACH:
            rest = tuple(i for i in old.inbound_ids if i != inbound)
        elif inbound not in panel.inbounds:
            return "record not found"
        else:
            rest = tuple(sorted({*old.inbound_ids, inbound}))
        if rest != old.inbound_ids:
            panel.swap(found[0], replace(old, inbound_ids=rest))
            panel.updated[old.email] += 1
    return ""


def _remove(panel: FakePanel, numbers: tuple[int, ...]) -> None:
    for number in numbers:
        panel.deleted[panel.entries[number].client.email] += 1
        panel.drop(number)


def _replace(panel: FakePanel, number: int, client: ObservedClient) -> None:
    old = panel.entries[number].client
    fresh = replace(client, up_bytes=old.up_bytes, down_bytes=old.down_bytes)
    panel.updated[old.email] += 1
    panel.swap(number, fresh)


_Rule = Callable[["FakePanel", Write], Outcome]
_OLD: dict[Verb, _Rule] = {
    Verb.CREATE: _old_create,
    Verb.DELETE: _old_delete,
    Verb.UPDATE: _old_update,
    # No call of its own: the adapter sends an update with the other `enable`.
    Verb.ENABLE: _old_update,
    Verb.DISABLE: _old_update,
}
_NEW: dict[Verb, _Rule] = {
    Verb.CREATE: _new_create,
    Verb.DELETE: _new_delete,
    Verb.UPDATE: _new_update,
    Verb.ENABLE: _switch,
    Verb.DISABLE: _switch,
    Verb.ATTACH: _rewire,
    Verb.DETACH: _rewire,
}
