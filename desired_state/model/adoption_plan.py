"""What adopting a node's clients is decided by, and the plan that comes of it, as values.

Callers: `adopting` (makes plans), commands, cli (shows them). Not here: rules.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from desired_state.model.adoption import AdoptedClient, FoundClient, Obstacle
from desired_state.model.ids import Digest, Email, KeyId, NodeName, TariffName
from desired_state.model.policy import Policy
from desired_state.model.subscription import Subscription


class MatchedBy(StrEnum):
    """What told whose client it is."""

    MAP = "map"
    TG_ID = "tgId"
    EMAIL = "email"
    COMMENT = "comment"
    NOBODY = "nobody"


class Left(StrEnum):
    """Why a client stays foreign; obstacles beside these."""

    NO_PERSON = "no-person"
    NO_TARIFF = "no-tariff"
    UNMATCHED = "unmatched-inbound"
    """It is on none of the inbounds that the node's keys live on."""
    NOT_BEGUN = "not-begun"
    """Its days begin with the first use: say until when it is valid."""
    EXPIRED = "expired"
    """Ended so long ago that its key would be deleted at once."""
    CONTRADICTION = "contradiction"
    """It logs in as another client does that belongs to somebody else."""


@dataclass(frozen=True, slots=True)
class MapEntry:
    """One line of a mapping: a client by email or by uuid, and what is to become of it.

    None: as found, or as the defaults say.
    """

    email: str = ""
    uuid: str = ""
    telegram_id: int | None = None
    tariff: TariffName | None = None
    valid_until: datetime | None = None
    quota_bytes: int | None = None
    devices: int | None = None


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that was adopted elsewhere and still holds what was found there."""

    key: KeyId
    telegram_id: int | None
    secrets_digest: str = field(repr=False)
    subscription: Subscription


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a found client is judged by.

    `ours`: lower-cased emails that the journal, an adoption or a mark claims. `people`: known Telegram
    ids; `banned`: those of people who are served no more.
    `tariff`: of clients for which the mapping names none. `needs_person`: one without stays foreign.
    """

    node: NodeName
    now: datetime
    policy: Policy
    ours: frozenset[str] = frozenset()
    people: frozenset[int] = frozenset()
    banned: frozenset[int] = frozenset()
    known: tuple[KnownKey, ...] = ()
    mapping: tuple[MapEntry, ...] = ()
    tariff: TariffName | None = None
    needs_person: bool = True


@dataclass(frozen=True, slots=True)
class ClientPlan:
    """One client that would be adopted. `changes`: what the first turn would write over."""

    found: FoundClient
    adopted: AdoptedClient
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """One key that adopting makes, or adds clients to (`key` not empty).

    `subscription`: as it will be; of a key that exists, as it is.
    """

    key: KeyId
    telegram_id: int | None
    matched_by: MatchedBy
    subscription: Subscription
    clients: tuple[ClientPlan, ...]

    def canonical(self) -> list[object]:
        """What the digest covers: everything that was shown and is written; no counter, no secret."""
        s = self.subscription
        return [
            self.key, self.telegram_id, s.tariff,
            None if s.valid_until is None else s.valid_until.isoformat(),
            s.quota_bytes, s.devices, s.suspended,
            [
                [c.found.email, list(c.found.inbound_ids), c.adopted.secrets_digest,
                 hashlib.sha256(c.found.sub_id.encode()).hexdigest()[:16], list(c.changes)]
                for c in self.clients
            ],
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """A client that stays foreign. `why`: a `Left` or an `Obstacle`."""

    email: Email
    inbound_ids: tuple[int, ...]
    why: str

    @property
    def is_doubled(self) -> bool:
        """Whether it stays because another one is like it."""
        return self.why in (Obstacle.DOUBLED_EMAIL, Obstacle.SHARED_CREDENTIAL, Left.CONTRADICTION)


@dataclass(frozen=True, slots=True)
class AdoptionPlan:
    """What adopting a node's clients would do.

    `ours`: how many are ours already. `unmet`: emails or UUIDs of the mapping that no client here has, or
    that another line names already: a slip of the pen, or a client of another node.
    """

    node: NodeName
    keys: tuple[KeyPlan, ...] = ()
    left: tuple[LeftAlone, ...] = ()
    ours: int = 0
    unmet: tuple[str, ...] = ()

    @property
    def clients(self) -> int:
        """How many clients would be adopted."""
        return sum(len(key.clients) for key in self.keys)

    @property
    def digest(self) -> Digest:
        """SHA-256 over everything that would be written; what stays foreign does not count."""
        lines = sorted(json.dumps(k.canonical(), separators=(",", ":")) for k in self.keys)
        return Digest(hashlib.sha256("\n".join([self.node, *lines]).encode()).hexdigest())
