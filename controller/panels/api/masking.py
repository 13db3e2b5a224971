"""Takes secrets out of a panel's own sentences: its refusals repeat what they were asked with.

Callers: `session`. Not here: masking of logs by field (`controller.telemetry`).
"""

import re
from collections.abc import Iterable

from desired_state.model.node import Credentials

MASK = "***"
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def mask(text: str, secrets: Iterable[str]) -> str:
    """Replace every UUID (a credential of most clients) and every given secret."""
    masked = _UUID.sub(MASK, text)
    # Longest first: a short secret inside a long one must not leave the long one's rest.
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        masked = masked.replace(secret, MASK)
    return masked


def secrets_of(credentials: Credentials) -> tuple[str, ...]:
    """What must never be shown of a node's credentials; its username may."""
    values = (
        credentials.token,
        credentials.password,
        credentials.totp_secret,
        credentials.login_secret,
    )
    return tuple(value for value in values if value)
