"""What the HTTP library raised, as an error of ours with a sentence for a person.

Callers: `channel`, where the library's exceptions end. Not here: what an answer means (`outcomes`).
"""

import socket

import httpx

from controller.panels.api.body import BodyTooLarge
from controller.panels.api.errors import (
    PanelBusy,
    PanelContractBroken,
    PanelError,
    PanelTimeout,
    PanelTlsMismatch,
    PanelUnreachable,
)
from controller.panels.api.tls import chain_of, tls_mismatch
from desired_state.model.ids import NodeName


def name_failure(node: NodeName, operation: str, error: Exception) -> PanelError:
    """Name a failure by its branch; the cause is chained by the caller."""
    if isinstance(error, (httpx.TimeoutException, TimeoutError)):
        step = "connecting" if isinstance(error, httpx.ConnectTimeout) else "answering"
        return PanelTimeout(node, operation, f"the panel took too long in {step}")
    mismatch = tls_mismatch(error)
    if mismatch is not None:
        hint = "correct panel.tls or panel.url, or the panel's certificate"
        return PanelTlsMismatch(node, operation, mismatch, hint=hint)
    if isinstance(error, BodyTooLarge):
        return PanelContractBroken(
            node,
            operation,
            f"the answer is larger than any panel's: more than {error.limit_bytes >> 10} KiB",
            hint="something else answers under panel.url, or the panel is not what it was",
        )
    if isinstance(error, httpx.DecodingError):
        return PanelBusy(node, operation, "the answer's compression is broken")
    return PanelUnreachable(node, operation, _why_unreached(error))


def _why_unreached(error: Exception) -> str:
    for link in chain_of(error):
        if isinstance(link, socket.gaierror):
            return "the host's name cannot be resolved"
        if isinstance(link, ConnectionRefusedError):
            return "the host refuses connections on this port"
    if isinstance(error, httpx.ConnectError):
        return "no connection to the host came about"
    return f"the connection broke before the answer was whole ({type(error).__name__})"
