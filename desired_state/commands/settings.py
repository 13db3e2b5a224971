"""Settings of retention: how long desired state keeps what nothing needs any more.

Read from `X3FLEET_RETENTION__*`. Callers: the roles that host `commands.retention`. Not here: retention
of status, which is the controller's.
"""

from pydantic import BaseModel, Field

from desired_state.environment import Environment


class PruneSettings(BaseModel):
    """For how long rows are kept.

    `wakes_hours`: a controller reads wake-ups within seconds; the rest is for people who look on.
    `approvals_days`: longer than any approval is good for. `keys_days`: after their deletion, and
    never before their last trace on a panel is forgotten. `tokens_days`: longer than anybody repeats what
    they asked for. `batch`: rows in one transaction.
    """

    every_s: float = Field(default=3600.0, gt=0, le=86_400)
    wakes_hours: int = Field(default=24, ge=1, le=8_760)
    audit_days: int = Field(default=365, ge=1, le=36_500)
    requests_days: int = Field(default=30, ge=1, le=3_650)
    approvals_days: int = Field(default=90, ge=2, le=3_650)
    keys_days: int = Field(default=90, ge=1, le=3_650)
    tokens_days: int = Field(default=90, ge=1, le=3_650)
    batch: int = Field(default=1_000, ge=1, le=100_000)


class _Environment(Environment):
    retention: PruneSettings = PruneSettings()


def load_prune_settings() -> PruneSettings:
    """Read the settings from the environment.

    Raises:
        ConfigError: names every variable that is wrong, never its value.
    """
    return _Environment.read().retention
