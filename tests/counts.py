"""What a run says: its seed at the start; at the end what its tests counted, and how many they were.

A pytest plugin with the fixtures `seed`, `rng`, `report_count` and `report_line`. It loads nothing of
ours: a test runs it in a folder of its own. Not here: switches of a run (`tests/conftest.py`).
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DEFAULT_SEED = 20261123
COUNT = "x3fleet-count"
LINE = "x3fleet-line"


def pytest_report_header() -> list[str]:
    """Print what a person needs to run the same again."""
    profile = "deep" if os.environ.get("X3FLEET_TEST_DEEP") else "test"
    return [f"seed: {seed_of_run()}, hypothesis profile: {profile}"]


def seed_of_run() -> int:
    """Return the seed that this run prints."""
    return int(os.environ.get("X3FLEET_TEST_SEED") or DEFAULT_SEED)


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture
def seed() -> int:
    """Give the seed of this run, for children that need one of their own."""
    return seed_of_run()


@pytest.fixture
def rng() -> random.Random:
    """Give randomness that every run repeats."""
    return random.Random(seed_of_run())


@pytest.fixture
def report_count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Register counts for the summary; equal names are added up over tests and workers.

    Use: `report_count({"fault plans": 20642, "violations": 0})`. One call is one line.
    """

    def report(counts: dict[str, int]) -> None:
        request.node.user_properties.append((COUNT, counts))

    return report


@pytest.fixture
def report_line(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Register a line for the summary, where captured output would not be seen."""

    def report(text: str) -> None:
        request.node.user_properties.append((LINE, text))

    return report


# -- the last lines --------------------------------------------------------------------------------


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what tests had to say, what they counted and how many they were.

    With X3FLEET_TEST_TOTALS the runs of one target add up in that file.
    """
    if hasattr(config, "workerinput"):
        return  # a worker of xdist: its reports reach the controller, which counts them
    totals = _count(terminalreporter)
    path = os.environ.get("X3FLEET_TEST_TOTALS")
    if path:
        totals = _add_to(Path(path), totals)
    terminalreporter.section("counts of all runs" if path else "counts")
    for line in _lines(terminalreporter):
        terminalreporter.line(line)
    for names, values in totals.counts.items():
        pairs = zip(names, values, strict=True)
        terminalreporter.line(", ".join(f"{name}: {value}" for name, value in pairs))
    outcomes = ", ".join(f"{name}: {value}" for name, value in sorted(totals.outcomes.items()))
    terminalreporter.line(f"tests: {totals.tests} ({outcomes}), seed: {seed_of_run()}")


@dataclass
class Totals:
    """Outcomes of tests, and what `report_count` was told, by the names of one line."""

    outcomes: Counter[str] = field(default_factory=Counter)
    counts: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    @property
    def tests(self) -> int:
        """An error in a fixture stands beside the test that it belongs to."""
        return self.outcomes.total() - self.outcomes["error"]

    def add(self, names: tuple[str, ...], values: list[int]) -> None:
        before = self.counts.get(names, [0] * len(names))
        self.counts[names] = [a + b for a, b in zip(before, values, strict=True)]


def _count(reporter: pytest.TerminalReporter) -> Totals:
    totals = Totals()
    for outcome in ("passed", "failed", "skipped", "xfailed", "xpassed", "error"):
        totals.outcomes[outcome] += len(reporter.stats.get(outcome, []))
    for value in _properties(reporter, COUNT):
        totals.add(tuple(value), list(value.values()))
    totals.outcomes = +totals.outcomes
    return totals


def _lines(reporter: pytest.TerminalReporter) -> list[str]:
    return [str(value) for value in _properties(reporter, LINE)]


def _properties(reporter: pytest.TerminalReporter, kind: str) -> Iterator[Any]:
    """Yield what tests registered; it travels with their reports, from workers too."""
    for reports in reporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                yield from (value for name, value in report.user_properties if name == kind)


def _add_to(path: Path, run: Totals) -> Totals:
    """Add this run to the totals on disk and give back the sum."""
    if path.exists():
        earlier = json.loads(path.read_text())
        run.outcomes.update(earlier["outcomes"])
        for names, values in earlier["counts"]:
            run.add(tuple(names), values)
    counts = [[list(names), values] for names, values in run.counts.items()]
    path.write_text(json.dumps({"outcomes": run.outcomes, "counts": counts}))
    return run
