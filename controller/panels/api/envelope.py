"""The panel's one answer shape, `{"success": bool, "msg": str, "obj": any}`, decoded once.

Callers: dialects and detection, for reads. Not here: what an answer's status means (`outcomes`),
and the shapes inside `obj` (`controller.panels.wire`).
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from controller.panels.api.errors import PanelBusy, PanelContractBroken
from desired_state.model.ids import NodeName
from desired_state.model.legible import legible

T = TypeVar("T")
_SHOWN_CHARACTERS = 200
"""Of a panel's own sentence: enough for its longest known one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole.

    `path`: what was asked, below the base path. `body`: decompressed. `received_bytes`: as they
    came over the wire. `date`: the panel's `Date` header. `location`, `retry_after`: those headers,
    else empty.
    """

    node: NodeName
    method: str
    path: str
    status: int
    body: bytes = field(repr=False)
    content_type: str = ""
    location: str = field(default="", repr=False)
    retry_after: str = ""
    date: datetime | None = None
    duration_s: float = 0.0
    received_bytes: int = 0

    @property
    def operation(self) -> str:
        """What was being done, for an error."""
        return f"read {self.path}"


class Envelope(BaseModel, Generic[T]):
    """What every JSON answer of a panel is. `obj` is None where it has nothing to say (yet)."""

    success: bool
    msg: str = ""
    obj: T | None = None


def parse_envelope(answer: Answer, kind: type[T]) -> Envelope[T]:
    """Decode an answer in one pass, straight from its bytes.

    Args:
        answer: of a read that returned JSON.
        kind: what `obj` is: a pydantic model, `list[Model]`, `dict[str, int]`, `bool` ...

    Returns:
        The envelope; its `success` is True.

    Raises:
        PanelBusy: the body is no JSON, or the panel said that reading failed.
        PanelContractBroken: JSON of another shape; the message names the place, not the value.
    """
    try:
        envelope = cast("Envelope[T]", _adapter(cast("Hashable", kind)).validate_json(answer.body))
    except ValidationError as error:
        raise _misshapen(answer, error) from None
    if not envelope.success:
        raise PanelBusy(
            answer.node, answer.operation, f"the panel failed to read: {shorten(envelope.msg)}"
        )
    return envelope


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(Envelope[kind])  # type: ignore[valid-type] # a type, given at run time


def _misshapen(answer: Answer, error: ValidationError) -> PanelBusy | PanelContractBroken:
    # Chained from nothing on purpose: pydantic's message repeats the input, credentials included.
    first = error.errors(include_input=False, include_context=False, include_url=False)[0]
    if first["type"] == "json_invalid":
        return PanelBusy(answer.node, answer.operation, "the answer is no whole JSON")
    # A place may be a name that the panel chose, where it answers a mapping.
    place = shorten(".".join(str(part) for part in first["loc"]))
    return PanelContractBroken(
        answer.node,
        answer.operation,
        f"the answer has another shape than expected at {place or 'its top'}: {first['type']}",
    )


def shorten(text: str) -> str:
    """A panel's own sentence on one line, cut and legible: its errors end in newlines."""
    line = legible(" ".join(text.split()))
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "..."
