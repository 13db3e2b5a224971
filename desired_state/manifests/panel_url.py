"""A panel's URL: checked, and written in one way, so that equal panels compare equal.

Callers: kinds (checks), references (one panel twice), resolve. Pure. Not here: requests.
No message holds the URL itself: it may carry a password or a secret base path.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from desired_state.model.node import NodeSpec

DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)*/?", re.ASCII)


class WrongUrl(ValueError):
    """Says what is wrong with a URL or a host, without repeating it."""


@dataclass(frozen=True, slots=True)
class PanelUrl:
    """Scheme, host (lower-case, IPv6 without brackets), port, and base path with slashes around."""

    scheme: str
    host: str
    port: int
    path: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"

    @property
    def panel(self) -> tuple[str, int, str]:
        """What tells panels apart: one port answers to one scheme only."""
        return self.host, self.port, self.path


def parse_panel_url(text: str) -> PanelUrl:
    """Check a URL and bring it into its one form.

    Raises:
        WrongUrl: not http or https, no host, user information, a query, a wrong port or path.
    """
    # urlsplit drops tabs and line breaks silently, and cuts at what it takes for a query.
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise WrongUrl("holds a space, a backslash or a character outside ASCII")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname
    except ValueError as error:
        if "ort" in str(error):
            raise WrongUrl("has a port that is no number from 1 to 65535") from error
        raise WrongUrl("has a host that cannot be read") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise WrongUrl("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise WrongUrl("holds a user name or password: these belong into auth, as references")
    if "?" in text or "#" in text:
        raise WrongUrl("must end with the base path: no ? and no #")
    if port == 0 or parts.netloc.endswith(":"):
        raise WrongUrl("has a port that is no number from 1 to 65535")
    return PanelUrl(
        scheme=parts.scheme,
        host=parse_host(host or ""),
        port=port or DEFAULT_PORTS[parts.scheme],
        path=_base_path(parts.path),
    )


def parse_host(text: str) -> str:
    """Check a host name or an IP address, without brackets, and write it in lower case.

    Raises:
        WrongUrl: neither of both; a scheme, a port or a path stands beside it.
    """
    host = text.lower().removesuffix(".")
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise WrongUrl("has a host that is no IPv6 address") from error
    if not _HOST_NAME.fullmatch(host):
        raise WrongUrl("has no host name that could be looked up")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise WrongUrl("has a host that is no IPv4 address") from error
    return host


def _base_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise WrongUrl("has a base path with an empty part or a character that needs escaping")
    if {".", ".."} & set(path.split("/")):
        raise WrongUrl("has a base path with a part of dots only")
    return path if path.endswith("/") else f"{path}/"


def panel_of(spec: NodeSpec) -> str:
    """Write what tells a node's panel apart, whatever the node is called: host, port, path."""
    host, port, path = parse_panel_url(spec.url).panel
    return f"{host} {port} {path}"
