"""Finds secrets in free text by their shape: in messages of libraries, of errors, of panels.

The last line of defence: what is known to be a secret is masked by the name of its field (`logging`), and
no message of ours holds one. Callers: logging. Not here: passwords that look like a word; nothing but
their field tells what they are.
"""

import re
from collections.abc import Callable

MASK = "***"
_NAMES = (
    "password|passwd|passphrase|token|secret|seed|uuid|auth|cookie|session|api_?key|sub_?id|totp|otp"
    "|hash|pbk|sid"
)
_FLAGS = re.IGNORECASE | re.VERBOSE

_ADDRESS = re.compile(
    r"""\b ([a-z][a-z0-9+.-]{1,20}://)  # what kind of address
    ([^\s/@"']*@)?                      # a login, or the credential of a share link
    ([^\s/?\#"'@]+)                     # the host
    ([/?\#][^\s"']*)?                   # a panel's path is half a secret
    """,
    _FLAGS,
)
_SCHEME = re.compile(r"\b(bearer|basic|digest)\s+[A-Za-z0-9._~+/=:-]{4,}", re.IGNORECASE)
# The length of a name is limited: without that a line of dashes would take minutes.
_SETTING = re.compile(
    rf"""(?<![A-Za-z]) ([a-z_-]{{0,40}} (?:{_NAMES}) ["']? \s{{0,9}} [=:] \s{{0,9}} ["']?)
    (?!\*\*\*) [^\s"',;&}}]+
    """,
    _FLAGS,
)
_WHOLE = (
    # What identifies a client on a panel: its UUID, and our mark (26 characters of base32).
    r"(?<![0-9a-fA-F-])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])",
    r"(?<![A-Za-z0-9])[a-z2-7]{26}(?![A-Za-z0-9])",
    # Sealed secrets, API tokens of ours, tokens of Telegram's bots, signed tokens of the web.
    r"\bgAAAA[A-Za-z0-9_=-]{20,}",
    r"\bx3f_[A-Za-z0-9_-]{8,}",
    r"(?<!\d)\d{6,12}:[A-Za-z0-9_-]{30,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_.-]{4,}",
)


def _mask_address(found: re.Match[str]) -> str:
    kind, login, host, path = found.groups()
    return found[0] if login is None and path in (None, "/") else f"{kind}{host}/{MASK}"


_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_ADDRESS, _mask_address),
    (_SCHEME, rf"\1 {MASK}"),
    (_SETTING, rf"\1{MASK}"),
    (re.compile("|".join(_WHOLE)), MASK),
)


def mask_text(text: str) -> str:
    """Mask whatever in a text has the shape of a secret; the rest stays as it is."""
    for shape, replacement in _RULES:
        text = shape.sub(replacement, text)
    return text
