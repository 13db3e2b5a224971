"""TLS of one panel: verified, own CA, pinned certificate, or unchecked; and every mismatch by name.

Callers: `channel`. Not here: addresses and requests.
"""

import hashlib
import ssl
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509

from controller.panels.api.errors import PanelMisconfigured
from desired_state.model.ids import NodeName
from desired_state.model.node import Tls, TlsKind

_PIN_DIGITS = 64
"""SHA-256 in hex."""


class PinMismatch(ssl.SSLError):
    """The certificate of this connection is not the pinned one."""

    def __init__(self, seen: str, wanted: str) -> None:
        super().__init__(1, f"certificate has SHA-256 {seen}, pinned is {wanted}")
        self.seen = seen
        self.wanted = wanted


def make_context(node: NodeName, tls: Tls) -> ssl.SSLContext:
    """Build what a connection is checked with.

    Raises:
        PanelMisconfigured: the CA file cannot be read, or the pin is no SHA-256.
    """
    match tls.kind:
        case TlsKind.VERIFY:
            return _public_context()
        case TlsKind.CA_FILE:
            return _own_ca_context(node, tls.value)
        case TlsKind.PIN:
            return _pinned_context(node, tls.value)
        case TlsKind.OFF:
            return httpx.create_ssl_context(verify=False)


@cache
def _public_context() -> ssl.SSLContext:
    # Shared: parsing the public roots takes longer than a whole look at a panel.
    return httpx.create_ssl_context(trust_env=False)


def _own_ca_context(node: NodeName, path: str) -> ssl.SSLContext:
    if not Path(path).is_file():
        raise PanelMisconfigured(node, "tls.caFile", f"there is no file {path}")
    try:
        return ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise PanelMisconfigured(
            node, "tls.caFile", f"{path} holds no readable certificate in PEM form"
        ) from error


def _pinned_context(node: NodeName, pin: str) -> ssl.SSLContext:
    wanted = pin.replace(":", "").lower()
    if len(wanted) != _PIN_DIGITS or not all(c in "0123456789abcdef" for c in wanted):
        raise PanelMisconfigured(node, "tls.pinSha256", "is no SHA-256 (64 hexadecimal digits)")

    class PinnedObject(ssl.SSLObject):
        """Checks the certificate inside the handshake: no byte of a request goes before it."""

        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True) or b""
            seen = hashlib.sha256(certificate).hexdigest()
            if seen != wanted:
                raise PinMismatch(seen, wanted)

    # The pin stands in for the chain and the name: a panel's own certificate has neither.
    context = httpx.create_ssl_context(verify=False)
    context.sslobject_class = PinnedObject
    return context


class Certificate:
    """The certificate that a panel showed last, whether it was verified or not."""

    def __init__(self) -> None:
        self.until: datetime | None = None
        self._seen = b""

    def note(self, response: httpx.Response) -> None:
        """Take it from the connection of an answer; one that cannot be read has no end."""
        stream = response.extensions.get("network_stream")
        connection = None if stream is None else stream.get_extra_info("ssl_object")
        seen = None if connection is None else connection.getpeercert(binary_form=True)
        if not seen or seen == self._seen:
            return
        self._seen = seen
        try:
            self.until = x509.load_der_x509_certificate(seen).not_valid_after_utc
        except ValueError:
            self.until = None


def tls_mismatch(error: BaseException) -> str | None:
    """Name what is wrong with the certificate, in one sentence; None when it is not about that."""
    for link in chain_of(error):
        if isinstance(link, PinMismatch):
            return (
                f"the panel's certificate has SHA-256 {link.seen}, "
                f"and tls.pinSha256 is {link.wanted}"
            )
        if isinstance(link, ssl.SSLCertVerificationError):
            return f"the panel's certificate does not verify: {link.verify_message}"
        if isinstance(link, ssl.SSLError) and _speaks_plain_http(link):
            return "url says https, and the panel answers without TLS on this port"
    return None


def chain_of(error: BaseException) -> Iterator[Any]:
    """An exception, what it was raised from, and so on; of a group, its first member."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        if isinstance(link, BaseExceptionGroup):
            link = link.exceptions[0]
        else:
            link = link.__cause__ or link.__context__


def _speaks_plain_http(error: ssl.SSLError) -> bool:
    # OpenSSL reads "HTTP/1.1 400" as a record of an impossible version; newer ones name it apart.
    return error.reason in {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"}
