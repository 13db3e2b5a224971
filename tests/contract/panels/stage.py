"""A panel, simulated or real, with our `Panel` and somebody else's hand in front of it.

Here: the versions that the tests run over, a stage for each, what is written to a client. A real panel
is one more version, `Live`, when the run was given one; tests that look into a panel or break it take
`simulated(...)` versions. Not here: tests; how inbounds are made (`listeners`).
"""

import contextlib
import random
import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from controller.core.effects import ClientRecord, ObservedRecord, Outcome, Verb, Verdict, Write
from controller.core.features import Features, Version, features_of
from controller.core.observed import Observation, ObservedClient
from controller.panels.api.clock import SystemClock
from controller.panels.panel import Panel
from desired_state.model.credentials import derive_secrets
from desired_state.model.ids import Email, InboundId, NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls
from simulator.app import Panel as SimulatedPanel
from simulator.app import PanelOptions, create_panel
from simulator.server import running
from tests.contract.live.address import LIVE, Address, Live, number_of
from tests.contract.live.hand import Hand, unanswered
from tests.contract.panels.listeners import LISTENERS, VLESS, Listener

SIMULATED = (
    "2.3.15", "2.6.6", "2.8.3", "2.8.11", "2.9.4", "3.0.0", "3.0.2",
    "3.1.0", "3.2.0", "3.2.8", "3.4.1", "3.5.0", "3.6.0",
)  # fmt: skip
VERSIONS = (*SIMULATED, *LIVE[:1])
VALID_UNTIL_MS = 4_102_444_800_000
GIB = 1 << 30
ADMIN = "admin"
REMARK = "x3fleet-contract"
"""Begins the remark of every inbound that tests make: what else a real panel holds is not ours."""
OURS = re.compile(r"x3f-(key\d{7}-g1|hand-[a-z0-9-]+)", re.IGNORECASE)
"""Emails that tests write. No key of an installation has such an id: it has no 0 and no 1."""


def versions(oldest: str = "2.3.15", before: str = "99.0.0") -> tuple[str, ...]:
    """Those from `oldest` on, and before another; the real panel's if it is one of them."""
    limits = number_of(oldest), number_of(before)
    return tuple(v for v in VERSIONS if limits[0] <= number_of(v) < limits[1])


def simulated(names: Iterable[str]) -> tuple[str, ...]:
    """Leave real panels out, where a test looks into the panel or breaks it."""
    return tuple(name for name in names if not isinstance(name, Live))


def params(names: Iterable[str]) -> list[Any]:
    """Make parameters of versions, with their marks."""
    return [_param(name) for name in names]


def _param(version: str, *more: Listener) -> Any:
    is_live = isinstance(version, Live)
    name = "-".join((f"live-{version}" if is_live else version, *(m.name for m in more)))
    marks = [pytest.mark.live] if is_live else []
    return pytest.param(version, *more, id=name, marks=marks)


OLD = versions(before="3.1.0")
NEW = versions("3.1.0")
EVERYWHERE = [
    _param(version, listener)
    for version in VERSIONS
    for listener in LISTENERS
    if number_of(version) >= listener.oldest
]
"""Every version with every protocol that it has."""


