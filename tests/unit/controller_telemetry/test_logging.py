"""Log lines: JSON or colours, secrets masked by field, long texts cut, libraries kept quiet."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.telemetry.logging import (
    LONGEST,
    LONGEST_TRACEBACK,
    SECRET_FIELDS,
    configure_logging,
    mask_secrets,
)
from controller.telemetry.masking import MASK

SECRET = "hunter2-very-secret-value"


@pytest.fixture(autouse=True)
def as_before():
    """Give structlog and logging back as they were found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level = handlers, level


def lines(**options):
    """Configure over a buffer; returns a logger and a function that reads what it wrote."""
    out = io.StringIO()
    configure_logging(stream=out, **options)
    return structlog.get_logger("test"), out.getvalue


def test_a_line_is_one_json_object_where_the_stream_is_no_terminal():
    log, read = lines()

    log.info("cycle_finished", created=2)

    line = json.loads(read())
    assert ("cycle_finished", "info", 2) == (line["event"], line["level"], line["created"])
    assert line["timestamp"].endswith("Z")


def test_what_was_bound_to_the_task_stands_in_every_line():
    log, read = lines(json=True)

    with structlog.contextvars.bound_contextvars(node="nl-1", cycle_id="abc"):
        log.info("cycle_finished")

    line = json.loads(read())
    assert ("nl-1", "abc") == (line["node"], line["cycle_id"])


def test_lines_below_the_level_are_not_written():
    log, read = lines(level="warning")

    log.info("cycle_finished")

    assert "" == read()


@pytest.mark.parametrize("field", SECRET_FIELDS)
def test_a_field_that_is_named_like_a_secret_is_masked(field):
    assert {field: MASK} == mask_secrets(None, "info", {field: SECRET})


def test_masking_looks_into_what_is_nested():
    event = {"request": {"headers": [{"Cookie": SECRET}, {"X-Auth-Token": SECRET}], "n": 1}}

    shown = mask_secrets(None, "info", event)

    assert {"request": {"headers": [{"Cookie": MASK}, {"X-Auth-Token": MASK}], "n": 1}} == shown


def test_an_absent_secret_is_shown_as_absent():
    assert {"token": None} == mask_secrets(None, "info", {"token": None})


def test_a_long_string_is_cut():
    shown = mask_secrets(None, "info", {"message": "x" * 1000})

    assert "x" * (LONGEST - 1) + "…" == shown["message"]


names = st.sampled_from(SECRET_FIELDS).flatmap(
    lambda name: st.sampled_from([name, name.upper(), f"panel_{name}", f"{name}_value"])
)
shapes = st.recursive(
    st.just(SECRET),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=2)
        | st.dictionaries(st.text(max_size=5), inner, min_size=1, max_size=2)
        | st.tuples(inner)
    ),
    max_leaves=4,
)


@given(name=names, value=shapes, json_lines=st.booleans())
def test_no_secret_reaches_the_output(name, value, json_lines):
    """Whatever holds it, and however deep, a field's name is enough."""
    log, read = lines(json=json_lines)

    log.info("cycle_finished", outer={"deep": {name: value}}, **{name: value})

    assert SECRET not in read()


@pytest.mark.parametrize("json_lines", [True, False], ids=["json", "console"])
def test_a_traceback_shows_no_local_variable(json_lines):
    log, read = lines(json=json_lines)

    def fail(password):
        raise ValueError("refused")

    try:
        fail(SECRET)
    except ValueError:
        log.exception("cycle_broken_off")

    assert "ValueError: refused" in read()
    assert SECRET not in read()


def test_a_library_does_not_tell_which_address_it_asks():
    """The HTTP library says every address at INFO, and up to 2.7.x an address may hold a credential."""
    _, read = lines(json=True)

    logging.getLogger("httpx").info("HTTP Request: GET http://127.0.0.1/secret-path/%s", SECRET)

    assert "" == read()


def test_a_warning_of_a_library_is_a_line_like_ours():
    _, read = lines(json=True)

    logging.getLogger("some.library").warning("something odd")

    assert "something odd" == json.loads(read())["event"]


# -- secrets in free text --------------------------------------------------------------------------

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def drawn(alphabet, size):
    return st.text(alphabet, min_size=size, max_size=size)


