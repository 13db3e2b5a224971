"""What observing and acting need to know of an API family; chosen by what connecting found out.

Callers: `observe`, `act`. Not here: the families (`v2`, `v3`), sending, outcomes of single calls.
"""

from dataclasses import dataclass
from typing import Protocol

from controller.core.effects import MemberResult, Write
from controller.core.features import Features
from controller.core.observed import HostLoad, ObservedClient, ObservedInbound, XrayState
from controller.panels.api.envelope import Answer
from controller.panels.api.session import PanelApi
from desired_state.model.ids import InboundId

SharedKeys = frozenset[tuple[InboundId, str]]


@dataclass(frozen=True, slots=True)
class Sight:
    """What the lists of one look hold.

    `version`: exact, empty where the panel does not tell. `torn`: see `Observation`.
    `shared_keys`: credentials that clients of one inbound share under different emails, by inbound:
    up to 3.0.2 a call that names one of them would hit a client that it does not mean.
    """

    answers: tuple[Answer, ...]
    inbounds: tuple[ObservedInbound, ...]
    clients: tuple[ObservedClient, ...]
    version: str = ""
    guid: str | None = None
    xray: XrayState = XrayState.UNKNOWN
    torn: bool = False
    shared_keys: SharedKeys = frozenset()
    host: HostLoad = HostLoad()


@dataclass(frozen=True, slots=True)
class Call:
    """The one POST that a write is: a path below the base path, and what becomes JSON."""

    path: str
    body: object = None


@dataclass(frozen=True, slots=True)
class Impossible:
    """Why a write cannot be put into a call; in one sentence, without secrets."""

    reason: str


class Dialect(Protocol):
    """One API family."""

    async def look(self, api: PanelApi, features: Features) -> Sight:
        """Read inbounds and clients.

        Raises:
            PanelChanged: the panel answers as another version than connecting found.
            PanelContractBroken: it answers in another shape, perhaps of another family.
            PanelError: any other failure.
        """

    def call(self, write: Write, features: Features, shared_keys: SharedKeys) -> Call | Impossible:
        """Choose path and body, the wide one where there are several members."""

    def refused(self, write: Write, cause: str) -> tuple[MemberResult, ...]:
        """Name the member of a refused single call that seems not to be there: a hint."""

    def members(self, write: Write, body: bytes) -> tuple[MemberResult, ...]:
        """Name the members that a successful bulk answer skipped or did not find."""
