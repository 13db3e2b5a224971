"""A declared fleet over panels, simulated ones on real ports or real ones: manifests in, controller out.

Keys are issued by commands and reconciled by the service, as the cli does; panels are read by somebody
else's hand. Callers: tests beside this file. Not here: assertions.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from controller.runtime.report import FleetReport
from controller.service import Controller, open_controller
from controller.settings import ControllerSettings
from desired_state.commands import installation, keys, manifests, subscriptions
from desired_state.manifests.bundle import Bundle
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.sources.directory import DirectorySource
from desired_state.model.ids import KeyId, NodeName, SubscriptionId, TariffName
from desired_state.store import unit_of_work
from desired_state.store.engine import Store, open_store
from desired_state.store.settings import DatabaseSettings, StoreSettings
from desired_state.store.tables.desired import KeyRow
from simulator.app import PanelOptions
from tests.contract.live.hand import Doc
from tests.contract.panels.listeners import Listener
from tests.contract.panels.stage import Stage, stage
from tests.stores import migrated

T = TypeVar("T")
TARIFF = TariffName("month")
TRAFFIC_GIB, DEVICES = 200, 3
COMMON = f"""
apiVersion: x3fleet/v1
kind: Tariff
metadata: {{name: {TARIFF}}}
spec:
  title: {{ru: "Месяц", en: "Month"}}
  days: 30
  traffic: {TRAFFIC_GIB}GiB
  devices: {DEVICES}
  prices: {{XTR: 250}}
  nodes: {{selector: {{fleet: contract}}, count: 1}}
---
apiVersion: x3fleet/v1
kind: Policy
metadata: {{name: default}}
spec: {{requireXray: false, guards: {{deletes: {{floor: 1000}}}}}}
"""


@dataclass
class Site:
    """One declared node and the panel behind it."""

    name: str
    stage: Stage

    @property
    def inbounds(self) -> list[int]:
        return sorted(self.stage.inbounds.values())

    async def clients(self) -> dict[str, Doc]:
        """What somebody else sees in our inbounds, or of our keys, by email."""
        own, found = {*self.inbounds}, {}
        for client in await self.stage.hand.clients():
            if own & {*client["inboundIds"]} or self.stage.is_ours(client["email"]):
                email = client["email"]
                assert email not in found, f"{email} stands twice on {self.name}"
                found[email] = client
        return found

    async def held(self) -> dict[str, tuple[list[int], bool]]:
        """Where each client of an issued key is, and whether it is served."""
        return {
            email: (client["inboundIds"], client["served"])
            for email, client in (await self.clients()).items()
            if any(key in email for key in self.stage.keys)
        }

    def expected(self, keys: dict[KeyId, int], *, served: bool = True) -> dict[str, Any]:
        """What is to be held for these keys at these generations."""
        if self.stage.hand.has_records:
            return {f"x3f-{key}-g{gen}": (self.inbounds, served) for key, gen in keys.items()}
        return {
            f"x3f-{key}-g{gen}-i{inbound}": ([inbound], served)
            for key, gen in keys.items()
            for inbound in self.inbounds
        }

    def manifest(self, variables: dict[str, str]) -> str:
        """The node as its operator writes it."""
        auth = ", ".join(f"{name}: {{env: {variable}}}" for name, variable in variables.items())
        matches = ", ".join(f"{{port: {port}}}" for port in self.stage.ports.values())
        return f"""---
apiVersion: x3fleet/v1
kind: Node
metadata: {{name: {self.name}, labels: {{fleet: contract}}}}
spec:
  panel: {{url: "{self.stage.target.url}", auth: {{{auth}}}}}
  address: {self.name}.example.net
  inbounds: {{match: [{matches}]}}
