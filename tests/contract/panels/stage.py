"""A simulated panel on loopback and our `Panel` in front of it, for the contract tests.

Here: versions, protocols, how an inbound of each is made, what is written to a client. Not here: tests.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from controller.core.effects import ClientRecord, ObservedRecord, Outcome, Verb, Write
from controller.core.features import Features, Version, features_of, parse_version
from controller.core.observed import Observation, ObservedClient
from controller.panels.api.clock import SystemClock
from controller.panels.panel import Panel
from desired_state.model.credentials import derive_secrets
from desired_state.model.ids import Email, InboundId, NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls
from simulator import by_hand
from simulator.app import Panel as SimulatedPanel
from simulator.app import PanelOptions, create_panel
from simulator.server import running

VERSIONS = (
    "2.3.15", "2.6.6", "2.8.3", "2.8.11", "2.9.4", "3.0.0", "3.0.2",
    "3.1.0", "3.2.0", "3.2.8", "3.4.1", "3.5.0", "3.6.0",
)  # fmt: skip
OLD = tuple(v for v in VERSIONS if v < "3.1")
NEW = tuple(v for v in VERSIONS if v >= "3.1")

LEGACY, SS16, SS32 = "aes-256-gcm", "2022-blake3-aes-128-gcm", "2022-blake3-aes-256-gcm"
VALID_UNTIL_MS = 4_102_444_800_000
GIB = 1 << 30
ADMIN = "admin"


@dataclass(frozen=True)
class Listener:
    """An inbound to be made: `oldest` is the first version that has its protocol."""

    name: str
    protocol: str
    settings: dict[str, Any] = field(default_factory=dict)
    stream: dict[str, Any] | None = None
    password_bytes: int = 32
    oldest: Version = (2, 3, 15)
    method: str = ""

    def protocol_on(self, version: Version) -> str:
        """The panel's own name of the protocol."""
        return (
            "hysteria" if self.protocol == "hysteria2" and version >= (3, 2, 0) else self.protocol
        )


TLS_WS = {"network": "ws", "security": "tls", "wsSettings": {"path": "/ws"}, "tlsSettings": {}}
VLESS = Listener("vless", "vless")
VLESS_WS = Listener("vless-ws", "vless", stream=TLS_WS)
VMESS = Listener("vmess", "vmess")
TROJAN = Listener("trojan", "trojan")
SS_LEGACY = Listener(
    "ss-legacy", "shadowsocks", {"method": LEGACY, "password": "server"}, method=LEGACY
)
SS_16 = Listener(
    "ss-2022-16",
    "shadowsocks",
    {"method": SS16, "password": "MDEyMzQ1Njc4OWFiY2RlZg=="},
    password_bytes=16,
)
SS_32 = Listener("ss-2022-32", "shadowsocks", {"method": SS32})
HYSTERIA2 = Listener("hysteria2", "hysteria2", oldest=(2, 9, 3))
LISTENERS = (VLESS, VMESS, TROJAN, SS_LEGACY, SS_16, SS_32, HYSTERIA2)


def _number(version: str) -> Version:
    found = parse_version(version)
    assert found is not None
    return found


EVERYWHERE = [
    pytest.param(version, listener, id=f"{version}-{listener.name}")
    for version in VERSIONS
    for listener in LISTENERS
    if _number(version) >= listener.oldest
]
"""Every version with every protocol that it has."""