words = drawn(LETTERS, 16)
SHAPED = {
    "the UUID of a client": st.tuples(st.uuids().map(str), st.just("{}")),
    "our mark": st.tuples(drawn("abcdefghijklmnopqrstuvwxyz234567", 26), st.just("client {} is seen")),
    "a bearer token": st.tuples(words, st.sampled_from(["Bearer {}", "authorization: bearer {}"])),
    "a password in an address": st.tuples(
        words, st.sampled_from(["https://admin:{}@panel.example.net/", "postgresql://x:{}@db/x"])
    ),
    "a panel's secret path": st.tuples(words, st.just("GET https://panel.example.net:2053/{}/login")),
    "a share link": st.tuples(words, st.sampled_from(["vless://{}@h:443?type=tcp#x", "trojan://{}@h:1"])),
    "a setting": st.tuples(
        words,
        st.sampled_from([
            "password={}", "token: {}", "'password': '{}'", '"totp_secret": "{}"', "x?token={}&y=1",
            "NL1_TOKEN={}", "Set-Cookie: {}; Path=/",
        ]),
    ),
    "a sealed secret": st.tuples(drawn(LETTERS, 60).map("gAAAAA{}".format), st.just("bad {}")),
    "an API token": st.tuples(words.map("x3f_{}".format), st.just("refused {}")),
    "a bot's token": st.tuples(drawn(LETTERS, 35).map("123456789:{}".format), st.just("bot{}/x")),
}  # fmt: skip


class Opaque:
    """Something of somebody else's, whose repr tells too much."""

    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return f"<Thing {self.text}>"


def fail(text):
    raise ValueError(text)


def log_with_traceback(log, text):
    try:
        try:
            fail(text)
        except ValueError as error:
            raise RuntimeError("refused") from error
    except RuntimeError:
        log.exception("cycle_broken_off")


def log_bound(log, text):
    with structlog.contextvars.bound_contextvars(detail=text):
        log.info("cycle_finished")


CARRIERS = {
    "a field": lambda log, text: log.info("cycle_finished", message=text),
    "the end of a long field": lambda log, text: log.info("x", message="y" * 180 + " " + text),
    "a list": lambda log, text: log.info("cycle_finished", causes=[[text]]),
    "a key of a mapping": lambda log, text: log.info("cycle_finished", counts={text: 1}),
    "bytes": lambda log, text: log.info("cycle_finished", body=text.encode()),
    "an object": lambda log, text: log.info("cycle_finished", thing=Opaque(text)),
    "an error's chain": log_with_traceback,
    "what is bound to the task": log_bound,
    "the event itself": lambda log, text: log.warning(text),
    "a library's line": lambda _, text: logging.getLogger("library").warning("said %s", text),
    "a library's traceback": lambda _, text: log_with_traceback(logging.getLogger("library"), text),
}


@pytest.mark.parametrize("carrier", CARRIERS.values(), ids=CARRIERS)
@pytest.mark.parametrize("shaped", SHAPED.values(), ids=SHAPED)
@given(data=st.data(), json_lines=st.booleans())
@settings(max_examples=20)
def test_no_secret_of_a_known_shape_reaches_the_output(carrier, shaped, data, json_lines):
    """Wherever it hides, and whether or not it is cut."""
    secret, sentence = data.draw(shaped)
    log, read = lines(json=json_lines)

    carrier(log, sentence.format(secret))

    shown = read()
    assert shown
    assert not [part for part in (secret, secret[:12]) if part in shown]


@pytest.mark.parametrize(
    "text",
    [
        "3 of 50 clients would go; to let it pass: x3fleet approve ab12ab12ab12",
        "the panel took too long in answering",
        "https://panel.example.net:2053",
        "x3f-abcdefghij-g1-i2 is held by a stranger",
        "plan 0123456789ab, revision 42, node nl-1, 2026-11-23T12:00:00+00:00",
        "Blocked/TooManyDeletes: 9 of 10 would go",
    ],
)
def test_what_is_no_secret_is_left_alone(text):
    assert {"message": text} == mask_secrets(None, "info", {"message": text})


@pytest.mark.timeout(60)
@pytest.mark.parametrize("filler", ["_", "a", "x=", "://", "a-", " token", "1", "a@"])
def test_a_flood_of_text_is_cut_before_it_holds_the_loop(filler):
    """A search whose cost grows with the square would take hours here."""
    flood = filler * 2_000_000

    shown = mask_secrets(None, "info", {"message": flood, "exception": flood})

    assert LONGEST >= len(shown["message"])
    assert LONGEST_TRACEBACK >= len(shown["exception"])
