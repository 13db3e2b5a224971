"""What is printed where nobody watches is plain, whole and stable."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from cli.exits import report_error, report_usage
from cli.render import Grid, Output, Page, Text, Tone, ago, count, day, show, to_json
from desired_state.model.errors import X3FleetError

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def test_a_table_outside_a_terminal_is_plain_and_nothing_is_cut(capsys) -> None:
    long = "x" * 300
    grid = Grid(("NODE", "LIVE", "WHY"), (("nl-1", 7, Text("fine", Tone.GOOD)), ("d", 12, long)))

    show(Page({}, (grid, Text("[bold]done[/]", Tone.BAD))), Output.TABLE)

    assert capsys.readouterr().out == (
        f"NODE  LIVE  WHY\nnl-1     7  fine\nd       12  {long}\n[bold]done[/]\n"
    )


def test_a_narrow_window_never_squeezes_the_last_column(capsys, monkeypatch) -> None:
    """Its lines are longer than the window then, which folds them; nothing is cut."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm")
    why = "one two three four five six seven eight nine"

    show(Page({}, (Grid(("NODE", "WHY"), (("netherlands-1", why),)),)), Output.TABLE)

    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [
        "NODE           WHY",
        "netherlands-1  one two three four five six",
        "               seven eight nine",
    ] == [line.rstrip() for line in plain.splitlines()]


def test_an_empty_table_says_what_to_do(capsys) -> None:
    show(Page({}, (Grid(("KEY",), (), empty="no key; issue one"),)), Output.TABLE)

    assert capsys.readouterr().out == "no key; issue one\n"


def test_colour_is_for_terminals_alone(capsys, monkeypatch) -> None:
    """Whatever the environment asks for."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    show(Page({}, (Text("bad", Tone.BAD),)), Output.TABLE)
    piped = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    show(Page({}, (Text("bad", Tone.BAD),)), Output.TABLE)

    assert "bad\n" == piped
    assert "\x1b[" in capsys.readouterr().out


def test_json_is_one_line_with_moments_as_text(capsys) -> None:
    show(Page({"at": NOW, "title": "Месяц", "none": None}), Output.JSON)

    assert capsys.readouterr().out == (
        '{"at": "2026-11-23T09:00:00+00:00", "title": "Месяц", "none": null}\n'
    )


def test_a_value_without_a_form_in_json_is_a_bug() -> None:
    with pytest.raises(TypeError, match="set has no form"):
        to_json({"x": {1}})


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [
        (0, "node", "0 nodes"), (1, "node", "1 node"), (2, "policy", "2 policies"),
        (2, "key", "2 keys"), (1, "policy", "1 policy"),
    ],
)  # fmt: skip
def test_how_many(number: int, noun: str, told: str) -> None:
    assert told == count(number, noun)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7_199, "1 h"), (200_000, "2 d"), (-5, "0 s")],
)
def test_how_long_ago(seconds: int, told: str) -> None:
    assert told == ago(NOW - timedelta(seconds=seconds), NOW)


def test_a_day_and_no_day() -> None:
    assert ("2026-11-23", "no end", "") == (day(NOW), day(None), ago(None, NOW))


HOSTILE = "\x1b[31mEVIL\x9b1m\u202e"
SHOWN = "\\x1b[31mEVIL\\x9b1m\\u202e"


def test_what_a_panel_chose_never_steers_the_terminal(capsys, monkeypatch) -> None:
    """On a terminal too: the only escape sequences are the colours of our own."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    grid = Grid(("TAG", "WHY"), ((HOSTILE, Text(HOSTILE, Tone.BAD)),), empty=HOSTILE)

    show(Page({}, (grid, HOSTILE, Text(HOSTILE, Tone.WARN))), Output.TABLE)

    plain = re.sub(r"\x1b\[(?:0|1|33|1;31)m", "", capsys.readouterr().out)
    assert [
        f"{'TAG':{len(SHOWN)}}  WHY",
        f"{SHOWN}  {SHOWN}",
        SHOWN,
        SHOWN,
    ] == [line.rstrip() for line in plain.splitlines()]


def test_a_line_end_in_a_cell_makes_no_row_of_its_own(capsys) -> None:
    grid = Grid(("TAG", "WHY"), (("a\nb  in sync", "drifted"),))

    show(Page({}, (grid, "two\nlines")), Output.TABLE)

    assert (
        "TAG              WHY\na\\x0ab  in sync  drifted\ntwo\nlines\n" == capsys.readouterr().out
    )


def test_json_carries_what_a_panel_chose_as_escapes(capsys) -> None:
    show(Page({"guid": HOSTILE}), Output.JSON)

    line = capsys.readouterr().out
    assert '{"guid": "\\u001b[31mEVIL\\u009b1m\\u202e"}\n' == line
    assert {"guid": HOSTILE} == json.loads(line)


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "table"])
def test_an_error_that_repeats_a_panel_is_legible(capsys, as_json: bool) -> None:
    report_error(X3FleetError(f"seen {HOSTILE}", hint=HOSTILE), as_json=as_json)

    told = capsys.readouterr()
    assert f"x3fleet: seen {SHOWN} ({SHOWN})\n" == told.err
    assert all(character.isprintable() or character == "\n" for character in told.out)


def test_a_wrong_command_line_is_repeated_legibly(capsys) -> None:
    report_usage(f"Unknown command {HOSTILE}")

    assert f"x3fleet: Unknown command {SHOWN}; see x3fleet --help\n" == capsys.readouterr().err