class Recorder(httpx.AsyncBaseTransport):
    """Notes what is asked of the panel, and passes it on."""

    def __init__(self, inner: httpx.AsyncBaseTransport, base_path: str) -> None:
        self.asked: list[str] = []
        self._inner = inner
        self._base = base_path

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode().removeprefix(self._base)
        self.asked.append(f"{request.method} /{path}")
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@dataclass
class Stage:
    """One panel with its inbounds, seen from both sides.

    `ports`: of inbounds, by name. `keys`: ids of real keys that were issued onto it.
    """

    version: str
    target: NodeTarget
    panel: Panel
    hand: Hand
    recorder: Recorder
    inside: SimulatedPanel | None = None
    inbounds: dict[str, InboundId] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)

    @property
    def simulated(self) -> SimulatedPanel:
        assert self.inside is not None, "nobody looks into a real panel"
        return self.inside

    @property
    def number(self) -> Version:
        return number_of(self.version)

    @property
    def features(self) -> Features:
        return features_of(self.number)

    async def add(self, listener: Listener) -> InboundId:
        """Make an inbound by hand, on a port that is free."""
        taken = {inbound["port"] for inbound in await self.hand.inbounds()}
        port = next(p for p in iter(lambda: random.randrange(30_000, 60_000), 0) if p not in taken)
        body = listener.body(self.number, port, f"{REMARK}-{listener.name}")
        made = InboundId(await self.hand.add_inbound(body))
        self.inbounds[listener.name] = made
        self.ports[listener.name] = port
        return made

    async def look(self) -> Observation:
        """Look, and see nothing of a real panel but what tests made."""
        look = await self.panel.observe()
        assert isinstance(look, Observation), look
        if self.inside is not None:
            return look
        own = set(self.inbounds.values())
        return replace(
            look,
            inbounds=tuple(i for i in look.inbounds if i.id in own),
            clients=tuple(
                c for c in look.clients if own & {*c.inbound_ids} or self.is_ours(c.email)
            ),
        )

    def is_ours(self, email: str) -> bool:
        """Whether a test wrote this email."""
        words = email.split("-")
        return is_written_by_a_test(email) or (
            words[0] == "x3f" and not self.keys.isdisjoint(words[1:2])
        )

    async def client(self, email: str) -> ObservedClient:
        return next(c for c in (await self.look()).clients if c.email == email)

    async def write(
        self, verb: Verb, *members: ClientRecord, inbound: InboundId | None = None
    ) -> Outcome:
        if inbound is None and self.features.email_per_inbound:
            inbound = members[0].inbound_ids[0]
        write = Write(self.target, verb, members, inbound)
        outcome = await self.panel.act(write)
        if self.inside is None and self.features.email_per_inbound:
            # A real panel up to 3.0.2 answers nothing now and then, and stores nothing; what the
            # adapter makes of that is tested on simulated ones. It never repeats, so we do.
            for _ in range(2):
                if outcome.verdict is not Verdict.UNKNOWN or "without a body" not in outcome.cause:
                    break
                unanswered.append(f"{self.recorder.asked.pop()[:40]} by the adapter")
                outcome = await self.panel.act(write)
        return outcome

    async def create(self, *members: ClientRecord) -> Outcome:
        """Create, widely where the version can; the last outcome."""
        if self.features.bulk_create:
            return await self.write(Verb.CREATE, *members)
        return [await self.write(Verb.CREATE, member) for member in members][-1]

    def requests(self) -> list[str]:
        """What our adapter asked since `forget`, but logging in and probing."""
        known = ("/panel/api/inbounds/", "/panel/api/clients/", "/panel/api/server/")
        return [asked for asked in self.recorder.asked if asked.split(" ")[1].startswith(known)]

    def forget(self) -> None:
        self.recorder.asked.clear()

    async def clear(self) -> None:
        """Remove our inbounds and our clients from a real panel, and nothing else."""
        await clear(self.hand, {*self.inbounds.values()}, self.is_ours)


async def clear(hand: Hand, inbounds: Iterable[int], is_ours: Callable[[str], bool]) -> None:
    """Remove inbounds, the clients that are only there, and those whose email is ours."""
    own = {*inbounds}
    # From 3.1.0 on clients outlive their inbounds; without them deleting is fast.
    emails = [
        client["email"]
        for client in (await hand.clients() if hand.has_records else ())
        if is_ours(client["email"])
        or (client["inboundIds"] and own.issuperset(client["inboundIds"]))
    ]
    for inbound in own:
        await hand.delete_inbound(inbound)
    if emails:
        await hand.delete_records(emails)


def is_written_by_a_test(email: str) -> bool:
    return OURS.fullmatch(email) is not None


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
    """Have a panel with these inbounds while the block runs; simulated on a real port only when `served`."""
    if isinstance(version, Live):
        async with _live(version, version.address) as scene:
            for listener in listeners:
                await scene.add(listener)
            yield scene
        return
    async with _simulated(version, options or PanelOptions(), served=served) as scene:
        for listener in listeners:
            await scene.add(listener)
        scene.simulated.log.clear()
        yield scene


@contextlib.asynccontextmanager
async def _simulated(version: str, options: PanelOptions, *, served: bool) -> AsyncIterator[Stage]:
    inside = create_panel(version, seed=1, options=options)
    # Called in process, a test takes a tenth of the time: no port, no server to stop.
    url = "http://127.0.0.1:2053" + inside.options.base_path
    transport: httpx.AsyncBaseTransport = httpx.ASGITransport(inside.app)
    async with contextlib.AsyncExitStack() as stack:
        if served:
            url = (await stack.enter_async_context(running(inside, control_port=None))).url
            transport = httpx.AsyncHTTPTransport()
        recorder = Recorder(transport, inside.options.base_path)
        target = make_target(url, password=inside.options.password)
        clock = QuickClock(inside)
        panel = Panel(target, clock=clock, transport=recorder)
        stack.push_async_callback(panel.close)
        by_form = Hand(url, target.credentials, transport, clock.sleep)
        hand = await stack.enter_async_context(by_form)
        yield Stage(version, target, panel, hand, recorder, inside)


@contextlib.asynccontextmanager
async def _live(version: str, address: Address) -> AsyncIterator[Stage]:
    target = NodeTarget(NodeName("live"), address.url, address.credentials, Tls(), Mode.ENFORCE)
    recorder = Recorder(httpx.AsyncHTTPTransport(), httpx.URL(address.url).path)
    panel = Panel(target, transport=recorder)
    async with address.hand() as hand:
        scene = Stage(version, target, panel, hand, recorder)
        try:
            yield scene
        finally:
            await panel.close()
            await scene.clear()


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
