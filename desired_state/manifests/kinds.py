"""The kinds of documents, as pydantic models: Node, Tariff and Policy here, Inbound beside.

Used by the loader (validates), `schema` (JSON Schema) and `resolve`. What stands below a field is
its description in the reference. Not here: rules across documents (`references`), files, places.
"""

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from desired_state.manifests.fields import (
    PIN_PATTERN,
    Count,
    Duration,
    FailoverTime,
    FilePath,
    Floor,
    Host,
    Labels,
    Metadata,
    Part,
    Port,
    ResyncTime,
    Secret,
    SettlingTime,
    Share,
    Size,
    Text,
    Url,
    Wait,
    wrong,
)
from desired_state.manifests.inbound_kind import InboundDocument
from desired_state.manifests.scaling import Scaling
from desired_state.model.errors import InvalidValue
from desired_state.model.node import DeletionPolicy, Mode
from desired_state.model.ownership import check_template
from desired_state.model.policy import MoveOrder, Rebalance

API_VERSION = "x3fleet/v1"
Protocol = Literal[
    "vless", "vmess", "trojan", "shadowsocks", "hysteria", "hysteria2", "wireguard", "mtproto"
]
Flow = Literal["", "xtls-rprx-vision", "xtls-rprx-vision-udp443"]


class NodeMetadata(Metadata):
    """What a node is called, and the labels that selectors choose it by."""

    labels: Labels = Field(default_factory=dict)
    """Free names and values, such as `country: nl`."""


class Auth(Part):
    """How to log in: a token, or a user name with a password."""

    token: Secret | None = None
    """API token of a 3.x panel."""
    username: Secret | None = None
    """Goes with a password."""
    password: Secret | None = None
    """Goes with a user name."""
    totp_secret: Secret | None = None
    """Base32 secret of the second factor."""
    login_secret: Secret | None = None
    """The secret token that panels up to 2.5 could ask for beside the password."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.model_fields_set
        if "token" in given and len(given) > 1:
            raise wrong("holds a token and another way to log in", "keep one of the two")
        if "token" not in given and not {"username", "password"} <= given:
            raise wrong("needs a token, or both username and password")
        return self


class Certificate(Part):
    """A check of the certificate that differs from the system's: exactly one of its fields."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    ca_file: FilePath | None = None
    """PEM file to trust instead of the system's authorities; relative to this manifest's folder."""
    pin_sha256: Annotated[str, StringConstraints(pattern=PIN_PATTERN)] | None = None
    """SHA-256 of the panel's certificate in hex; colons may stand between its bytes."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise wrong("must hold exactly one of caFile and pinSha256")
        return self


def _kind_of_check(value: object) -> str:
    return "<certificate>" if isinstance(value, dict | Certificate) else "<flag>"


class Tls(Part):
    """How the panel's certificate is checked; for https only."""

    verify: Annotated[
        Annotated[bool, Tag("<flag>")] | Annotated[Certificate, Tag("<certificate>")],
        Discriminator(_kind_of_check),
    ] = True
    """`true`: against the system's authorities; `false`: not at all; or `caFile` or `pinSha256`."""


class Panel(Part):
    """The 3x-ui installation behind a node."""

    url: Url
    """Scheme, host, port and base path, as typed into a browser; without user name or query."""
    auth: Auth
    tls: Tls = Tls()

    @model_validator(mode="after")
    def _tls_needs_https(self) -> Self:
        if "tls" in self.model_fields_set and self.url.startswith("http:"):
            raise wrong("has tls beside an http url", "write https, or take tls away")
        return self


class InboundMatch(Part):
    """Chooses inbounds: every field given must be equal."""

    port: Port | None = None
    """The one that it listens on."""
    tag: Text | None = None
    """The panel's own name of an inbound, such as `inbound-443`."""
    remark: Text | None = None
    """What a person called it."""
    protocol: Protocol | None = None
    """`wireguard` and `mtproto` are used only where they are named."""
    flow: Flow | None = None
    """Written to their clients. Default: `xtls-rprx-vision` where VLESS can carry it."""


