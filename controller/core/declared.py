"""Declared inbounds against what a look shows: which is which, what is to be done, what is in the way.

An inbound is ours by its recorded id, as long as protocol and one more trait agree, or by its tag with the
declared protocol and port. A tag that the panel made proves nothing: there it is the remark. Every other one
is somebody else's and is never written. Pure. Callers: `inbound_steps`, `binding`. Not here: effects.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address

from controller.core.desired import DeclaredInbound, Desired, ManagedInbound
from controller.core.features import Features
from controller.core.inbound_facts import declared_document, differing, seen_document
from controller.core.observed import ObservedInbound
from desired_state.model.ids import InboundId, InboundName
from desired_state.model.inbound import HYSTERIA, InboundDeletion, InboundSpec

REFUSED = "InboundRefused"
"""Reason while the panel did not do as it was asked."""
RETRY_AFTER = timedelta(minutes=10)
"""A write that was refused, or stored nothing, is tried again after this, or when it is declared anew."""
_MADE_BY_PANELS = ("inbound-", "in-")
"""How tags begin that panels make themselves, up to 2.9.4 whatever was asked for."""
_UDP_ONLY = frozenset({"hysteria", "hysteria2", "wireguard"})


class Step(StrEnum):
    """What a declared inbound asks for."""

    NONE = "none"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    WAIT = "wait"
    """Something was tried, and it is too early to try again."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One declared inbound on one panel.

    `seen`: what the look shows of it. `changes`: paths of fields that differ. `reason`, `message`: why it
    cannot be as declared; "" where nothing is in the way. `owner`: the other declaration that has what
    was recorded of it, or has its tag: this one changes and deletes nothing there.
    """

    spec: InboundSpec
    row: ManagedInbound | None
    seen: ObservedInbound | None
    step: Step = Step.NONE
    changes: tuple[str, ...] = ()
    reason: str = ""
    message: str = ""
    leaving: bool = False
    owner: InboundName | None = None


def stand(
    desired: Desired,
    inbounds: Iterable[ObservedInbound],
    now: datetime,
    features: Features | None = None,
) -> list[Standing]:
    """Tell of every declared inbound what it asks for, by name; without `features` any panel is meant."""
    present = tuple(inbounds)
    rows = {row.name: row for row in desired.managed}
    owners = find_owners(desired, present)
    found = [
        _stand(one, rows.get(one.spec.name), present, desired, now) for one in desired.inbounds
    ]
    return [_known(_yield(one, owners), features) for one in found]


def _known(one: Standing, features: Features | None) -> Standing:
    """Ask no panel for a protocol that it does not know: it may store what its Xray cannot start with."""
    if (
        features is None
        or features.has_hysteria
        or one.leaving
        or one.spec.protocol != HYSTERIA
        or one.seen is not None
    ):
        return one
    message = "panels know hysteria2 from 2.9.3 on: upgrade this one, or leave its node out of the selector"
    return replace(one, step=Step.NONE, reason="InboundUnsupported", message=message)


def digest_of(spec: InboundSpec) -> str:
    """Digest what is declared, so that a changed declaration is tried at once."""
    return hashlib.sha256(repr(spec).encode()).hexdigest()[:16]


def is_going(one: DeclaredInbound) -> bool:
    """Whether it is to be deleted here."""
    return one.leaving and one.spec.deletion_policy is InboundDeletion.DELETE


def going_ids(desired: Desired, inbounds: Iterable[ObservedInbound]) -> frozenset[InboundId]:
    """Return the ids that a match must not choose any more: what is there is to be deleted."""
    if not desired.inbounds:
        return frozenset()
    names = {one.spec.name for one in desired.inbounds if is_going(one)}
    ids = frozenset(row.inbound_id for row in desired.managed if row.name in names)
    return frozenset(i for i in ids - find_owners(desired, inbounds).keys() if i is not None)


def find_owners(
    desired: Desired, inbounds: Iterable[ObservedInbound]
) -> dict[InboundId, InboundName]:
    """Tell which declaration in force has which inbound: of two the one that it is recorded of.

    One that leaves has nothing that another one claims: a document that was renamed hands over.
    """
    present = tuple(inbounds)
    rows = {row.name: row for row in desired.managed}
    claims = []
    for one in desired.inbounds:
        row = rows.get(one.spec.name)
        seen = None if one.leaving else find_seen(one.spec, row, present)
        if seen is not None:
            is_new = row is None or row.inbound_id != seen.id
            claims.append((is_new, one.spec.name, seen.id))
    return {i: name for _, name, i in sorted(claims, reverse=True)}


def _yield(one: Standing, owners: Mapping[InboundId, InboundName]) -> Standing:
    """Leave alone what another declaration has."""
    owner = None if one.seen is None else owners.get(one.seen.id)
    if one.seen is None or owner is None or owner == one.spec.name:
        return one
    if one.leaving:
        return Standing(one.spec, one.row, None, leaving=True, owner=owner)
    message = (
        f"tag {one.spec.tag} is inbound {one.seen.id} (port {one.seen.port}), which was made for the "
        f"declared inbound {owner}: rename one of the two"
    )
    return Standing(one.spec, one.row, None, reason="InboundTagTaken", message=message, owner=owner)


def find_seen(
    spec: InboundSpec, row: ManagedInbound | None, inbounds: Iterable[ObservedInbound]
) -> ObservedInbound | None:
    """Find a declared inbound among those of a look; None where it is not."""
    present = tuple(inbounds)
    if row is not None and row.inbound_id is not None:
        known = next((one for one in present if one.id == row.inbound_id), None)
        if known is not None and _is_recorded(known, row, spec):
            return known
    fitting = (one for one in present if (one.protocol, one.port) == (spec.protocol, spec.port))
    return next((one for one in fitting if _is_named(one, spec)), None)


def _is_recorded(seen: ObservedInbound, row: ManagedInbound, spec: InboundSpec) -> bool:
    # An id alone is no identity: panels from 3.2.5 on give a deleted inbound's id to the next one.
    if seen.protocol != row.protocol:
        return False
    return (
        (seen.tag == row.tag and not _is_made(seen.tag))
        or seen.remark == row.remark
        or (seen.port in (row.port, spec.port) and seen.remark == spec.remark)
    )


def _is_named(seen: ObservedInbound, spec: InboundSpec) -> bool:
    if _is_made(seen.tag):
        return seen.remark == spec.remark
    return seen.tag == spec.tag


def _is_made(tag: str) -> bool:
    """Whether a panel may have made it: whoever gets that port there has the same one."""
    return tag.startswith(_MADE_BY_PANELS)


def find_anew(desired: Desired, inbounds: Iterable[ObservedInbound]) -> tuple[ManagedInbound, ...]:
    """Tell what is recorded where another panel may answer: by name, and no recorded id counts."""
    present = tuple(inbounds)
    specs = {one.spec.name: one.spec for one in desired.inbounds}
    found = []
    for row in desired.managed:
        spec = specs.get(row.name)
        seen = None if spec is None else find_seen(spec, None, present)
        if seen is None:
            found.append(without_facts(row))
        else:
            found.append(with_facts(row, seen))
    return tuple(found)


def without_facts(row: ManagedInbound) -> ManagedInbound:
    """Forget which inbound it was."""
    return replace(row, inbound_id=None, protocol="", port=0, tag="", remark="")


def with_facts(row: ManagedInbound, seen: ObservedInbound) -> ManagedInbound:
    """Write down what a look showed of it."""
    return replace(
        row, inbound_id=seen.id, protocol=seen.protocol, port=seen.port, tag=seen.tag,
        remark=seen.remark,
    )  # fmt: skip


# -- what it asks for ------------------------------------------------------------------------------


def _stand(
    one: DeclaredInbound,
    row: ManagedInbound | None,
    present: tuple[ObservedInbound, ...],
    desired: Desired,
    now: datetime,
) -> Standing:
    spec = one.spec
    seen = find_seen(spec, row, present)
    if one.leaving:
        step = Step.DELETE if is_going(one) else Step.NONE
        return Standing(spec, row, seen, step, leaving=True)
    if seen is None:
        return _missing(spec, row, present, desired, now)
    return _present(spec, row, seen, present, now)


def _present(
    spec: InboundSpec,
    row: ManagedInbound | None,
    seen: ObservedInbound,
    present: tuple[ObservedInbound, ...],
    now: datetime,
) -> Standing:
    is_named = seen.tag == spec.tag or seen.remark == spec.remark
    if is_named and seen.protocol != spec.protocol:
        # Clients of another protocol log in with something else: all of them would be cut off.
        message = (
            f"inbound {seen.id} is {seen.protocol} instead of {spec.protocol}, and stays it: declare "
            f"{spec.protocol} under another name and port, then take this document away"
        )
        return Standing(spec, row, seen, reason="InboundProtocol", message=message)
    if seen.method != spec.method:
        message = f"has method {seen.method or 'none'} instead of {spec.method}: declare a new one"
        return Standing(spec, row, seen, reason="InboundMethod", message=message)
    changes = differing(declared_document(spec), seen_document(seen))
    if not changes:
        return Standing(spec, row, seen)
    if "port" in changes and (taken := _in_the_way(spec, present, seen)) is not None:
        return Standing(spec, row, seen, reason="InboundPortTaken", message=_taken(spec, taken))
    if not _may_try(spec, row, now):
        return _waits(spec, row, seen, changes)
    return Standing(spec, row, seen, Step.UPDATE, changes)


def _missing(
    spec: InboundSpec,
    row: ManagedInbound | None,
    present: tuple[ObservedInbound, ...],
    desired: Desired,
    now: datetime,
) -> Standing:
    tagged = next((one for one in present if one.tag == spec.tag), None)
    if tagged is not None:
        message = (
            f"tag {spec.tag} is inbound {tagged.id} ({tagged.protocol}, port {tagged.port}), which was "
            "not made for this declaration: rename one of the two"
        )
        return Standing(spec, row, None, reason="InboundTagTaken", message=message)
    if (taken := _in_the_way(spec, present)) is not None:
        return Standing(spec, row, None, reason="InboundPortTaken", message=_taken(spec, taken))
    wait = timedelta(seconds=desired.policy.unknown_create_wait_s)
    if row is not None and row.sent_at is not None and now < row.sent_at + wait:
        return _waits(spec, row, None)
    if not _may_try(spec, row, now):
        return _waits(spec, row, None)
    return Standing(spec, row, None, Step.CREATE)


def _waits(
    spec: InboundSpec,
    row: ManagedInbound | None,
    seen: ObservedInbound | None,
    changes: tuple[str, ...] = (),
) -> Standing:
    reason, message = ("", "") if row is None else (row.reason, row.message)
    return Standing(spec, row, seen, Step.WAIT, changes, reason, message)


def _may_try(spec: InboundSpec, row: ManagedInbound | None, now: datetime) -> bool:
    if row is None or row.tried_at is None or row.tried_digest != digest_of(spec):
        return True
    return now >= row.tried_at + RETRY_AFTER


def _in_the_way(
    spec: InboundSpec, present: tuple[ObservedInbound, ...], own: ObservedInbound | None = None
) -> ObservedInbound | None:
    """Find who listens where it is to listen; TCP and UDP do not meet."""
    for one in present:
        if own is not None and one.id == own.id:
            continue
        both = {spec.protocol, one.protocol}
        apart = "shadowsocks" not in both and both & _UDP_ONLY and not both <= _UDP_ONLY
        if one.port == spec.port and not apart and _meet(one.listen, spec.listen):
            return one
    return None


def _meet(one: str, other: str) -> bool:
    return one == other or _is_everywhere(one) or _is_everywhere(other)


def _is_everywhere(listen: str) -> bool:
    """Whether this is every address of a host: none given, or the unspecified one of a family."""
    try:
        return not listen or ip_address(listen).is_unspecified
    except ValueError:
        return False


def _taken(spec: InboundSpec, by: ObservedInbound) -> str:
    called = by.remark or by.tag
    return (
        f"port {spec.port} belongs to inbound {by.id} ({called}), which is not declared: give one of "
        "the two another port"
    )


def names_of(standings: Iterable[Standing]) -> frozenset[InboundName]:
    """Return the names of some."""
    return frozenset(one.spec.name for one in standings)
