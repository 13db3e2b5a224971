"""Log lines: JSON or colours, secrets masked by field, long texts cut, libraries kept quiet."""

import io
import json
import logging

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from controller.telemetry.logging import (
    LONGEST,
    MASK,
    SECRET_FIELDS,
    configure_logging,
    mask_secrets,
)

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
