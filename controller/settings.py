"""Settings of the controller: its database, and the limits of its turns.

Read from `X3FLEET_DATABASE__*`, `X3FLEET_ENCRYPTION_KEYS` (by the store) and `X3FLEET_CONTROLLER__*`.
Callers: service and cli. Not here: what the database holds, a node's address or credentials.
"""

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from desired_state.model.errors import ConfigError
from desired_state.store.settings import StoreSettings, load_store_settings


class TurnSettings(BaseModel):
    """Limits of one turn, in seconds; see the worker."""

    writing_s: float = Field(default=20.0, gt=0, le=3600)
    turn_s: float = Field(default=120.0, gt=0, le=7200)


class ServiceSettings(BaseModel):
    """What a controller that stays is built from; each part has its own settings, by its name."""


class _Controller(ServiceSettings, TurnSettings):
    """All of `X3FLEET_CONTROLLER__*`: limits of turns directly, parts of the service by name."""


class _Environment(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="X3FLEET_", env_nested_delimiter="__", extra="ignore", hide_input_in_errors=True
    )

    controller: _Controller = _Controller()


class ControllerSettings(BaseModel):
    """Everything that a controller is built from."""

    store: StoreSettings
    turns: TurnSettings = TurnSettings()
    service: ServiceSettings = ServiceSettings()


def load_settings() -> ControllerSettings:
    """Read the settings from the environment.

    Raises:
        ConfigError: names every variable that is wrong, never its value.
    """
    store = load_store_settings()
    try:
        found = _Environment().controller.model_dump()
    except ValidationError as error:
        faults = "; ".join(
            f"X3FLEET_{'__'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise ConfigError(faults) from None
    return ControllerSettings(
        store=store,
        turns=TurnSettings.model_validate(found),
        service=ServiceSettings.model_validate(found),
    )
