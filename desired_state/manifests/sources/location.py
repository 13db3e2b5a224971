"""Where a git repository is: https, ssh or a path, taken apart; what must not stand in one.

Pure. Callers: settings (to refuse a wrong one at start) and `git`. Not here: talking to it. A location
never holds a credential, so its name may be stored, shown and logged.
"""

import os.path
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import SplitResult, unquote, urlsplit


class Transport(StrEnum):
    """How a repository is reached."""

    HTTP = "http"
    SSH = "ssh"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Location:
    """One repository. `name`: canonical, however it was written; `url`: for HTTP only."""

    transport: Transport
    name: str
    path: str
    host: str = ""
    port: int | None = None
    user: str | None = None
    url: str = ""

    @property
    def is_encrypted(self) -> bool:
        """Whether a token may be sent there."""
        return self.url.startswith("https:")


def parse_location(text: str) -> Location:
    """Take a repository's location apart.

    Args:
        text: `https://HOST/PATH`, `ssh://USER@HOST/PATH`, `USER@HOST:PATH`, `file:///PATH` or a path.

    Raises:
        ValueError: it cannot be used; the message never repeats it, for it may hold a password.
    """
    if "://" not in text:
        head, colon, tail = text.partition(":")
        if colon and "/" not in head:
            return _short_ssh(head, tail)
        return _local(text)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if parts.query or parts.fragment:
        raise ValueError("must end with the path: no ? and no #")
    match parts.scheme:
        case "https" | "http":
            return _http(parts, host, port)
        case "ssh" | "git+ssh":
            if parts.password is not None:
                raise ValueError("holds a password; ssh is used with a key file")
            return _ssh(parts.username, host, port, unquote(parts.path))
        case "file" if not host:
            return _local(unquote(parts.path))
        case _:
            raise ValueError("is neither https:// nor ssh:// nor a path")


def _http(parts: SplitResult, host: str, port: int | None) -> Location:
    if "@" in parts.netloc:
        raise ValueError(
            "holds a credential; put it into X3FLEET_SYNC__TOKEN or X3FLEET_SYNC__TOKEN_FILE"
        )
    if not host:
        raise ValueError("names no host")
    path = parts.path.rstrip("/")
    shown = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown}{'' if port is None else f':{port}'}{path}"
    return Location(Transport.HTTP, url, path, host, port, url=url)


def _short_ssh(head: str, path: str) -> Location:
    user, at, host = head.rpartition("@")
    return _ssh(user if at else None, host, None, path)


def _ssh(user: str | None, host: str, port: int | None, path: str) -> Location:
    # A leading hyphen would be read as an option by ssh, or by git at the other end.
    if not host or any(part.startswith("-") for part in (host, user or "", path)):
        raise ValueError("names no host that ssh could be called with")
    if not path.strip("/"):
        raise ValueError("names no repository on its host")
    where = f"{user}@{host}" if user else host
    place = where if port is None else f"{where}:{port}"
    name = f"ssh://{place}{path}" if path.startswith("/") else f"{place}:{path}"
    return Location(Transport.SSH, name.rstrip("/"), path, host, port, user)


def _local(path: str) -> Location:
    if not path.strip():
        raise ValueError("is empty")
    absolute = os.path.normpath(os.path.abspath(path))  # noqa: PTH100  # lexically: links may change
    return Location(Transport.LOCAL, absolute, absolute)
