"""The mark of ownership: email and subId are made here and verified here.

An email says which key, generation and (up to 3.0.2) inbound; the subId is an HMAC over it with the
installation's secret. The pattern alone proves nothing: a look-alike without the mark is foreign.
Callers: core, links. Not here: what is done about foreign clients.
"""

import base64
import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache

from desired_state.model.errors import InvalidValue
from desired_state.model.ids import Email, Generation, InboundId, KeyId

DEFAULT_TEMPLATE = "x3f-{key}-g{generation}"
_FORBIDDEN = re.compile(r"[/\\\s\x00-\x1f\x7f]")
_TAIL = r"(?:-i(?P<inbound>\d+))?"


@dataclass(frozen=True, slots=True)
class EmailParts:
    """What an email of ours says."""

    key: KeyId
    generation: Generation
    inbound: InboundId | None


@dataclass(frozen=True, slots=True)
class InstallationSecret:
    """One version of the secret that marks are made with; the newest makes, all verify."""

    version: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ownership:
    """Makes and verifies emails and marks of this installation.

    Args:
        secrets: newest first; at least one.
        template: holds `{key}` and `{generation}` once each.
    """

    secrets: tuple[InstallationSecret, ...] = field(repr=False)
    template: str = DEFAULT_TEMPLATE

    def email(self, key: KeyId, generation: Generation, inbound: InboundId | None = None) -> Email:
        """Make the email; `inbound` is given on panels up to 3.0.2, where each has its own client."""
        base = self.template.format(key=key, generation=generation)
        return Email(base if inbound is None else f"{base}-i{inbound}")

    def parse(self, email: str) -> EmailParts | None:
        """Read an email of ours; None when the pattern does not fit. Case is ignored."""
        found = _pattern(self.template).fullmatch(email.lower())
        if found is None:
            return None
        inbound = found["inbound"]
        return EmailParts(
            key=KeyId(found["key"]),
            generation=Generation(int(found["generation"])),
            inbound=None if inbound is None else InboundId(int(inbound)),
        )

    def mark(self, email: str) -> str:
        """Make the subId for an email: 26 lower-case characters."""
        return _mark(self.secrets[0], email)

    def is_marked(self, email: str, sub_id: str) -> bool:
        """Tell whether a subId is the mark of this email under any version of the secret."""
        return any(hmac.compare_digest(_mark(s, email), sub_id) for s in self.secrets)


def check_template(template: str) -> None:
    """Refuse a template whose emails a panel could not address or we could not read back.

    Raises:
        InvalidValue: a placeholder is missing or doubled, or a character is forbidden.
    """
    for name in ("{key}", "{generation}"):
        if template.count(name) != 1:
            raise InvalidValue("email_template", f"must hold {name} exactly once")
    rest = template.replace("{key}", "").replace("{generation}", "")
    if _FORBIDDEN.search(rest) or set("{}?#%") & set(rest):
        raise InvalidValue("email_template", "holds a slash, a space or a control character")
    if rest != rest.lower():
        raise InvalidValue("email_template", "must be lower-case", hint="panels ignore case")
    if "{key}{generation}" in template or "{generation}{key}" in template:
        raise InvalidValue("email_template", "needs a character between its placeholders")


@lru_cache(maxsize=16)
def _pattern(template: str) -> re.Pattern[str]:
    pattern = re.escape(template)
    pattern = pattern.replace(re.escape("{key}"), r"(?P<key>[a-z2-7]{10})")
    pattern = pattern.replace(re.escape("{generation}"), r"(?P<generation>[1-9]\d{0,8})")
    return re.compile(pattern + _TAIL)


# A turn asks for the same few again at each of its looks.
@lru_cache(maxsize=4096)
def _mark(secret: InstallationSecret, email: str) -> str:
    digest = hmac.digest(secret.value, email.lower().encode(), "sha256")
    return base64.b32encode(digest).decode().lower()[:26]
