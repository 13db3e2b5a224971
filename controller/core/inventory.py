"""What a look shows, put down so that a person can decide what of it becomes ours.

Pure. Callers: `runtime.inventory`. Not here: whose client it is (`desired_state.model.adopting`).
"""

from collections import Counter
from collections.abc import Iterator

from controller.core.binding import resolve_matches
from controller.core.desired import Desired
from controller.core.observed import CREDENTIAL_OF, Observation, ObservedClient
from desired_state.model.adoption import FoundClient, Obstacle
from desired_state.model.credentials import ClientSecrets
from desired_state.model.ids import Email, InboundId

_IN_PATH = frozenset({"trojan", "hysteria", "hysteria2"})
"""Up to 3.0.2 a credential of these stands in the path of an update; a slash there finds nobody."""


def take_inventory(look: Observation, desired: Desired) -> tuple[FoundClient, ...]:
    """List every client of a look, sorted by email and inbounds, with what keeps it from being taken over."""
    bound = desired.bound
    if bound is None:
        bound = resolve_matches(desired.matches, look.inbounds)
    ids = frozenset(b.id for b in bound)
    protocols = {inbound.id: inbound.protocol for inbound in look.inbounds}
    emails = Counter(client.email.lower() for client in look.clients)
    shared = _shared(look, protocols)
    found = []
    for client in look.clients:
        kinds = [protocols.get(i, "") for i in client.inbound_ids]
        needs = tuple(sorted({CREDENTIAL_OF[kind] for kind in kinds if kind in CREDENTIAL_OF}))
        obstacle = _obstacle(client, kinds, needs, look)
        if emails[client.email.lower()] > 1:
            obstacle = Obstacle.DOUBLED_EMAIL
        elif obstacle is Obstacle.NONE and not shared.isdisjoint(_logins(client, protocols)):
            obstacle = Obstacle.SHARED_CREDENTIAL
        found.append(_found(client, ids, needs, obstacle))
    return tuple(sorted(found, key=lambda one: (one.email, one.inbound_ids)))


def _obstacle(
    client: ObservedClient, kinds: list[str], needs: tuple[str, ...], look: Observation
) -> Obstacle:
    if not client.inbound_ids or "/" in client.email:
        return Obstacle.UNADDRESSABLE
    if needs and not all(getattr(client, name) for name in needs):
        return Obstacle.NO_CREDENTIAL
    if look.features.email_per_inbound and any(
        kind in _IN_PATH and "/" in getattr(client, CREDENTIAL_OF[kind]) for kind in kinds
    ):
        return Obstacle.UNADDRESSABLE
    return Obstacle.NONE


def _shared(look: Observation, protocols: dict[InboundId, str]) -> frozenset[tuple[InboundId, str]]:
    """Return credentials that several clients of one inbound log in with."""
    held = Counter(login for client in look.clients for login in _logins(client, protocols))
    return frozenset(place for place, count in held.items() if count > 1 and place[1])


def _logins(
    client: ObservedClient, protocols: dict[InboundId, str]
) -> Iterator[tuple[InboundId, str]]:
    """Yield where a client logs in, and with which credential."""
    for i in client.inbound_ids:
        if protocols.get(i) in CREDENTIAL_OF:
            yield i, getattr(client, CREDENTIAL_OF[protocols[i]])


def _found(
    client: ObservedClient,
    bound: frozenset[InboundId],
    needs: tuple[str, ...],
    obstacle: Obstacle,
) -> FoundClient:
    return FoundClient(
        email=Email(client.email),
        inbound_ids=client.inbound_ids,
        matched_ids=tuple(i for i in client.inbound_ids if i in bound),
        secrets=ClientSecrets(client.uuid, client.password, client.auth),
        needs=needs,
        sub_id=client.sub_id,
        flow=client.flow,
        enable=client.enable,
        expiry_ms=client.expiry_ms,
        total_bytes=client.total_bytes,
        limit_ip=client.limit_ip,
        tg_id=client.tg_id,
        reset=client.reset,
        comment=client.comment,
        group=client.group,
        used_bytes=client.up_bytes + client.down_bytes,
        obstacle=obstacle,
    )