"""


@dataclass
class Fleet:
    """Some sites, the settings of their database, and the controller that is open."""

    settings: ControllerSettings
    controller: Controller
    sites: dict[str, Site] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Site:
        return self.sites[name]

    async def run(self, command: Callable[[unit_of_work.UnitOfWork], Awaitable[T]]) -> T:
        return await run(self.controller.store, command)

    async def issue(self, node: str | None = None, count: int = 1) -> list[KeyId]:
        issued = await issue(self.controller.store, count, node)
        self.note(issued)
        return issued

    def note(self, issued: list[KeyId]) -> None:
        """Remember whose clients are to be removed from a real panel at the end."""
        for site in self.sites.values():
            site.stage.keys.update(issued)

    async def rotate(self, key: KeyId) -> None:
        await self.run(lambda work: keys.rotate(work, key))

    async def revoke(self, key: KeyId) -> None:
        await self.run(lambda work: keys.revoke(work, key))

    async def move(self, key: KeyId, node: str) -> None:
        await self.run(lambda work: keys.move(work, key, NodeName(node)))

    async def suspend(self, key: KeyId) -> None:
        owner = await self._owner(key)
        await self.run(lambda work: subscriptions.freeze(work, owner))

    async def resume(self, key: KeyId) -> None:
        owner = await self._owner(key)
        await self.run(lambda work: subscriptions.unfreeze(work, owner))

    async def reconcile(self) -> FleetReport:
        return await self.controller.reconcile()

    async def _owner(self, key: KeyId) -> SubscriptionId:
        async with self.controller.store.reading() as session:
            return SubscriptionId((await session.get_one(KeyRow, key)).subscription_id)


async def run(store: Store, command: Callable[[unit_of_work.UnitOfWork], Awaitable[T]]) -> T:
    """Run a command as one transaction."""
    async with unit_of_work.begin(store, "test") as work:
        return await command(work)


async def issue(store: Store, count: int, node: str | None = None) -> list[KeyId]:
    """Issue keys in one transaction."""
    pin = None if node is None else NodeName(node)

    async def several(work: unit_of_work.UnitOfWork) -> list[KeyId]:
        return [(await keys.issue(work, TARIFF, node=pin)).key.id for _ in range(count)]

    return await run(store, several)


@asynccontextmanager
async def open_fleet(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *listeners: Listener, **versions: str
) -> AsyncIterator[Fleet]:
    """Take panels, by the names of their nodes, declare them by manifests, and open a controller.

    Each panel has these inbounds, as far as its version takes one client in all of them.
    """
    database = DatabaseSettings(url=migrated(folder / "x3fleet.db"))
    settings = ControllerSettings(store=StoreSettings(database=database))
    async with AsyncExitStack() as stack:
        sites = {}
        for name, version in versions.items():
            options = PanelOptions(base_path=f"/path-of-{name}/", password=f"password-of-{name}")
            scene = await stack.enter_async_context(stage(version, options=options, served=True))
            one_protocol = scene.features.one_protocol_attach
            for listener in listeners[:1] if one_protocol else listeners:
                if scene.number >= listener.oldest:
                    await scene.add(listener)
            sites[name] = Site(name, scene)
        await _prepare(settings.store, folder / "manifests", sites, monkeypatch)
        controller = await stack.enter_async_context(open_controller(settings))
        yield Fleet(settings, controller, sites)


async def _prepare(
    settings: StoreSettings, folder: Path, sites: dict[str, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [COMMON]
    for site in sites.values():
        variables = {}
        for name in ("token", "username", "password", "totp_secret", "login_secret"):
            secret = getattr(site.stage.target.credentials, name)
            if secret is not None:
                words = name.split("_")
                field_name = words[0] + "".join(word.title() for word in words[1:])
                variables[field_name] = f"SITE_{site.name}_{name}".upper()
                monkeypatch.setenv(variables[field_name], secret)
        documents.append(site.manifest(variables))
    bundle = _write(folder, "".join(documents))
    async with open_store(settings) as store:
        await run(store, installation.prepare)
        await run(store, lambda work: manifests.apply_bundle(work, bundle))


def _write(folder: Path, documents: str) -> Bundle:
    folder.mkdir()
    (folder / "fleet.yaml").write_text(documents, encoding="utf-8")
    return load_bundle(DirectorySource(folder))
