"""How a command ends: its exit code, and what a person reads when it could not be done.

0 in sync or done, 1 error, 2 drift found, 3 blocked; 130 and 143 when a signal ended it. An error of
ours is one line on stderr with its hint, never a traceback. Callers: `main`, and commands for the
codes. Not here: parsing arguments, tables.
"""

import json
import sys
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

from desired_state.model.errors import X3FleetError
from desired_state.model.legible import legible, legible_json


class Exit(IntEnum):
    """Exit codes; scripts rely on them."""

    DONE = 0
    """In sync, or what was asked for is done."""
    ERROR = 1
    """Could not be done, or a node could not be worked on."""
    DRIFT = 2
    """There is something to do."""
    BLOCKED = 3
    """Something waits for a person."""
    INTERRUPTED = 130
    """Ctrl-C, by the shells' convention."""
    TERMINATED = 143
    """SIGTERM, likewise."""


def report_error(error: Exception, *, as_json: bool) -> Exit:
    """Tell what went wrong: lines on stderr; with `--output json` one document on stdout too."""
    errors = tuple(_ours(error))
    for one in errors:
        for line in _lines(one):
            sys.stderr.write(f"{legible(line)}\n")
    if as_json:
        document = json.dumps({"error": describe(errors[0])}, ensure_ascii=False)
        sys.stdout.write(legible_json(document) + "\n")
    return Exit.ERROR


def report_usage(message: str, words: str = "") -> Exit:
    """Tell that the command line makes no sense; 1, since 2 is "drift found"."""
    command = f"x3fleet {words}".rstrip()
    sys.stderr.write(f"x3fleet: {one_line(message)}; see {command} --help\n")
    return Exit.ERROR


def is_ours(error: Exception) -> bool:
    """Tell whether an error, or every member of a group of them, is one that x3fleet reports."""
    if isinstance(error, ExceptionGroup):
        return all(is_ours(member) for member in error.exceptions)
    return isinstance(error, X3FleetError)


def describe(error: X3FleetError) -> dict[str, Any]:
    """Make the JSON of an error: `code` is stable, the sentence is not."""
    document: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
    }
    faults = getattr(error, "faults", ())
    if faults:
        document["faults"] = [
            {
                "file": fault.file,
                "line": fault.line,
                "column": fault.column,
                "field": fault.field,
                "message": fault.message,
                "hint": fault.hint,
            }
            for fault in faults
        ]
    return document


def one_line(text: str) -> str:
    """Fold a text into one line, without what would steer a terminal."""
    return legible(" ".join(text.split())).rstrip(".")


def _ours(error: Exception) -> Iterator[X3FleetError]:
    if isinstance(error, ExceptionGroup):
        for member in error.exceptions:
            yield from _ours(member)
    elif isinstance(error, X3FleetError):
        yield error


def _lines(error: X3FleetError) -> Iterator[str]:
    # Only manifests have faults; their class is not imported for the sake of every other command.
    faults = getattr(error, "faults", ())
    if faults:
        yield from (str(fault) for fault in faults)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        subject = getattr(error, "subject", "the manifests")
        yield f"x3fleet: {count} in {subject}; nothing was applied"
    else:
        yield f"x3fleet: {one_line(str(error))}"
