"""The variables of the environment: how they are named, read, and told when one is wrong.

Each package's `settings` says which there are. Callers: those. Not here: any variable.
"""

from typing import Self

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from desired_state.model.errors import ConfigError


class Environment(BaseSettings):
    """Settings that are read from `X3FLEET_*`; `__` parts the names of nested ones."""

    model_config = SettingsConfigDict(
        env_prefix="X3FLEET_", env_nested_delimiter="__", extra="ignore", hide_input_in_errors=True
    )

    @classmethod
    def read(cls) -> Self:
        """Read them as they are now.

        Raises:
            ConfigError: names every variable that is wrong, never its value.
        """
        try:
            return cls()
        except ValidationError as error:
            raise _wrong_variables(error) from None


def _wrong_variables(refused: ValidationError) -> ConfigError:
    faults = refused.errors(include_input=False, include_url=False, include_context=False)
    return ConfigError(
        "; ".join(
            f"X3FLEET_{'__'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in faults
        )
    )