class Inbounds(Part):
    """Which inbounds carry this node's keys."""

    match: list[InboundMatch] = Field(default_factory=list)
    """An inbound that fits any of these. Default: every enabled one that can carry clients."""

    @model_validator(mode="after")
    def _no_two_flows(self) -> Self:
        chosen = [(m.port, m.tag, m.remark, m.protocol) for m in self.match]
        if len(set(chosen)) < len(chosen):
            raise wrong("has two entries that choose the same inbounds", "keep one of them")
        return self


class Capacity(Part):
    """What a node can hold."""

    keys: Count | None = None
    """Most keys placed here. Default: no limit."""
    traffic: Size | None = None
    """Bytes a second that it can bear, both ways together: `100MiB`. Where a policy weighs traffic."""


class NodeSpecDocument(Part):
    """One panel plus address, capacity and mode."""

    panel: Panel
    address: Host | None = None
    """Host in share links. Default: the panel's host."""
    inbounds: Inbounds = Inbounds()
    capacity: Capacity = Capacity()
    weight: Annotated[float, Field(ge=0.001, le=1_000_000)] = 1.0
    """Of two nodes, one with twice the weight takes twice the load."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 100
    """New keys go to the nodes of the highest number first."""
    mode: Annotated[Mode, Field(strict=False)] = Mode.ENFORCE
    """`enforce`, `upsert-only` (no deletes), `observe` (no writes), `paused` (no visits)."""
    schedulable: bool = True
    """Whether new keys may be placed here."""
    drain: bool = False
    """Whether keys are to leave this node."""
    deletion_policy: Annotated[DeletionPolicy, Field(strict=False)] = DeletionPolicy.ORPHAN
    """When this document vanishes: `Orphan` keeps the node's keys, `Drain` moves them away."""


class Title(Part):
    """What people read, by language."""

    ru: Text
    en: Text


def _count(value: object) -> object:
    if value == "all":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise wrong("is neither a number of nodes nor all", "write 1, 2, ... or all")


class TariffNodes(Part):
    """Which nodes a key of this tariff lives on."""

    selector: Labels = Field(default_factory=dict)
    """Nodes that carry all of these labels. Default: every node."""
    count: Annotated[
        Count | None,
        BeforeValidator(_count),
        WithJsonSchema({"oneOf": [{"type": "integer", "minimum": 1}, {"const": "all"}]}),
    ] = 1
    """On how many of them, or `all`."""


Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3,5}$")]


class TariffSpecDocument(Part):
    """What a subscription of this tariff gets."""

    title: Title
    days: Annotated[int, Field(ge=1, le=36_500)]
    """Length of the paid period."""
    traffic: Size | None = None
    """Bytes for the paid period, with a unit: `200GiB`. Default: unlimited."""
    devices: Count | None = None
    """Addresses at the same time. Default: unlimited."""
    prices: dict[Currency, Annotated[int, Field(ge=1, le=10**12)]] = Field(default_factory=dict)
    """Minor units by currency: `RUB: 29900` is 299 roubles, `XTR: 250` is 250 stars."""
    nodes: TariffNodes = TariffNodes()
    trial: bool = False
    """Free of charge, once for each person."""


class Limit(Part):
    """A guard trips above the larger of a share and a floor."""

    share: Share | None = None
    """Fraction of 1."""
    floor: Floor | None = None
    """Number that is always allowed."""


class FleetLimit(Part):
    """A limit over the whole fleet in a window of time."""

    share: Share | None = None
    """Fraction of 1 of all our clients."""
    window: Wait | None = None
    """The time over which deletes are added up."""


