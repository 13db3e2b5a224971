"""What is wrong with the environment: each variable by its name, and never by its value.

Callers: every package's `settings`. Not here: reading the environment.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from desired_state.model.errors import ConfigError


class Refused(Protocol):
    """What pydantic raises: each fault has its place (`loc`) and what is wrong there (`msg`)."""

    def errors(
        self, *, include_url: bool = True, include_context: bool = True, include_input: bool = True
    ) -> Sequence[Mapping[str, Any]]:
        """Return the faults."""


def wrong_variables(refused: Refused) -> ConfigError:
    """Make the error that names every variable that is wrong, never its value."""
    return ConfigError(
        "; ".join(
            f"X3FLEET_{'__'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in refused.errors(
                include_input=False, include_url=False, include_context=False
            )
        )
    )
