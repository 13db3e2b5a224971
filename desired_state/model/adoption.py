"""Adoption: clients that a panel held before we knew it become keys, with everything that they have.

`FoundClient` is what an inventory showed, `AdoptedClient` what a command took over of it. An adopted
client keeps its email, credentials, subId, inbounds and limits until its key is rotated, or until somebody
changes what a limit follows from. Callers: commands, core. Not here: whose client is adopted (`adopting`).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from desired_state.model.credentials import ClientSecrets, digest_secret
from desired_state.model.ids import Email, Generation, InboundId, KeyId, NodeName
from desired_state.model.subscription import Subscription

_EPOCH = datetime.fromtimestamp(0, UTC)
FIRST_GENERATION = Generation(1)
"""An adopted key begins with the generation that holds what was found."""


class Obstacle(StrEnum):
    """Why a client cannot be taken over, whoever holds it; told by the inventory."""

    NONE = ""
    DOUBLED_EMAIL = "doubled-email"
    """Another entry has this email, in whatever case: a call that names it may mean the other."""
    SHARED_CREDENTIAL = "shared-credential"
    """Another client of the same inbound logs in with the same credential."""
    NO_CREDENTIAL = "no-credential"
    """What its protocol logs in with is empty."""
    UNADDRESSABLE = "unaddressable"
    """No call can name it: what the panel knows it by holds a slash, or it is attached nowhere."""


@dataclass(frozen=True, slots=True)
class FoundClient:
    """One client that an inventory showed.

    `matched_ids`: those of its inbounds that the node's keys live on. `needs`: which credentials its
    protocols log in with, of `uuid`, `password` and `auth`. `expiry_ms`: as the panel writes it: 0 for never,
    negative for days that begin with the first use. `used_bytes`: both directions together.
    """

    email: Email
    inbound_ids: tuple[InboundId, ...]
    matched_ids: tuple[InboundId, ...]
    secrets: ClientSecrets
    needs: tuple[str, ...]
    sub_id: str = field(default="", repr=False)
    flow: str = ""
    enable: bool = True
    expiry_ms: int = 0
    total_bytes: int = 0
    limit_ip: int = 0
    tg_id: int = 0
    reset: int = 0
    comment: str = ""
    group: str = ""
    used_bytes: int = 0
    obstacle: Obstacle = Obstacle.NONE

    @property
    def secrets_digest(self) -> str:
        """The digest `u.p.a` of those credentials that its protocols log in with; others are empty."""
        return ".".join(
            digest_secret(getattr(self.secrets, name)) if name in self.needs else ""
            for name in ("uuid", "password", "auth")
        )

    @property
    def until(self) -> datetime | None:
        """When the panel ends it; None for never."""
        return moment_of(self.expiry_ms) if self.expiry_ms > 0 else None

    @property
    def is_used_up(self) -> bool:
        """Whether its own quota explains that it is switched off."""
        return 0 < self.total_bytes <= self.used_bytes


@dataclass(frozen=True, slots=True)
class AdoptedClient:
    """One adopted client of a key's first generation, on one node.

    `inbound_ids`: the bound inbounds that it was on. `expiry_ms`, `total_bytes`, `limit_ip`: as found.
    `quota_bytes`, `devices`: what its subscription allowed when it was adopted: while it allows the same,
    what was found stays. `secrets_digest`: see `FoundClient`.
    """

    node: NodeName
    email: Email
    key: KeyId
    inbound_ids: tuple[InboundId, ...]
    sub_id: str = field(repr=False)
    secrets_digest: str = field(repr=False)
    flow: str = ""
    expiry_ms: int = 0
    total_bytes: int = 0
    limit_ip: int = 0
    quota_bytes: int | None = None
    devices: int | None = None
    tg_id: int = 0
    comment: str = ""
    group: str = ""
    generation: Generation = FIRST_GENERATION

    def expiry(self, until: datetime | None, margin_s: int) -> int:
        """Say which expiry is written, in Unix milliseconds: the one that was found while it says so."""
        if self.expiry_ms >= 0 and until == (moment_of(self.expiry_ms) if self.expiry_ms else None):
            return self.expiry_ms
        return expiry_with_margin(until, margin_s)

    def total(self, quota_bytes: int | None, base_bytes: int) -> int:
        """Say which total is written, in bytes; another quota or another period derives it anew."""
        if base_bytes == 0 and quota_bytes == self.quota_bytes:
            return self.total_bytes
        return 0 if quota_bytes is None else base_bytes + quota_bytes

    def limit(self, devices: int | None) -> int:
        """Say which limit of devices is written; 0 for none."""
        return self.limit_ip if devices == self.devices else devices or 0


def moment_of(expiry_ms: int) -> datetime:
    """Turn Unix milliseconds into a moment, exactly."""
    return _EPOCH + timedelta(milliseconds=expiry_ms)


def expiry_with_margin(until: datetime | None, margin_s: int) -> int:
    """Turn an end into what a panel is told: later by a margin, whole seconds, 0 for never."""
    if until is None:
        return 0
    return int((until + timedelta(seconds=margin_s)).timestamp()) * 1000


def list_changes(
    found: FoundClient,
    adopted: AdoptedClient,
    subscription: Subscription,
    now: datetime,
    margin_s: int,
) -> tuple[str, ...]:
    """List what the first turn after adopting would write over: `quota 10 -> 20` and the like; sorted.

    The same rules that a turn follows, so that a person sees beforehand what becomes of a client.
    """
    ended = subscription.ended_by(now)
    wanted: dict[str, tuple[object, object]] = {
        "devices": (found.limit_ip, adopted.limit(subscription.devices)),
        "expiry_ms": (found.expiry_ms, adopted.expiry(subscription.valid_until, margin_s)),
        "quota_bytes": (found.total_bytes, adopted.total(subscription.quota_bytes, 0)),
        "reset_days": (found.reset, 0),
        "switch": ("on" if found.enable else "off", "on" if ended is None else "off"),
    }
    return tuple(f"{name} {old} -> {new}" for name, (old, new) in wanted.items() if old != new)
