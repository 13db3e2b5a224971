"""A node's panel as the runtime sees it: observe, act, close; and the pool of them by node.

Called by the worker, which executes effects with it. Not here: leases, deadlines, back-off.
"""

from dataclasses import replace
from typing import BinaryIO

import httpx

from controller.core.effects import Outcome, Verdict, Write
from controller.core.features import Features
from controller.core.observed import HostLoad, NotObserved, Observation
from controller.panels.act import act
from controller.panels.api.budget import RetryBudget
from controller.panels.api.channel import Observer
from controller.panels.api.clock import Clock, SystemClock
from controller.panels.api.errors import PanelError
from controller.panels.api.session import PanelApi
from controller.panels.dialects.dialect import SharedKeys
from controller.panels.export import Export, export
from controller.panels.host import ask_host
from controller.panels.inbounds import act_on_inbound
from controller.panels.observe import observe
from desired_state.model.ids import NodeName
from desired_state.model.node import NodeTarget


class Panel:
    """One node's panel, with its session and its one HTTP client.

    Nothing is contacted before the first look or write. A target that cannot work is not raised but
    answered: every look is `NotObserved` and no write is sent.

    Args:
        target: address, credentials and TLS.
        clock: wall clock, elapsed time and waiting.
        observer: told of every exchange.
        budget: of repetitions, one for all panels.
        transport: instead of the network, for tests.
    """

    def __init__(
        self,
        target: NodeTarget,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        budget: RetryBudget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.target = target
        self._clock = clock or SystemClock()
        self._features: Features | None = None
        self._shared_keys: SharedKeys = frozenset()
        self._api: PanelApi | PanelError
        try:
            self._api = PanelApi(
                target, clock=self._clock, observer=observer, budget=budget, transport=transport
            )
        except PanelError as error:
            self._api = error

    async def observe(self, *, careful: bool = False) -> Observation | NotObserved:
        """Look once; `careful`: with one cheap call first, at a panel that did not answer lately."""
        if isinstance(self._api, PanelError):
            return self._api.to_not_observed(self._clock.now())
        look = await observe(self._api, self._clock.now(), careful=careful)
        if isinstance(look, NotObserved):
            return look
        self._features = look.observation.features
        self._shared_keys = look.shared_keys
        return look.observation

    async def ask_host(self) -> HostLoad:
        """Ask how busy its host is, where a look does not tell; empty when it does not say."""
        return HostLoad() if isinstance(self._api, PanelError) else await ask_host(self._api)

    async def export(self, file: BinaryIO, limit_bytes: int) -> Export:
        """Fetch the panel's own database into a file.

        Raises:
            PanelError: it cannot be had.
            SinkBroken: the file cannot be written.
        """
        if isinstance(self._api, PanelError):
            raise self._api
        return await export(self._api, file, limit_bytes)

    async def act(self, write: Write) -> Outcome:
        """Send one write, in the dialect of the last look."""
        if isinstance(self._api, PanelError):
            return Outcome(Verdict.NOT_SENT, str(self._api))
        if self._features is None:
            try:
                self._features = (await self._api.connect()).features
            except PanelError as error:
                return Outcome(Verdict.NOT_SENT, str(error))
        if write.inbound is not None:
            outcome = await act_on_inbound(self._api, write, self._features)
        else:
            outcome = await act(self._api, write, self._features, self._shared_keys)
        return replace(outcome, ended_at=self._clock.now())

    async def close(self) -> None:
        """Close the connections."""
        if isinstance(self._api, PanelApi):
            await self._api.close()


class PanelPool:
    """The panels of all nodes that this process visits, one each.

    A panel is kept, and with it the memory that its credentials were refused, until anything by
    which it is reached changes.

    Args:
        clock: for every panel.
        observer: for every panel.
        budget: of repetitions, for all of them together.
    """

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        budget: RetryBudget | None = None,
    ) -> None:
        self._clock = clock
        self._budget = budget or RetryBudget()
        self._observer = observer
        self._panels: dict[NodeName, Panel] = {}

    async def panel(self, target: NodeTarget) -> Panel:
        """Return the node's panel; a new one when its address, credentials or TLS changed."""
        known = self._panels.get(target.node)
        if known is not None and _reach(known.target) == _reach(target):
            return known
        panel = Panel(target, clock=self._clock, observer=self._observer, budget=self._budget)
        self._panels[target.node] = panel
        if known is not None:
            await known.close()
        return panel

    async def drop(self, node: NodeName) -> None:
        """Forget a node: it left, was retried by a person, or its lease is gone."""
        panel = self._panels.pop(node, None)
        if panel is not None:
            await panel.close()

    async def close(self) -> None:
        """Close all."""
        panels, self._panels = list(self._panels.values()), {}
        for panel in panels:
            await panel.close()


def _reach(target: NodeTarget) -> tuple[object, ...]:
    """What a session stands on; the mode is none of it."""
    return target.url, target.credentials, target.tls
