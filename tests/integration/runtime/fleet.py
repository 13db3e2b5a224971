"""A fleet for tests of the whole path: simulated panels on loopback, a database, a controller.

Everything goes through the commands and the service, as people and the cli do; panels are looked into
through their state, and damaged as their control port does. Callers: tests beside this file.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from controller.panels.api.channel import Observer
from controller.panels.api.clock import Clock
from controller.runtime.report import FleetReport, NodeProgress, Stage
from controller.service import Controller, open_controller
from controller.settings import ControllerSettings, TurnSettings
from desired_state.commands import installation, keys, manifests, nodes, requests, subscriptions
from desired_state.manifests.bundle import Bundle
from desired_state.model.generation import JournalRow
from desired_state.model.ids import KeyId, NodeName, SubscriptionId, TariffName
from desired_state.model.node import AuthRefs, NodeSpec, SecretRef
from desired_state.model.placement import Placement
from desired_state.model.policy import Policy
from desired_state.model.tariff import NodeSelector, Tariff
from desired_state.store import unit_of_work
from desired_state.store.convert import journal_from, placement_from
from desired_state.store.engine import open_store
from desired_state.store.settings import DatabaseSettings, StoreSettings
from desired_state.store.tables.desired import KeyRow
from desired_state.store.tables.status import NodeStatusRow, PlacementRow, RemoteGenerationRow
from desired_state.store.tables.types import Base
from simulator import by_hand
from simulator.app import Panel, PanelOptions, create_panel
from simulator.control import view_panel
from simulator.server import running
from tests.stores import migrated

T = TypeVar("T")
TARIFF = TariffName("month")


@dataclass
class Site:
    """One declared node and the panel behind it."""

    spec: NodeSpec
    panel: Panel
    url: str

    @property
    def name(self) -> NodeName:
        return self.spec.name

    def clients(self) -> dict[str, dict[str, Any]]:
        """What the panel holds by email, whatever its version; several of one email are an error."""
        found: dict[str, dict[str, Any]] = {}
        for client in self._clients():
            assert client["email"] not in found, f"{client['email']} twice on {self.name}"
            found[client["email"]] = client
        return found

    def ours(self) -> dict[str, dict[str, Any]]:
        """Clients with our emails, but for placeholders."""
        return {
            email: client
            for email, client in self.clients().items()
            if email.startswith("x3f-") and "placeholder" not in client.get("comment", "")
        }

    def enabled(self) -> dict[str, bool]:
        """Whether the panel serves each of our clients: its record and its traffic row say so."""
        rows = {row["email"]: row["enable"] for row in view_panel(self.panel)["traffic"]}
        return {
            email: bool(client["enable"]) and bool(rows.get(email, True))
            for email, client in self.ours().items()
        }

    def log(self) -> list[str]:
        """Requests by method and path, in order."""
        return [f"{line.method} {line.path}" for line in self.panel.log]

    def writes(self) -> int:
        """How many requests could have changed the panel."""
        return sum(line.write for line in self.panel.log)

    def forget_requests(self) -> None:
        self.panel.log.clear()

    def _clients(self) -> list[dict[str, Any]]:
        state = view_panel(self.panel)
        if self.panel.version >= (3, 1, 0):
            return list(state["clients"])
        return [
            {**client, "inboundIds": [inbound["id"]]}
            for inbound in state["inbounds"]
            for client in inbound["settings"].get("clients") or []
        ]


@dataclass
class Fleet:
    """Some sites, the settings of their database, and the controller that is open."""

    settings: ControllerSettings
    controller: Controller
    sites: dict[str, Site] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    async def run(
        self, command: Callable[[unit_of_work.UnitOfWork], Awaitable[T]], actor: str = "test"
    ) -> T:
        """Run a command as one transaction."""
        async with unit_of_work.begin(self.controller.store, actor) as work:
            return await command(work)

    async def issue(self, count: int = 1, node: str | None = None) -> list[KeyId]:
        pin = None if node is None else NodeName(node)
        issued = []
        for _ in range(count):
            one = await self.run(lambda work: keys.issue(work, TARIFF, node=pin))
            issued.append(one.key.id)
        return issued

    async def rotate(self, key: KeyId) -> None:
        await self.run(lambda work: keys.rotate(work, key))

    async def revoke(self, key: KeyId) -> None:
        await self.run(lambda work: keys.revoke(work, key))

    async def move(self, key: KeyId, node: str) -> None:
        await self.run(lambda work: keys.move(work, key, NodeName(node)))

    async def suspend(self, key: KeyId) -> None:
        owner = await self.owner(key)
        await self.run(lambda work: subscriptions.freeze(work, owner))

    async def resume(self, key: KeyId) -> None:
        owner = await self.owner(key)
        await self.run(lambda work: subscriptions.unfreeze(work, owner))

    async def owner(self, key: KeyId) -> SubscriptionId:
        async with self.controller.store.reading() as session:
            return SubscriptionId((await session.get_one(KeyRow, key)).subscription_id)

    async def approve(self, digest: str) -> None:
        await self.run(lambda work: requests.approve(work, digest))

    async def database(self) -> dict[str, list[Any]]:
        """Every row of every table, to be compared as a whole; not who holds the database since when."""
        async with self.controller.store.reading() as session:
            connection = await session.connection()
            return {
                name: [tuple(row) for row in await connection.execute(table.select())]
                for name, table in Base.metadata.tables.items()
                if table.name not in ("replica", "node_lease")
            }

    async def declare(self, name: str, **fields: Any) -> None:
        """Declare a node again with other fields."""
        site = self.sites[name]
        site.spec = replace(site.spec, **fields)
        await self.run(lambda work: nodes.declare(work, site.spec, source="test"))

    async def reconcile(self, *names: str) -> FleetReport:
        return await self.controller.reconcile(tuple(NodeName(name) for name in names))

    async def reconcile_while(
        self, act: Callable[[NodeProgress], Awaitable[None]], *names: str
    ) -> FleetReport:
        """Reconcile, and do something beside it as soon as its first turn has begun."""
        tasks: list[asyncio.Task[None]] = []

        def begin(progress: NodeProgress) -> None:
            if not tasks and progress.stage is Stage.STARTED:
                tasks.append(asyncio.ensure_future(act(progress)))

        nodes = tuple(NodeName(name) for name in names)
        report = await self.controller.reconcile(nodes, on_event=begin)
        await asyncio.gather(*tasks)
        return report

    @asynccontextmanager
    async def reopened(self, clock: Clock | None = None) -> AsyncIterator["Fleet"]:
        """The same fleet under a controller of its own, as a new process has it."""
        async with open_controller(self.settings, clock=clock) as controller:
            yield Fleet(self.settings, controller, self.sites)

    async def plan(self) -> FleetReport:
        return await self.controller.plan()

    def forget_requests(self) -> None:
        for site in self.sites.values():
            site.forget_requests()


async def journal_of(fleet: Fleet, node: str) -> list[JournalRow]:
    """Every row of a node's journal, tombstones too."""
    query = select(RemoteGenerationRow).where(RemoteGenerationRow.node == node)
    async with fleet.controller.store.reading() as session:
        rows = await session.scalars(query.order_by(RemoteGenerationRow.email))
        return [journal_from(row) for row in rows]


