"""What reads other than lists, and bulk writes, answer.

Callers: dialects. Not here: the envelope around them (`controller.panels.api.envelope`).
"""

from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from controller.core.observed import HostLoad, XrayState
from desired_state.model.legible import legible

Legible = Annotated[str, AfterValidator(legible)]
"""What is repeated to people in whole sentences: a line end in it could forge one."""


def _state(value: object) -> object:
    known = [str(state) for state in XrayState]
    return value if value in known else XrayState.UNKNOWN


class Xray(BaseModel):
    """The panel's Xray, as it says itself."""

    state: Annotated[XrayState, BeforeValidator(_state)] = XrayState.UNKNOWN


def _number(value: object) -> float | None:
    """Read a number that is none as not told: a panel's measurement stops no look."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and isfinite(value) else None  # type: ignore[arg-type] # it is one


Measured = Annotated[float | None, BeforeValidator(_number)]


class Memory(BaseModel):
    """The host's memory, in bytes."""

    current: Measured = None
    total: Measured = None


def _memory(value: object) -> object:
    return value if isinstance(value, dict) else {}


class HostStatus(BaseModel):
    """What `server/status` of every version says of the host. `cpu`: per cent of all cores."""

    cpu: Measured = None
    memory: Annotated[Memory, BeforeValidator(_memory)] = Field(default=Memory(), alias="mem")

    @property
    def host(self) -> HostLoad:
        """Both as parts of 1."""
        used, total = self.memory.current, self.memory.total
        return HostLoad(
            cpu_share=None if self.cpu is None else _share(self.cpu / 100),
            memory_share=None if used is None or not total else _share(used / total),
        )


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))


class ServerStatus(HostStatus):
    """`server/status` from 3.1.0 on."""

    # QUIRK(no-guid, 3x-ui 3.1.0 to 3.2.8): the panel has no identity of its own before 3.3.0.

    xray: Xray = Xray()
    version: Legible = Field(default="", alias="panelVersion")
    guid: Legible | None = Field(default=None, alias="panelGuid")


class Skipped(BaseModel):
    """A member that a bulk call left alone, and why: not localised, yet only a hint."""

    email: str = ""
    reason: str = ""


def _none_is_empty(value: Any) -> Any:  # noqa: ANN401 - pydantic's own input
    return [] if value is None else value


Texts = Annotated[list[str], BeforeValidator(_none_is_empty)]


class BulkAnswer(BaseModel):
    """`obj` of every bulk call; each has some of these, and leaves out or nulls what is empty.

    `errors`: of attach and detach, each `<email>: ...`, `<email> -> inbound <id>: ...` or `inbound
    <id>: ...`.
    """

    model_config = ConfigDict(extra="ignore")

    skipped: Annotated[list[Skipped | str], BeforeValidator(_none_is_empty)] = []
    attached: Texts = []
    detached: Texts = []
    errors: Texts = []
