"""Settings of the controller: its database, and the limits of its turns.

Read from `X3FLEET_DATABASE__*`, `X3FLEET_ENCRYPTION_KEYS` (by the store) and `X3FLEET_CONTROLLER__*`.
Callers: service and cli. Not here: what the database holds, a node's address or credentials.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsError

from desired_state.environment import Environment
from desired_state.model.errors import ConfigError
from desired_state.store.settings import StoreSettings, load_store_settings

T = TypeVar("T")


class TurnSettings(BaseModel):
    """Limits of one turn, in seconds; see the worker.

    `sample_s`: turns of a node that end sooner after each other give one sample of its traffic.
    """

    writing_s: float = Field(default=20.0, gt=0, le=3600)
    turn_s: float = Field(default=120.0, gt=0, le=7200)
    sample_s: float = Field(default=10.0, ge=0, le=3600)


class ReplicaSettings(BaseModel):
    """How long a replica's leases last without a renewal, and how often they are renewed."""

    ttl_s: float = Field(default=15.0, gt=0, le=600)
    renew_s: float = Field(default=5.0, gt=0, le=200)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.ttl_s < 2.5 * self.renew_s:
            raise ValueError("ttl_s is at least 2.5 times renew_s: one renewal may fail")
        return self


class MetricsSettings(BaseModel):
    """Where metrics and health are served; on loopback unless said otherwise. Port 0: any free one."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=9478, ge=0, le=65535)


class AlertSettings(BaseModel):
    """When people are told: what holds for `hold_s`, and what is gone for `recover_s`, in seconds.

    `fleet_share`: from this share of the nodes on, one message for all of them that are unreachable.
    `move_s`: how long a key may be on its way off a node.
    """

    every_s: float = Field(default=15.0, gt=0, le=3600)
    hold_s: float = Field(default=120.0, ge=0, le=86400)
    recover_s: float = Field(default=120.0, ge=0, le=86400)
    fleet_share: float = Field(default=0.5, gt=0, le=1)
    move_s: float = Field(default=86_400.0, ge=60, le=30 * 86_400)


class WebhookSettings(BaseModel):
    """Who is told by HTTP: addresses (which may hold a secret), and the secret that signs.

    `attempts`: after so many a notification is parked until somebody asks for it again.
    """

    urls: tuple[SecretStr, ...] = ()
    secret: SecretStr | None = None
    attempts: int = Field(default=12, ge=1, le=100)
    first_retry_s: float = Field(default=5.0, gt=0, le=3600)
    longest_retry_s: float = Field(default=3600.0, gt=0, le=86400)
    timeout_s: float = Field(default=10.0, gt=0, le=60)

    @field_validator("urls")
    @classmethod
    def _check_urls(cls, urls: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for url in urls:
            if not _is_private(url.get_secret_value()):
                raise ValueError("a webhook is an https address, or http on a loopback address")
        return urls

    @model_validator(mode="after")
    def _check_secret(self) -> Self:
        if self.urls and (self.secret is None or len(self.secret.get_secret_value()) < 16):
            raise ValueError("webhooks are signed: set secret, of 16 characters or more")
        return self


class RetentionSettings(BaseModel):
    """How many days of status are kept; rows go `batch` at a time."""

    every_s: float = Field(default=3600.0, gt=0, le=86400)
    events_days: int = Field(default=30, ge=1, le=3650)
    cycles_days: int = Field(default=30, ge=1, le=3650)
    notifications_days: int = Field(default=90, ge=1, le=3650)
    answers_days: int = Field(default=7, ge=1, le=3650)
    # Longer than the oldest backup that somebody may restore: no less than the reads look back.
    tombstones_days: int = Field(default=30, ge=30, le=3650)
    batch: int = Field(default=1000, ge=1, le=100_000)


class ServiceSettings(BaseModel):
    """What a controller that stays is built from; each part has its own settings, by its name."""

    replicas: ReplicaSettings = ReplicaSettings()
    metrics: MetricsSettings = MetricsSettings()
    alerts: AlertSettings = AlertSettings()
    webhooks: WebhookSettings = WebhookSettings()
    retention: RetentionSettings = RetentionSettings()


class _Controller(ServiceSettings, TurnSettings):
    """All of `X3FLEET_CONTROLLER__*`: limits of turns directly, parts of the service by name."""


class _Environment(Environment):
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
    faults: list[ConfigError] = []
    store, found = _try(load_store_settings, faults), _try(_load_parts, faults)
    if store is None or found is None:
        message = "; ".join(fault.message for fault in faults)
        raise ConfigError(message, hint=next((f.hint for f in faults if f.hint), None))
    return ControllerSettings(
        store=store,
        turns=TurnSettings.model_validate(found),
        service=ServiceSettings.model_validate(found),
    )


def _load_parts() -> dict[str, Any]:
    try:
        return _Environment.read().controller.model_dump()
    except SettingsError:
        raise ConfigError(
            "X3FLEET_CONTROLLER__*: a value that should be JSON is not",
            hint='lists are written as ["one", "two"]',
        ) from None


def _try(load: Callable[[], T], faults: list[ConfigError]) -> T | None:
    try:
        return load()
    except ConfigError as error:
        faults.append(error)
        return None


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent there."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "http":
            return ip_address(host).is_loopback
    except ValueError:
        return False
    return parts.scheme == "https" and bool(host)
