"""Every line of the story has a test that would have caught it, or a room that will solve it."""

from collections.abc import Callable

from tests.architecture.source import marks
from tests.story.lines import LINES, OUTSTANDING


def test_every_line_is_proved_or_outstanding(
    report_line: Callable[[str], None],
) -> None:
    """What is still to come stands in the summary of every run."""
    proved = marks("story")

    for line, room in OUTSTANDING.items():
        report_line(f"outstanding: {LINES[line]} -> {room}")
    assert [] == [line for line in LINES if line not in proved and line not in OUTSTANDING]


def test_nothing_that_is_proved_is_called_outstanding() -> None:
    proved = marks("story")

    assert {} == {line: proved[line] for line in OUTSTANDING if line in proved}


def test_every_mark_and_every_outstanding_entry_names_a_line() -> None:
    named = {*marks("story"), *OUTSTANDING}

    assert set() == named - set(LINES)
