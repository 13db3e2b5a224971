"""Which inbounds a node's keys live on: matches resolved once, then bound by id, protocol and port.

Step: between the look and the plan. Callers: reconcile, expect. Not here: writing the binding down.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from controller.core.declared import find_owners, find_seen, going_ids
from controller.core.desired import BoundInbound, Desired
from controller.core.observed import CLIENT_PROTOCOLS, ObservedInbound
from desired_state.model.ids import InboundId
from desired_state.model.node import Match
from desired_state.model.request import RequestKind

_REBINDING = frozenset({RequestKind.REBIND, RequestKind.REBUILD})
VISION = "xtls-rprx-vision"
_SINGLE_USER = frozenset({"2022-blake3-chacha20-poly1305"})
"""Shadowsocks methods that serve one password only, whatever the inbound's list of clients says."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Bound inbounds against what the look shows.

    `usable`: present and enabled. `missing`: gone, or the id now belongs to another protocol or port.
    `unbound`: enabled ones that the match would choose today but that are not bound; shown, not used.
    """

    bound: tuple[BoundInbound, ...]
    usable: frozenset[InboundId]
    missing: tuple[InboundId, ...]
    disabled: tuple[InboundId, ...]
    unbound: tuple[InboundId, ...]


@lru_cache(maxsize=1024)
def match_digest(matches: tuple[Match, ...]) -> str:
    """Digest declared matches, so that a changed declaration is noticed."""
    text = ";".join(sorted(repr(match) for match in matches))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def needs_binding(desired: Desired) -> bool:
    """Tell whether matches are to be resolved: never were, were changed, or a person asks."""
    return (
        not desired.bound
        or desired.match_digest != match_digest(desired.matches)
        or any(r.kind is RequestKind.REMATCH for r in desired.requests)
    )


def finds_nothing(desired: Desired, inbounds: Iterable[ObservedInbound]) -> bool:
    """Tell whether inbounds are to be chosen anew and none fits: then those that are bound stay.

    A panel that shows no inbound, or has switched them all off, never unbinds the ones that keys live on.
    But where a person accepts it, and its inbounds are declared, they are made there.
    """
    if awaits_declared(desired):
        return False
    asked = needs_binding(desired) or any(r.kind in _REBINDING for r in desired.requests)
    return asked and bool(desired.bound) and not choose(desired, inbounds)


def awaits_declared(desired: Desired) -> bool:
    """Tell whether a person accepts the panel that answers, and inbounds are to be made on it."""
    accepted = any(r.kind is RequestKind.REBIND for r in desired.requests)
    return accepted and any(not one.leaving for one in desired.inbounds)


def choose(desired: Desired, inbounds: Iterable[ObservedInbound]) -> tuple[BoundInbound, ...]:
    """Choose what matches, but for declared inbounds that are to go, and whatever is declared."""
    inbounds = tuple(inbounds)
    going = going_ids(desired, inbounds)
    staying = [inbound for inbound in inbounds if inbound.id not in going]
    return add_declared(desired, resolve_matches(desired.matches, staying), staying)


def add_declared(
    desired: Desired, bound: tuple[BoundInbound, ...], inbounds: Iterable[ObservedInbound]
) -> tuple[BoundInbound, ...]:
    """Bind declared inbounds that a look showed, whatever is matched, and let go of those that are to go.

    Returns:
        Sorted by id; the same value where nothing is declared.
    """
    if not desired.inbounds:
        return bound
    present = {inbound.id: inbound for inbound in inbounds}
    going, owners = going_ids(desired, present.values()), find_owners(desired, present.values())
    kept = {b.id: b for b in bound if b.id not in going}
    specs = {one.spec.name: one.spec for one in desired.inbounds if not one.leaving}
    for row in desired.managed:
        spec = specs.get(row.name)
        seen = None if row.inbound_id is None else present.get(row.inbound_id)
        if spec is None or seen is None or find_seen(spec, row, (seen,)) is None:
            continue
        if owners.get(seen.id) != row.name:
            continue
        # It was made anew: what was bound for it is gone.
        traits = row.protocol, row.port, row.tag
        lost = [b.id for b in kept.values() if (b.protocol, b.port, b.tag) == traits]
        for i in lost:
            if i not in present:
                del kept[i]
        match = _first_fitting(desired.matches, seen) if spec.flow is None else None
        kept[seen.id] = _bind(seen, match or Match(flow=spec.flow))
    return tuple(sorted(kept.values(), key=lambda b: b.id))


def resolve_matches(
    matches: tuple[Match, ...], inbounds: Iterable[ObservedInbound]
) -> tuple[BoundInbound, ...]:
    """Choose inbounds by the first match that fits each; sorted by id.

    A named inbound is bound even while it is disabled; the default match takes enabled ones only.
    """
    bound = []
    for inbound in inbounds:
        match = _first_fitting(matches, inbound)
        if match is not None:
            bound.append(_bind(inbound, match))
    return tuple(sorted(bound, key=lambda b: b.id))


def survey_inbounds(desired: Desired, inbounds: tuple[ObservedInbound, ...]) -> Survey:
    """Compare what is bound with what the look shows."""
    bound = desired.bound or ()
    present = {inbound.id: inbound for inbound in inbounds}
    usable: set[InboundId] = set()
    missing: list[InboundId] = []
    disabled: list[InboundId] = []
    for b in bound:
        inbound = present.get(b.id)
        # An id alone is no identity: panels from 3.2.5 on give a deleted inbound's id to the next one.
        if inbound is None or (inbound.protocol, inbound.port) != (b.protocol, b.port):
            missing.append(b.id)
        elif inbound.enable:
            usable.add(b.id)
        else:
            disabled.append(b.id)
    ids = {b.id for b in bound}
    unbound = tuple(b.id for b in choose(desired, inbounds) if b.id not in ids)
    return Survey(bound, frozenset(usable), tuple(missing), tuple(disabled), unbound)


def _first_fitting(matches: tuple[Match, ...], inbound: ObservedInbound) -> Match | None:
    if (
        not inbound.carries_clients
        or inbound.protocol not in CLIENT_PROTOCOLS
        or inbound.method in _SINGLE_USER
    ):
        return None
    if not matches:
        return Match() if inbound.enable else None
    return next((match for match in matches if _fits(match, inbound)), None)


def _fits(match: Match, inbound: ObservedInbound) -> bool:
    named = False
    for wanted, seen in (
        (match.port, inbound.port),
        (match.tag, inbound.tag),
        (match.remark, inbound.remark),
        (match.protocol, inbound.protocol),
    ):
        if wanted is not None:
            named = True
            if wanted != seen:
                return False
    return named or inbound.enable


def _bind(inbound: ObservedInbound, match: Match) -> BoundInbound:
    carries_flow = (
        inbound.protocol == "vless"
        and inbound.network == "tcp"
        and inbound.security in ("tls", "reality")
    )
    flow = match.flow if match.flow is not None else VISION
    return BoundInbound(
        id=inbound.id,
        protocol=inbound.protocol,
        port=inbound.port,
        tag=inbound.tag,
        flow=flow if carries_flow else "",
        carries_flow=carries_flow,
        password_bytes=inbound.password_bytes,
        method=inbound.method,
    )