@dataclass
class Stage:
    """One panel with its inbounds, seen from both sides."""

    version: str
    simulated: SimulatedPanel
    target: NodeTarget
    panel: Panel
    inbounds: dict[str, InboundId] = field(default_factory=dict)

    @property
    def number(self) -> Version:
        return _number(self.version)

    @property
    def features(self) -> Features:
        return features_of(self.number)

    def add(self, listener: Listener) -> InboundId:
        """Make an inbound by hand."""
        body: dict[str, Any] = {
            "protocol": listener.protocol_on(self.number),
            "port": 20_001 + len(self.inbounds),
            "settings": listener.settings,
        }
        if listener.stream is not None:
            body["streamSettings"] = listener.stream
        made = InboundId(by_hand.add_inbound(self.simulated, body))
        self.inbounds[listener.name] = made
        return made

    async def look(self) -> Observation:
        look = await self.panel.observe()
        assert isinstance(look, Observation), look
        return look

    async def client(self, email: str) -> ObservedClient:
        return next(c for c in (await self.look()).clients if c.email == email)

    async def write(
        self, verb: Verb, *members: ClientRecord, inbound: InboundId | None = None
    ) -> Outcome:
        if inbound is None and self.features.email_per_inbound:
            inbound = members[0].inbound_ids[0]
        return await self.panel.act(Write(self.target, verb, members, inbound))

    async def create(self, *members: ClientRecord) -> Outcome:
        """Create, widely where the version can; the last outcome."""
        if self.features.bulk_create:
            return await self.write(Verb.CREATE, *members)
        return [await self.write(Verb.CREATE, member) for member in members][-1]

    def requests(self) -> list[str]:
        """What the panel was asked since `forget`, but logging in and probing."""
        known = ("/panel/api/inbounds/", "/panel/api/clients/", "/panel/api/server/")
        return [
            f"{line.method} {line.path}"
            for line in self.simulated.log
            if line.path.startswith(known)
        ]

    def forget(self) -> None:
        self.simulated.log.clear()


class QuickClock(SystemClock):
    """Waiting passes the panel's time instead of ours."""

    def __init__(self, simulated: SimulatedPanel) -> None:
        self._simulated = simulated

    async def sleep(self, seconds: float) -> None:
        self._simulated.clock.advance(seconds)


@contextlib.asynccontextmanager
async def stage(
    version: str,
    *listeners: Listener,
    options: PanelOptions | None = None,
    served: bool = False,
) -> AsyncIterator[Stage]:
    """Have a panel with these inbounds while the block runs; on a real port only when `served`."""
    simulated = create_panel(version, seed=1, options=options or PanelOptions())
    # Called in process, a test takes a tenth of the time: no port, no server to stop.
    transport = None if served else httpx.ASGITransport(simulated.app)
    async with contextlib.AsyncExitStack() as stack:
        url = "http://127.0.0.1:2053" + simulated.options.base_path
        if served:
            url = (await stack.enter_async_context(running(simulated, control_port=None))).url
        target = make_target(url, password=simulated.options.password)
        panel = Panel(target, clock=QuickClock(simulated), transport=transport)
        stack.push_async_callback(panel.close)
        scene = Stage(version, simulated, target, panel)
        for listener in listeners:
            scene.add(listener)
        yield scene


def make_target(url: str, *, password: str = ADMIN) -> NodeTarget:
    credentials = Credentials(username=ADMIN, password=password)
    return NodeTarget(NodeName("nl-1"), url, credentials, Tls(), Mode.ENFORCE)


def make_record(
    number: int, listener: Listener, *inbounds: InboundId, **changes: Any
) -> ClientRecord:
    """Make what is written to a client of one key."""
    email = f"x3f-key{number:07d}-g1"
    secrets = derive_secrets(number.to_bytes(32, "big"), listener.password_bytes)
    flow = "xtls-rprx-vision" if listener is VLESS else ""
    values: dict[str, Any] = {
        "email": Email(email),
        "inbound_ids": inbounds,
        "sub_id": f"mark{number:022d}",
        "uuid": secrets.uuid,
        "password": secrets.password,
        "auth": secrets.auth,
        "flow": flow,
        "expiry_ms": VALID_UNTIL_MS,
        "total_bytes": 5 * GIB,
        "limit_ip": 3,
        "method": listener.method,
        "protocol": listener.protocol,
    }
    return ClientRecord(**(values | changes))


def held(client: ObservedClient) -> ObservedRecord:
    """The part of a look that an update needs."""
    return ObservedRecord(client.email, client.uuid, client.password, client.auth, client.raw)