class Guards(Part):
    """What withholds a plan until a person approves it."""

    deletes: Limit = Limit()
    """Deletes in one plan, of a node's owned clients."""
    fleet_deletes: FleetLimit = FleetLimit()
    """Deletes in the fleet; for a policy without selector only."""
    disables: Limit = Limit()
    """Clients switched off in one plan, of the enabled ones."""
    shrink: Limit = Limit()
    """Clients of ours that a look misses without a reason."""
    clock_skew: Wait | None = None
    """Difference between our clock and the panel's."""
    quarantined: Floor | None = None
    """Clients that carry our mark and belong to no known key."""
    heals_per_hour: Count | None = None
    """Repairs of one client before it is left alone."""


class Approvals(Part):
    """How long a person's approval is good for."""

    start_within: Wait | None = None
    """From the approval on."""
    valid_for: Wait | None = None
    """From its start on."""


class Load(Part):
    """What makes a node full: weights of shares of its capacity."""

    keys: Annotated[float, Field(ge=0.01, le=1000)] | None = None
    """Never 0: the other shares are measured, and do not change while many keys are placed."""
    traffic: Annotated[float, Field(ge=0, le=1000)] | None = None
    """Rate of traffic, of what the node can bear."""
    cpu: Annotated[float, Field(ge=0, le=1000)] | None = None
    """As the panel reports it."""
    memory: Annotated[float, Field(ge=0, le=1000)] | None = None
    """As the panel reports it."""


def _template(value: str) -> str:
    try:
        check_template(value)
    except InvalidValue as error:
        raise wrong(error.message.removeprefix("email_template: "), error.hint or "") from error
    return value


class PolicySpecDocument(Part):
    """Limits of guards and choices between two right ways.

    What a policy with a selector leaves out is as in the policy without one; what that leaves out
    is the built-in default.
    """

    selector: Labels = Field(default_factory=dict)
    """Nodes that carry all of these labels. Default: the whole fleet."""
    guards: Guards = Guards()
    approvals: Approvals = Approvals()
    delete_expired_after: Duration | None = None
    """How long an ended key stays on its panels, switched off."""
    expiry_margin: Duration | None = None
    """What is added to the expiry that is written on panels."""
    unknown_create_wait: SettlingTime | None = None
    """How long after an unanswered create its generation is not finalised; 60s at least."""
    failover_after: FailoverTime | None = None
    """How long a node is unreachable before its keys are placed elsewhere; 15s, or 0s: never."""
    move_order: Annotated[MoveOrder, Field(strict=False)] | None = None
    """`delete-first` leaves a gap, `create-first` an overlap."""
    rebalance: Annotated[Rebalance, Field(strict=False)] | None = None
    """`asked`: by `x3fleet rebalance` only; `automatic`: whenever a node is off its fair share."""
    require_xray: bool | None = None
    """Whether a node needs a running Xray to get new keys."""
    resync: ResyncTime | None = None
    """How far apart looks at a node are; 15s at least. Default: 60s, or 5m when all is quiet."""
    load: Load = Load()
    scaling: Scaling = Scaling()
    email_template: (
        Annotated[str, StringConstraints(max_length=64), AfterValidator(_template)] | None
    ) = None
    """Names of our clients on panels; for a policy without selector only."""


class NodeDocument(Part):
    """A server: one panel, where it is and what it may carry."""

    api_version: Literal["x3fleet/v1"]
    kind: Literal["Node"]
    metadata: NodeMetadata
    spec: NodeSpecDocument


class TariffDocument(Part):
    """What is sold, and where its keys live."""

    api_version: Literal["x3fleet/v1"]
    kind: Literal["Tariff"]
    metadata: Metadata
    spec: TariffSpecDocument


class PolicyDocument(Part):
    """Values that an operator may change, for the fleet or for some nodes."""

    api_version: Literal["x3fleet/v1"]
    kind: Literal["Policy"]
    metadata: Metadata
    spec: PolicySpecDocument


Document = NodeDocument | TariffDocument | PolicyDocument | InboundDocument
KINDS: dict[str, type[Document]] = {
    "Node": NodeDocument,
    "Tariff": TariffDocument,
    "Policy": PolicyDocument,
    "Inbound": InboundDocument,
}
