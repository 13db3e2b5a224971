"""What an answer means: the outcome table, as pure functions.

Reads: usable, or why not. Writes: applied, rejected, unknown or not sent. Rule above all: an answer
that is not JSON of the panel's own shape says nothing about whether the panel did it.
Callers: `session`. Not here: sending, repeating, logging in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import BaseModel, ValidationError

from controller.core.effects import Verdict
from controller.panels.api.envelope import Answer, shorten
from controller.panels.api.masking import mask

_READ_CHARACTERS = 20_000
"""Of a panel's own sentence, before its secrets are masked: what is shown is far shorter."""
_BARE_404 = b"404 page not found"
"""What the panel's web framework says instead of an empty 404, up to 2.8.4."""


@dataclass(frozen=True, slots=True)
class WriteAnswer:
    """What is known of one write when its call ends.

    `cause`: one short sentence without secrets; empty for a plain success. `body`: the answer's
    bytes where it was JSON of the panel's shape, for the members of a bulk write; else None.
    `status`: None when there was no answer. `duration_s`: without waiting for another write.
    """

    verdict: Verdict
    cause: str = ""
    body: bytes | None = field(default=None, repr=False)
    duration_s: float = 0.0
    sent_bytes: int = 0
    status: int | None = None


class Standing(StrEnum):
    """What the answer to a read is good for."""

    USABLE = "usable"
    SESSION_GONE = "session-gone"
    """Maybe not logged in, maybe no such path: never "absent"."""
    FORBIDDEN = "forbidden"
    """An empty 403: the CSRF token is stale, or the panel wants another host name."""
    BUSY = "busy"
    UNEXPECTED = "unexpected"


class _Message(BaseModel):
    """The part of the envelope that tells done from refused."""

    success: bool
    msg: str = ""


def stand(answer: Answer) -> Standing:
    """Tell what the answer to a read is good for.

    | seen | standing |
    | --- | --- |
    | 200 with a body that is not HTML | usable |
    | 307, 401, bare 404, 200 HTML | session gone |
    | empty 403 | forbidden |
    | empty 200, 408, 425, 429, any 5xx | busy |
    | anything else | unexpected |
    """
    if is_unauthenticated(answer) or (answer.status == 200 and is_html(answer)):
        return Standing.SESSION_GONE
    if answer.status == 403 and not answer.body:
        return Standing.FORBIDDEN
    if answer.status == 200:
        return Standing.USABLE if answer.body else Standing.BUSY
    if answer.status in (408, 425, 429) or answer.status >= 500:
        return Standing.BUSY
    return Standing.UNEXPECTED


def judge_write(answer: Answer, secrets: Sequence[str] = ()) -> tuple[Verdict, str]:
    """Tell what the answer to a write says, and why in one sentence, in which no secret shows.

    | seen | verdict |
    | --- | --- |
    | 200 JSON `success: true` | applied |
    | 200 or 4xx JSON `success: false` (but 401), 413 | rejected |
    | 307, 401, bare 404, empty 403 | not sent |
    | anything else: 5xx, empty, HTML, no JSON, other JSON | unknown |

    "Not sent" for a missing session or CSRF token: in every version those are checked before any
    handler runs, so the panel provably did nothing. A 413 comes from a proxy before the panel;
    "rejected" lets the chunk be halved, and a look follows either way.
    """
    turned_away = _turned_away(answer)
    if turned_away is not None:
        return turned_away
    message = _message(answer)
    if message is not None and message.success and answer.status == 200:
        return Verdict.APPLIED, ""
    may_refuse = answer.status == 200 or 400 <= answer.status < 500
    if message is not None and not message.success and may_refuse:
        # Before it is cut: the half of a secret is one too.
        return Verdict.REJECTED, shorten(mask(message.msg[:_READ_CHARACTERS], secrets))
    return Verdict.UNKNOWN, f"the answer says nothing: {describe(answer)}"


def _turned_away(answer: Answer) -> tuple[Verdict, str] | None:
    """What never reached a handler of the panel."""
    seen = describe(answer)
    if is_unauthenticated(answer):
        return Verdict.NOT_SENT, f"the panel wants a login or has no such path ({seen})"
    if answer.status == 403 and not answer.body:
        return Verdict.NOT_SENT, f"the panel wants a new CSRF token ({seen})"
    if answer.status == 413:
        return Verdict.REJECTED, "the body is larger than the panel, or a proxy, takes (413)"
    return None


def is_unauthenticated(answer: Answer) -> bool:
    """The ways of saying "not logged in", by version; a bare 404 is also "no such path"."""
    return answer.status in (307, 401) or (
        answer.status == 404 and answer.body.strip() in (b"", _BARE_404)
    )


def is_html(answer: Answer) -> bool:
    """Whether the body is a page: a login form, a proxy's error, somebody else's site."""
    if answer.content_type.startswith(("text/html", "application/xhtml")):
        return True
    return answer.body[:64].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def describe(answer: Answer) -> str:
    """Say what was seen: status and kind of body, never the body itself."""
    if not answer.body:
        return f"{answer.status} without a body"
    if is_html(answer):
        return f"{answer.status} with HTML"
    kind = answer.content_type.partition(";")[0].strip() or "no content type"
    return f"{answer.status} with {len(answer.body)} bytes of {kind}"


def _message(answer: Answer) -> _Message | None:
    try:
        return _Message.model_validate_json(answer.body, strict=True)
    except ValidationError:
        return None
