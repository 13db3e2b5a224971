"""The part of a policy that says when the fleet should grow or shrink, and its way to the model.

Used by `kinds` and `resolve`. What stands below a field is its description in the reference. Not here:
other parts of a policy.
"""

from typing import Any, Self

from pydantic import model_validator

from desired_state.manifests.fields import LabelText, Part, Share, Wait, wrong
from desired_state.model.policy import Scaling as Wanted

_DEFAULT = Wanted()


class Scaling(Part):
    """When a group of nodes needs one more, or can do without one; told by webhook, metric and CLI."""

    label: LabelText | None = None
    """Nodes with one value of this label are a group. Default: nobody is told anything."""
    head_room: Share | None = None
    """Less than this part of a group's capacity free asks for a node. Default: 0.2."""
    spare: Share | None = None
    """A node may go when this part would be free without it. Default: 0.5."""
    hysteresis: Share | None = None
    """How far beyond its limit a signal goes on. Default: 0.05."""
    out_after: Wait | None = None
    """How long head-room must be missing. Default: 2m."""
    in_after: Wait | None = None
    """How long a node must be superfluous. Default: 1h."""

    @model_validator(mode="after")
    def _apart(self) -> Self:
        head_room = _DEFAULT.head_room if self.head_room is None else self.head_room
        spare = _DEFAULT.spare if self.spare is None else self.spare
        hysteresis = _DEFAULT.hysteresis if self.hysteresis is None else self.hysteresis
        if spare <= head_room + 2 * hysteresis:
            raise wrong(
                "has spare too near to headRoom: a node would come and go for ever",
                "let spare be more than headRoom and twice hysteresis together",
            )
        return self

    def said(self) -> dict[str, Any]:
        """What it says, by the names of the model; what it leaves out is not there."""
        values = {
            "label": self.label,
            "head_room": self.head_room,
            "spare": self.spare,
            "hysteresis": self.hysteresis,
            "out_after_s": self.out_after,
            "in_after_s": self.in_after,
        }
        return {name: value for name, value in values.items() if value is not None}
