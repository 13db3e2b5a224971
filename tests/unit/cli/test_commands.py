"""Every command is there, says what it does, and ends as documented."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

from cli.exits import Exit, describe, is_ours, one_line, report_error
from cli.main import COMMANDS, GROUPS, main
from desired_state.manifests.errors import Fault, FaultKind, error_of
from desired_state.model.errors import ConfigError

MANUAL = Path(__file__).parents[3] / "docs" / "cli.md"
NO_DOCUMENT = {"manifests schema", "controller", "run"}
"""One prints a document of its own, the others stay and log."""


@pytest.mark.parametrize(("words", "path", "told"), COMMANDS, ids=[c[0] for c in COMMANDS])
def test_a_command_can_be_loaded_and_answers_in_json(words: str, path: str, told: str) -> None:
    module, name = path.split(":")
    command = getattr(importlib.import_module(module), name)

    parameters = inspect.signature(command).parameters
    assert told.endswith(".")
    assert command.__doc__
    assert "output" in parameters or words in NO_DOCUMENT


def test_the_manual_names_every_command_and_no_other() -> None:
    headings = re.findall(
        r"^#+ `x3fleet ([a-z -]+?)(?: [A-Z\[-].*)?`$", MANUAL.read_text(), re.MULTILINE
    )

    assert sorted(words for words, _, _ in COMMANDS) == sorted(headings)
    assert {words.split()[0] for words, _, _ in COMMANDS if " " in words} == set(GROUPS)


@pytest.mark.parametrize(
    ("tokens", "told"),
    {
        "nothing is known of it": (["keyz"], "see x3fleet --help"),
        "inside a group": (["keys", "lst"], "see x3fleet keys --help"),
        "a command's own option": (["keys", "issue", "--fast"], "see x3fleet keys issue --help"),
    }.values(),
)
def test_usage_errors_end_with_1_and_point_to_the_right_help(capsys, tokens, told) -> None:
    code = main(tokens)

    out, err = capsys.readouterr()
    assert (Exit.ERROR, "", 1) == (code, out, err.count("\n"))
    assert told in err


def test_an_error_is_one_line_with_its_hint(capsys) -> None:
    code = report_error(ConfigError("it is\n  wrong.", hint="mend it"), as_json=False)

    assert (Exit.ERROR, ("", "x3fleet: it is wrong. (mend it)\n")) == (code, capsys.readouterr())


def test_an_error_is_a_document_too_where_json_was_asked_for(capsys) -> None:
    report_error(ConfigError("wrong", hint="mend it"), as_json=True)

    assert capsys.readouterr().out == (
        '{"error": {"code": "config", "message": "wrong", "hint": "mend it"}}\n'
    )


def test_faults_of_manifests_are_listed_one_a_line(capsys) -> None:
    faults = [
        Fault("f.yaml", line, 3, "spec.days", "is no number", "write 30", FaultKind.SCHEMA)
        for line in (7, 2)
    ]

    report_error(error_of(faults), as_json=False)

    assert capsys.readouterr().err.splitlines() == [
        "f.yaml:2:3: spec.days: is no number (write 30)",
        "f.yaml:7:3: spec.days: is no number (write 30)",
        "x3fleet: 2 faults in the manifests; nothing was applied",
    ]
    assert [2, 7] == [fault["line"] for fault in describe(error_of(faults))["faults"]]


def test_a_group_of_errors_is_ours_when_all_of_them_are(capsys) -> None:
    """What a task group of several nodes raises."""
    ours = ExceptionGroup("", [ConfigError("a"), ConfigError("b")])
    mixed = ExceptionGroup("", [ConfigError("a"), ValueError("bug")])

    report_error(ours, as_json=False)

    assert (True, False, False) == (is_ours(ours), is_ours(mixed), is_ours(ValueError()))
    assert capsys.readouterr().err == "x3fleet: a\nx3fleet: b\n"


def test_a_bug_shows_its_traceback(monkeypatch) -> None:
    """Nothing of ours is swallowed: only errors that we know become a line."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cli.config.describe", broken)

    with pytest.raises(ZeroDivisionError):
        main(["config", "show"])


def test_one_line_folds_text() -> None:
    assert "a b" == one_line(" a\n\tb. ")
