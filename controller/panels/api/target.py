"""What a `NodeTarget` must fulfil before anything is contacted; each breach by its field's name.

Callers: `session`, at construction. Not here: manifests' own rules, which an operator meets first;
a secret is resolved only now, so only now can its form be checked.
"""

import binascii
from urllib.parse import urlsplit

import httpx
import pyotp

from controller.panels.api.errors import PanelMisconfigured
from desired_state.model.node import Credentials, NodeTarget, TlsKind


def check_target(target: NodeTarget) -> None:
    """Refuse what cannot work.

    Raises:
        PanelMisconfigured: names the field, never its value.
    """
    field = _wrong_url(target.url)
    if field is not None:
        raise PanelMisconfigured(target.node, "panel.url", field)
    if target.tls.kind in (TlsKind.PIN, TlsKind.CA_FILE) and not target.url.startswith("https:"):
        raise PanelMisconfigured(
            target.node, "panel.url", "says http, and panel.tls declares a certificate to check"
        )
    _check_credentials(target)


def _wrong_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        port = parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return "is no address"
    rules = (
        (parts.scheme not in ("http", "https"), "must begin with http:// or https://"),
        (not parts.hostname or port == 0, "has no host, or port 0"),
        ("@" in parts.netloc, "holds credentials; they belong under panel.auth"),
        ("?" in url or "#" in url, "must end with the base path, without ? and #"),
        (not url.endswith("/"), "must end with a slash"),
    )
    return next((message for is_broken, message in rules if is_broken), None)


def _check_credentials(target: NodeTarget) -> None:
    credentials = target.credentials
    if credentials.token is not None:
        _check_token(target, credentials.token)
    elif not credentials.username:
        raise PanelMisconfigured(
            target.node, "panel.auth", "has neither a token nor a username with a password"
        )
    if credentials.username and not credentials.password:
        raise PanelMisconfigured(target.node, "panel.auth.password", "is empty")
    _check_second_factor(target, credentials)


def _check_token(target: NodeTarget, token: str) -> None:
    # Anything else cannot stand in a header; the HTTP library would say so and show it.
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise PanelMisconfigured(
            target.node, "panel.auth.token", "is empty or holds what no token holds"
        )


def _check_second_factor(target: NodeTarget, credentials: Credentials) -> None:
    if credentials.totp_secret is None:
        return
    try:
        pyotp.TOTP(credentials.totp_secret).at(0)
    except (binascii.Error, ValueError):
        # Not chained: the library's message may repeat the secret.
        raise PanelMisconfigured(
            target.node,
            "panel.auth.totpSecret",
            "is no secret in base32 of at least 112 bits (panels make 128)",
        ) from None
