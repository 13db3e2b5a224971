"""What should stand on the panel: keys, subscriptions and bound inbounds to wanted clients.

Step: first half of the plan. Callers: diff. Not here: what does stand there, seeds and secrets.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.core.binding import Survey
from controller.core.desired import BoundInbound, KeyOnNode
from controller.core.features import Features
from controller.core.observed import CREDENTIAL_OF
from desired_state.model.adoption import AdoptedClient, expiry_with_margin
from desired_state.model.credentials import DEFAULT_PASSWORD_BYTES
from desired_state.model.generation import JournalRow
from desired_state.model.ids import Email, Generation, InboundId, KeyId
from desired_state.model.ownership import Ownership
from desired_state.model.placement import DeleteReason
from desired_state.model.policy import Policy
from desired_state.model.subscription import EndedBy, Subscription

_PASSWORD = frozenset(p for p, name in CREDENTIAL_OF.items() if name == "password")
_UUID = frozenset(p for p, name in CREDENTIAL_OF.items() if name == "uuid")
_AUTH = frozenset(p for p, name in CREDENTIAL_OF.items() if name == "auth")


@dataclass(frozen=True, slots=True)
class Shape:
    """What all clients of a node have in common: where they are attached and what matters there.

    `inbound`: set where each inbound has a client of its own, None where one client serves all.
    `refused`: bound inbounds left out, because they want a password of another size.
    """

    inbound: InboundId | None
    inbound_ids: tuple[InboundId, ...]
    usable_ids: frozenset[InboundId]
    needs_uuid: bool
    needs_password: bool
    needs_auth: bool
    flow: str
    compares_flow: bool
    password_bytes: int
    protocol: str = ""
    method: str = ""
    refused: tuple[InboundId, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """One client as it should be. `projection`: every managed field but the secrets, as one string.

    `adopted`: what was found of it, when it is a client that a person took over.
    """

    email: Email
    key: KeyId | None
    generation: Generation
    shape: Shape
    enable: bool
    ended: EndedBy | None
    expiry_ms: int
    total_bytes: int
    limit_ip: int
    held_by: str | None
    projection: str
    adopted: AdoptedClient | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The derived, moving part of a client: what its subscription allows now."""

    enable: bool
    ended: EndedBy | None
    expiry_ms: int
    total_bytes: int
    limit_ip: int


def project(  # noqa: PLR0917 - one field a value; called for every client of every look
    enable: bool,  # noqa: FBT001 - the same
    expiry_ms: int,
    total_bytes: int,
    limit_ip: int,
    flow: str,
    tail: str,
) -> str:
    """Write managed fields as one string; `tail` carries the inbounds. Holds no secret, no counter."""
    return f"{enable:d}|{expiry_ms}|{total_bytes}|{limit_ip}|{flow}|{tail}"


def is_on(projection: str) -> bool:
    """Whether what was verified last is a client that is switched on."""
    return projection.startswith("1|")


def limits_of(subscription: Subscription, base_bytes: int, policy: Policy, now: datetime) -> Limits:
    """Derive a client's limits: expiry with its margin, quota above the counter's base, devices."""
    ended = subscription.ended_by(now)
    quota = subscription.quota_bytes
    return Limits(
        enable=ended is None,
        ended=ended,
        expiry_ms=expiry_with_margin(subscription.valid_until, policy.expiry_margin_s),
        # Without a base the very same number: one object for all keys of a quota.
        total_bytes=base_bytes + quota if base_bytes and quota is not None else quota or 0,
        limit_ip=subscription.devices or 0,
    )


def leaving_reason(key: KeyOnNode, policy: Policy, now: datetime) -> DeleteReason | None:
    """Tell why a key's clients here are to be deleted; None while they are to stay."""
    if key.leaving is not None:
        return key.leaving
    until = key.subscription.valid_until
    if (
        until is not None
        and key.subscription.ended_by(now) is EndedBy.EXPIRY
        and now >= until + timedelta(seconds=policy.delete_expired_after_s)
    ):
        return DeleteReason.EXPIRED
    return None