async def status_of(fleet: Fleet, node: str) -> NodeStatusRow:
    """A node's status as stored."""
    async with fleet.controller.store.reading() as session:
        return await session.get_one(NodeStatusRow, node)


async def placements_of(fleet: Fleet) -> list[Placement]:
    """Every placement, by key and node."""
    query = select(PlacementRow).order_by(PlacementRow.key, PlacementRow.node)
    async with fleet.controller.store.reading() as session:
        return [placement_from(row) for row in await session.scalars(query)]


@dataclass(frozen=True)
class Wanted:
    """A panel to start and a node to declare for it."""

    version: str
    inbounds: tuple[dict[str, Any], ...] = ({"protocol": "vless"},)
    base_path: str = "/"
    username: str = "admin"
    password: str = "panel-password"
    token: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def open_fleet(
    folder: Path,
    monkeypatch: Any,
    *,
    policies: tuple[Policy, ...] = (),
    turns: TurnSettings | None = None,
    count: int | None = 1,
    quota_bytes: int | None = None,
    clock: Clock | None = None,
    observer: Observer | None = None,
    **wanted: Wanted,
) -> AsyncIterator[Fleet]:
    """Start panels, make a database that declares them, and open a controller over it."""
    settings = ControllerSettings(
        store=StoreSettings(database=DatabaseSettings(url=migrated(folder / "x3fleet.db"))),
        turns=turns or TurnSettings(),
    )
    async with AsyncExitStack() as stack:
        sites = {}
        for number, (name, one) in enumerate(wanted.items()):
            sites[name] = await _start(stack, number, name, one, monkeypatch)
        specs = tuple(site.spec for site in sites.values())
        tariff = Tariff(
            TARIFF, "Месяц", "Month", 30, NodeSelector((), count), traffic_bytes=quota_bytes
        )
        await _prepare(settings.store, specs, policies, tariff)
        controller = await stack.enter_async_context(
            open_controller(settings, clock=clock, observer=observer)
        )
        yield Fleet(settings, controller, sites)


async def _start(
    stack: AsyncExitStack, number: int, name: str, wanted: Wanted, monkeypatch: Any
) -> Site:
    options = PanelOptions(
        base_path=wanted.base_path,
        username=wanted.username,
        password=wanted.password,
        token=wanted.token,
    )
    panel = create_panel(wanted.version, seed=number, options=options)
    for offset, inbound in enumerate(wanted.inbounds):
        by_hand.add_inbound(panel, {"port": 30_000 + 100 * number + offset, **inbound})
    served = await stack.enter_async_context(running(panel, control_port=None))
    variable = f"TEST_{name.upper()}"
    monkeypatch.setenv(f"{variable}_USERNAME", wanted.username)
    monkeypatch.setenv(f"{variable}_PASSWORD", wanted.password)
    auth = AuthRefs(
        username=SecretRef("env", f"{variable}_USERNAME"),
        password=SecretRef("env", f"{variable}_PASSWORD"),
    )
    if wanted.token is not None:
        monkeypatch.setenv(f"{variable}_TOKEN", wanted.token)
        auth = AuthRefs(token=SecretRef("env", f"{variable}_TOKEN"))
    spec = NodeSpec(
        name=NodeName(name),
        url=served.url,
        auth=auth,
        address=f"{name}.example.net",
        labels=(("node", name),),
    )
    return Site(replace(spec, **wanted.fields), panel, served.url)


async def _prepare(
    settings: StoreSettings,
    specs: tuple[NodeSpec, ...],
    policies: tuple[Policy, ...],
    tariff: Tariff,
) -> None:
    bundle = Bundle(source="test", revision="1", nodes=specs, tariffs=(tariff,), policies=policies)
    async with open_store(settings) as store:
        async with unit_of_work.begin(store, "test") as work:
            await installation.prepare(work)
        async with unit_of_work.begin(store, "test") as work:
            await manifests.apply_bundle(work, bundle)
