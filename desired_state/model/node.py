"""A node: one panel plus address, labels, capacity and mode; declared, then overridden by its operator.

Callers: manifests (make specs), store, placement, core. Not here: resolved credentials but in
`NodeTarget`, which one query alone builds.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from desired_state.model.ids import NodeName, Revision


class Mode(StrEnum):
    """What the controller may do on a node; later members are stricter."""

    ENFORCE = "enforce"
    UPSERT_ONLY = "upsert-only"
    """Creates and updates, never deletes."""
    OBSERVE = "observe"
    """A dry run: drift is measured, nothing is written."""
    PAUSED = "paused"
    """Not visited at all."""

    @property
    def strictness(self) -> int:
        """0 for `enforce` up to 3 for `paused`."""
        return list(Mode).index(self)


class Recovery(StrEnum):
    """How far a node is on its way back after the database was restored from a backup."""

    NONE = ""
    OBSERVE = "observe"
    """Nobody has accepted yet what it would do there: nothing is written."""
    CAREFUL = "careful"
    """Accepted: it creates and mends, and takes nothing away from anybody."""

    @property
    def mode(self) -> Mode:
        """What the controller may do at most."""
        return _RECOVERY_MODES[self]


_RECOVERY_MODES = {
    Recovery.NONE: Mode.ENFORCE,
    Recovery.OBSERVE: Mode.OBSERVE,
    Recovery.CAREFUL: Mode.UPSERT_ONLY,
}


class DeletionPolicy(StrEnum):
    """What becomes of a node that vanishes from the manifests."""

    ORPHAN = "Orphan"
    DRAIN = "Drain"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is: `env` (a variable's name), `file` (a path) or `ciphertext`."""

    kind: str
    value: str = field(repr=False)

    def describe(self) -> str:
        """Name the place without showing what it holds."""
        return "ciphertext" if self.kind == "ciphertext" else f"{self.kind} {self.value}"


class TlsKind(StrEnum):
    """How a panel's certificate is checked."""

    VERIFY = "verify"
    CA_FILE = "ca-file"
    PIN = "pin"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Tls:
    """How to check a certificate: `value` is the CA file's path or the SHA-256 pin in lower-case hex."""

    kind: TlsKind = TlsKind.VERIFY
    value: str = ""


@dataclass(frozen=True, slots=True)
class AuthRefs:
    """References to credentials: a token, or a name and a password with an optional second factor."""

    token: SecretRef | None = None
    username: SecretRef | None = None
    password: SecretRef | None = None
    totp_secret: SecretRef | None = None
    login_secret: SecretRef | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """Resolved credentials of a panel. Never logged: every field is left out of `repr`."""

    token: str | None = field(default=None, repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    totp_secret: str | None = field(default=None, repr=False)
    login_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Match:
    """Chooses inbounds: every given field must be equal. `flow` is written to clients of what it chooses.

    An empty match chooses every enabled inbound that can carry clients.
    """

    port: int | None = None
    tag: str | None = None
    remark: str | None = None
    protocol: str | None = None
    flow: str | None = None


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What the operator declared. `url` ends with a slash and holds the base path.

    `address` is the host in share links. `labels` are sorted pairs. `capacity_keys` None: no limit.
    `capacity_traffic_bps`: bytes a second, both ways together; None: not known.
    """

    name: NodeName
    url: str
    auth: AuthRefs
    address: str
    tls: Tls = Tls()
    labels: tuple[tuple[str, str], ...] = ()
    matches: tuple[Match, ...] = ()
    capacity_keys: int | None = None
    capacity_traffic_bps: int | None = None
    weight: float = 1.0
    priority: int = 100
    mode: Mode = Mode.ENFORCE
    schedulable: bool = True
    drain: bool = False
    deletion_policy: DeletionPolicy = DeletionPolicy.ORPHAN


@dataclass(frozen=True, slots=True)
class NodeOverrides:
    """What the operator set beside the manifest; a manifest never clears it."""

    paused: bool = False
    cordoned: bool = False
    draining: bool = False
    mode: Mode | None = None
    recovery: Recovery = Recovery.NONE


@dataclass(frozen=True, slots=True)
class Node:
    """A declared node with its overrides; of two answers the stricter wins."""

    spec: NodeSpec
    overrides: NodeOverrides = NodeOverrides()
    orphaned: bool = False
    """No manifest declares it any more: kept, shown, not scheduled."""
    revision: Revision = Revision(0)

    @property
    def name(self) -> NodeName:
        """The node's name."""
        return self.spec.name

    @property
    def mode(self) -> Mode:
        """The strictest of the declared mode and the overrides."""
        modes = [
            self.spec.mode, self.overrides.mode or Mode.ENFORCE, self.overrides.recovery.mode
        ]  # fmt: skip
        if self.overrides.paused:
            modes.append(Mode.PAUSED)
        return max(modes, key=lambda mode: mode.strictness)

    @property
    def is_schedulable(self) -> bool:
        """Whether new keys may be placed here as far as its operator is concerned."""
        return (
            self.spec.schedulable
            and not self.overrides.cordoned
            and not self.is_draining
            and not self.orphaned
        )

    @property
    def is_draining(self) -> bool:
        """Whether keys are to leave: declared, overridden, or gone with `deletionPolicy: Drain`."""
        gone = self.orphaned and self.spec.deletion_policy is DeletionPolicy.DRAIN
        return self.spec.drain or self.overrides.draining or gone


@dataclass(frozen=True, slots=True)
class NodeTarget:
    """Everything needed to reach a node's panel; built by one query, used by `controller.panels` alone."""

    node: NodeName
    url: str
    credentials: Credentials
    tls: Tls
    mode: Mode
    fingerprint: str = field(default="", repr=False)
    """Keyed digest of the credentials, to tell changed ones from those that were refused."""
