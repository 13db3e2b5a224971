"""Settings of the manifests' source: a directory, or a branch of a git repository.

Read from `X3FLEET_SYNC__*`. Callers: the roles that sync. Not here: reading a source
(`manifests.sources`), applying what it declares. A token is never part of a URL, a message or a log.
"""

from pathlib import Path, PurePosixPath
from typing import Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from desired_state.environment import Environment
from desired_state.manifests.sources.location import Location, Transport, parse_location


class SyncSettings(BaseModel):
    """Where manifests come from, and how often somebody looks.

    `path`: a folder or a file inside the repository. `username`: sent beside the token; most hosts
    take any. `timeout_s`: for one fetch as a whole.
    """

    directory: Path | None = None
    repository: str | None = None
    branch: str = Field(default="main", min_length=1)
    path: str = ""
    username: str = Field(default="git", min_length=1)
    token: SecretStr | None = None
    token_file: Path | None = None
    ssh_key_file: Path | None = None
    known_hosts_file: Path | None = None
    ca_file: Path | None = None
    every_s: float = Field(default=60.0, ge=1, le=86_400)
    timeout_s: float = Field(default=30.0, ge=1, le=600)

    @property
    def is_configured(self) -> bool:
        """Whether there is a source at all."""
        return self.directory is not None or self.repository is not None

    @property
    def location(self) -> Location | None:
        """The repository, taken apart; None for a directory."""
        return None if self.repository is None else parse_location(self.repository)

    @field_validator("repository")
    @classmethod
    def _is_usable(cls, value: str | None) -> str | None:
        if value is not None:
            parse_location(value)
        return value

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, value: str) -> str:
        parts = PurePosixPath(value.strip("/")).parts
        if ".." in parts:
            raise ValueError("must not lead out of the repository")
        return "/".join(parts)

    @field_validator("branch")
    @classmethod
    def _is_a_branch(cls, value: str) -> str:
        name = value.removeprefix("refs/heads/")
        if name.startswith(("-", "/")) or not name.isprintable() or " " in name:
            raise ValueError("is no name of a branch")
        return name

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.directory is not None and self.repository is not None:
            raise ValueError("set DIRECTORY or REPOSITORY, not both")
        if self.token is not None and self.token_file is not None:
            raise ValueError("set TOKEN or TOKEN_FILE, not both")
        location = self.location
        is_http = location is not None and location.transport is Transport.HTTP
        is_ssh = location is not None and location.transport is Transport.SSH
        if self.has_token and not (is_http and location is not None and location.is_encrypted):
            raise ValueError("a token is sent to https:// repositories only")
        if self.ca_file is not None and not is_http:
            raise ValueError("CA_FILE belongs to an https:// repository")
        if not is_ssh and (self.ssh_key_file is not None or self.known_hosts_file is not None):
            raise ValueError("SSH_KEY_FILE and KNOWN_HOSTS_FILE belong to an ssh:// repository")
        return self

    @property
    def has_token(self) -> bool:
        """Whether a token is sent."""
        return self.token is not None or self.token_file is not None


class _Environment(Environment):
    sync: SyncSettings = SyncSettings()


def load_sync_settings() -> SyncSettings:
    """Read the settings from the environment; without any, there is no source.

    Raises:
        ConfigError: names every variable that is wrong, never its value.
    """
    return _Environment.read().sync