class Shapes:
    """The shapes of one node, made once a plan.

    Panels up to 3.0.2 hold a client for each inbound. From 3.1.0 one client serves all bound inbounds,
    unless they cannot share one: passwords of two sizes, flows that the panel cannot keep apart, or on
    3.1.0 several protocols. A generation keeps the kind that it began with.
    """

    def __init__(self, survey: Survey, features: Features) -> None:
        self._survey = survey
        self._shared: dict[int, Shape] = {}
        self.singles = tuple(self._single(b) for b in survey.bound)
        self.per_inbound = features.email_per_inbound or _must_split(survey.bound, features)
        sizes = {b.password_bytes for b in survey.bound if b.password_bytes}
        self._size = sizes.pop() if len(sizes) == 1 else DEFAULT_PASSWORD_BYTES

    def of_key(self, rows: tuple[JournalRow, ...], shared_email: Email) -> tuple[Shape, ...]:
        """Choose the shapes of a key by the rows that its generation already has here."""
        if not rows:
            return self.singles if self.per_inbound else (self.shared(self._size),)
        shared = next((row for row in rows if row.email == shared_email), None)
        return self.singles if shared is None else (self.shared(shared.password_bytes),)

    def shared(self, password_bytes: int) -> Shape:
        """Return the shape of one client on all inbounds that a password of this size fits."""
        if password_bytes not in self._shared:
            self._shared[password_bytes] = self._share(password_bytes)
        return self._shared[password_bytes]

    def _share(self, size: int) -> Shape:
        fitting = [b for b in self._survey.bound if b.password_bytes in (None, size)]
        protocols = {b.protocol for b in fitting}
        ids = tuple(b.id for b in fitting)
        return Shape(
            inbound=None,
            inbound_ids=ids,
            usable_ids=self._survey.usable & set(ids),
            needs_uuid=bool(protocols & _UUID),
            needs_password=bool(protocols & _PASSWORD),
            needs_auth=bool(protocols & _AUTH),
            flow=next((b.flow for b in fitting if b.flow), ""),
            # The record's flow is what the last written inbound left there; only where all of them
            # carry one does it say something.
            compares_flow=bool(fitting) and all(b.carries_flow for b in fitting),
            password_bytes=size,
            refused=tuple(b.id for b in self._survey.bound if b not in fitting),
        )

    def _single(self, b: BoundInbound) -> Shape:
        return Shape(
            inbound=b.id,
            inbound_ids=(b.id,),
            usable_ids=self._survey.usable & {b.id},
            needs_uuid=b.protocol in _UUID,
            needs_password=b.protocol in _PASSWORD,
            needs_auth=b.protocol in _AUTH,
            flow=b.flow,
            compares_flow=b.carries_flow,
            password_bytes=b.password_bytes or DEFAULT_PASSWORD_BYTES,
            protocol=b.protocol,
            method=b.method if b.protocol == "shadowsocks" and not b.password_bytes else "",
        )


def wanted_clients(
    key: KeyOnNode,
    shapes: tuple[Shape, ...],
    limits: Limits,
    ownership: Ownership,
    rows: Iterable[JournalRow] = (),
) -> Iterator[Wanted]:
    """Yield the clients of one key that is to live here, one a shape.

    `rows`: of this generation; texts that they hold already are not held a second time.
    """
    known = {row.email: row for row in rows}
    for shape in shapes:
        tail = ",".join(map(str, shape.inbound_ids))
        flow = shape.flow if shape.compares_flow else ""
        email = ownership.email(key.key, key.generation, shape.inbound)
        projection = project(
            limits.enable, limits.expiry_ms, limits.total_bytes, limits.limit_ip, flow, tail
        )
        row = known.get(email)
        if row is not None:
            email = row.email
            projection = row.projection if row.projection == projection else projection
        yield Wanted(
            email=email,
            key=key.key,
            generation=key.generation,
            shape=shape,
            enable=limits.enable,
            ended=limits.ended,
            expiry_ms=limits.expiry_ms,
            total_bytes=limits.total_bytes,
            limit_ip=limits.limit_ip,
            held_by=key.held_by,
            projection=projection,
        )


def adopted_clients(
    key: KeyOnNode,
    adopted: tuple[AdoptedClient, ...],
    survey: Survey,
    policy: Policy,
    now: datetime,
) -> Iterator[Wanted]:
    """Yield the adopted clients of one key, as found but for what has changed since.

    One that is on no bound inbound any more is not wanted: its key is served as any other.
    """
    limits = limits_of(key.subscription, key.counter_base_bytes, policy, now)
    bound = {b.id for b in survey.bound}
    for client in adopted:
        ids = tuple(i for i in client.inbound_ids if i in bound)
        if not ids:
            continue
        subscription = key.subscription
        expiry_ms = client.expiry(subscription.valid_until, policy.expiry_margin_s)
        total_bytes = client.total(subscription.quota_bytes, key.counter_base_bytes)
        limit_ip = client.limit(subscription.devices)
        tail = ",".join(map(str, ids))
        yield Wanted(
            email=client.email,
            key=key.key,
            generation=key.generation,
            shape=_adopted_shape(client, ids, survey),
            enable=limits.enable,
            ended=limits.ended,
            expiry_ms=expiry_ms,
            total_bytes=total_bytes,
            limit_ip=limit_ip,
            held_by=key.held_by,
            projection=project(limits.enable, expiry_ms, total_bytes, limit_ip, "", tail),
            adopted=client,
        )


def _adopted_shape(client: AdoptedClient, ids: tuple[InboundId, ...], survey: Survey) -> Shape:
    uuid, password, auth = client.secrets_digest.split(".")
    first = next(b for b in survey.bound if b.id == ids[0])
    return Shape(
        inbound=None,
        inbound_ids=ids,
        usable_ids=survey.usable & set(ids),
        needs_uuid=bool(uuid),
        needs_password=bool(password),
        needs_auth=bool(auth),
        flow=client.flow,
        # Its flow is its person's: nobody declared it, so nothing is compared.
        compares_flow=False,
        password_bytes=DEFAULT_PASSWORD_BYTES,
        protocol=first.protocol,
        method=first.method,
    )


def _must_split(bound: tuple[BoundInbound, ...], features: Features) -> bool:
    sizes = {b.password_bytes for b in bound if b.password_bytes}
    if len(sizes) > 1:
        return True
    if features.one_protocol_attach and len({b.protocol for b in bound}) > 1:
        return True
    vless = [b for b in bound if b.protocol == "vless"]
    flows = {b.flow for b in vless if features.one_flow or b.carries_flow}
    return len(flows) > 1
