"""The outcome table, row by row."""

import pytest

from controller.core.effects import Verdict
from controller.panels.api.envelope import Answer
from controller.panels.api.outcomes import Standing, describe, judge_write, stand
from desired_state.model.ids import NodeName

DONE = b'{"success":true,"msg":"","obj":null}'
REFUSED = b'{"success":false,"msg":"Something went wrong (Duplicate email: bob\\n)","obj":null}'
PAGE = b"<!DOCTYPE html><html></html>"
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
EXPIRED = b'{"success":false,"msg":"Your session has expired, please log in again"}'


def answer(status: int, body: bytes, kind: str = JSON) -> Answer:
    return Answer(NodeName("nl-1"), "POST", "panel/api/x", status, body, content_type=kind)


WRITES = [
    pytest.param(200, DONE, JSON, Verdict.APPLIED, id="200 success"),
    pytest.param(200, REFUSED, JSON, Verdict.REJECTED, id="200 refused"),
    pytest.param(403, REFUSED, JSON, Verdict.REJECTED, id="403 token may not"),
    pytest.param(413, PAGE, HTML, Verdict.REJECTED, id="413 from a proxy"),
    pytest.param(307, b"", "", Verdict.NOT_SENT, id="307 to the login"),
    pytest.param(401, b"", "", Verdict.NOT_SENT, id="401 empty"),
    pytest.param(401, EXPIRED, JSON, Verdict.NOT_SENT, id="401 JSON of up to 2.8.3"),
    pytest.param(404, b"", "", Verdict.NOT_SENT, id="404 empty"),
    pytest.param(404, b"404 page not found", "text/plain", Verdict.NOT_SENT, id="404 bare"),
    pytest.param(403, b"", "", Verdict.NOT_SENT, id="403 empty"),
    pytest.param(404, PAGE, HTML, Verdict.UNKNOWN, id="404 page of a proxy"),
    pytest.param(403, PAGE, HTML, Verdict.UNKNOWN, id="403 page of a filter"),
    pytest.param(200, b"", "", Verdict.UNKNOWN, id="200 empty"),
    pytest.param(200, b"", JSON, Verdict.UNKNOWN, id="200 empty, called JSON"),
    pytest.param(200, PAGE, HTML, Verdict.UNKNOWN, id="200 HTML"),
    pytest.param(200, PAGE, JSON, Verdict.UNKNOWN, id="200 HTML, called JSON"),
    pytest.param(200, DONE[:-9], JSON, Verdict.UNKNOWN, id="200 truncated"),
    pytest.param(200, b"ok", "text/plain", Verdict.UNKNOWN, id="200 no JSON"),
    pytest.param(200, b'{"ok":true}', JSON, Verdict.UNKNOWN, id="200 other JSON"),
    pytest.param(200, b'{"success":"true"}', JSON, Verdict.UNKNOWN, id="200 success as text"),
    pytest.param(200, b"null", JSON, Verdict.UNKNOWN, id="200 null"),
    pytest.param(500, b"", "", Verdict.UNKNOWN, id="500 panic"),
    pytest.param(500, REFUSED, JSON, Verdict.UNKNOWN, id="500 refused"),
    pytest.param(500, DONE, JSON, Verdict.UNKNOWN, id="500 success"),
    pytest.param(502, PAGE, HTML, Verdict.UNKNOWN, id="502"),
    pytest.param(504, b"", "", Verdict.UNKNOWN, id="504"),
    pytest.param(429, b"", "", Verdict.UNKNOWN, id="429"),
    pytest.param(302, b"", "", Verdict.UNKNOWN, id="302 of somebody else"),
    pytest.param(201, DONE, JSON, Verdict.UNKNOWN, id="201 success"),
]


@pytest.mark.parametrize(("status", "body", "kind", "verdict"), WRITES)
def test_write_is_judged_by_the_table(
    status: int, body: bytes, kind: str, verdict: Verdict
) -> None:
    judged, cause = judge_write(answer(status, body, kind))

    assert verdict is judged
    assert (cause == "") is (verdict is Verdict.APPLIED)


def test_refusal_keeps_the_panels_sentence_on_one_line() -> None:
    _, cause = judge_write(answer(200, REFUSED))

    assert "Something went wrong (Duplicate email: bob )" == cause


def test_refusal_of_any_length_is_cut() -> None:
    body = b'{"success":false,"msg":"' + b"x" * 5_000 + b'"}'

    _, cause = judge_write(answer(200, body))

    assert "x" * 200 + "..." == cause


READS = [
    pytest.param(200, DONE, JSON, Standing.USABLE, id="200 JSON"),
    pytest.param(200, b"plain", "text/plain", Standing.USABLE, id="200 of another kind"),
    pytest.param(200, PAGE, HTML, Standing.SESSION_GONE, id="200 HTML"),
    pytest.param(307, b"", "", Standing.SESSION_GONE, id="307"),
    pytest.param(401, b"", "", Standing.SESSION_GONE, id="401 empty"),
    pytest.param(401, EXPIRED, JSON, Standing.SESSION_GONE, id="401 JSON"),
    pytest.param(404, b"", "", Standing.SESSION_GONE, id="404 empty"),
    pytest.param(404, b"404 page not found", "", Standing.SESSION_GONE, id="404 bare"),
    pytest.param(403, b"", "", Standing.FORBIDDEN, id="403 empty"),
    pytest.param(200, b"", "", Standing.BUSY, id="200 empty"),
    pytest.param(500, b"", "", Standing.BUSY, id="500"),
    pytest.param(502, PAGE, HTML, Standing.BUSY, id="502"),
    pytest.param(429, b"", "", Standing.BUSY, id="429"),
    pytest.param(404, PAGE, HTML, Standing.UNEXPECTED, id="404 page"),
    pytest.param(403, PAGE, HTML, Standing.UNEXPECTED, id="403 page"),
    pytest.param(301, b"", "", Standing.UNEXPECTED, id="301"),
    pytest.param(400, b"", "", Standing.UNEXPECTED, id="400"),
]


@pytest.mark.parametrize(("status", "body", "kind", "standing"), READS)
def test_read_stands_by_the_table(status: int, body: bytes, kind: str, standing: Standing) -> None:
    assert standing is stand(answer(status, body, kind))


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (404, b"", "", "404 without a body"),
        (200, PAGE, HTML, "200 with HTML"),
        (200, b"\n <HTML>secret", JSON, "200 with HTML"),
        (200, b"secret", "text/plain; charset=utf-8", "200 with 6 bytes of text/plain"),
        (200, b"secret", "", "200 with 6 bytes of no content type"),
    ],
)
def test_description_tells_the_kind_of_a_body_and_never_the_body(
    status: int, body: bytes, kind: str, text: str
) -> None:
    assert text == describe(answer(status, body, kind))
