"""What every test has: a seed, clean settings, counts that the last line of a run adds up.

Here: command-wide switches (slow, live), hypothesis profiles, the `report_count` fixture.
Not here: builders and fakes; they stand in `tests/fakes` and beside the tests that use them.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

DEFAULT_SEED = 20261123
KEEP = "X3FLEET_TEST_"
COUNT = "x3fleet-count"

settings.register_profile("test", max_examples=100, deadline=None, database=None)
settings.register_profile(
    "deep",
    max_examples=5_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("deep" if os.environ.get("X3FLEET_TEST_DEEP") else "test")


# -- switches --------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let the run talk to the one panel that its operator named."""
    host = urlsplit(os.environ.get("X3FLEET_TEST_PANEL_URL", "")).hostname
    if host:
        config.option.allow_hosts = f"{config.option.allow_hosts},{host}"


def pytest_report_header() -> list[str]:
    """Print what a person needs to run the same again."""
    profile = "deep" if os.environ.get("X3FLEET_TEST_DEEP") else "test"
    return [f"seed: {_seed()}, hypothesis profile: {profile}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs more than this run has, and say what that is."""
    live, deep = os.environ.get("X3FLEET_TEST_PANEL_URL"), os.environ.get("X3FLEET_TEST_DEEP")
    for item in items:
        if not live and item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip("no real panel: X3FLEET_TEST_PANEL_URL is not set"))
        if not deep and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip("slow: `make deep` runs it"))


def _seed() -> int:
    return int(os.environ.get("X3FLEET_TEST_SEED") or DEFAULT_SEED)


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture
def seed() -> int:
    """Give the seed of this run, for children that need one of their own."""
    return _seed()


@pytest.fixture
def rng() -> random.Random:
    """Give randomness that every run repeats."""
    return random.Random(_seed())


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the operator's own settings: a test that needs one sets it."""
    for name in [n for n in os.environ if n.startswith("X3FLEET_") and not n.startswith(KEEP)]:
        monkeypatch.delenv(name)


@pytest.fixture
def report_count(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Register counts for the summary; equal names are added up over tests and workers.

    Use: `report_count({"fault plans": 20642, "violations": 0})`. One call is one line.
    """

    def report(counts: dict[str, int]) -> None:
        request.node.user_properties.append((COUNT, counts))

    return report


# -- the last lines --------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests ran and what they counted, added to earlier runs of the same target."""
    tests, counts = _count(terminalreporter)
    path = os.environ.get("X3FLEET_TEST_TOTALS")
    if path:
        tests, counts = _add_to(Path(path), tests, counts)
    terminalreporter.section("counts, in all" if path else "counts")
    for names, values in counts.items():
        terminalreporter.line(
            ", ".join(f"{name}: {value}" for name, value in zip(names, values, strict=True))
        )
    terminalreporter.line(", ".join(f"{k}: {v}" for k, v in sorted(tests.items())))


Counts = dict[tuple[str, ...], list[int]]


def _count(reporter: pytest.TerminalReporter) -> tuple[Counter[str], Counts]:
    tests: Counter[str] = Counter()
    counts: Counts = {}
    for outcome in ("passed", "failed", "skipped", "xfailed", "xpassed", "error"):
        for report in reporter.stats.get(outcome, []):
            tests[outcome] += 1
            for name, value in getattr(report, "user_properties", ()):
                if name == COUNT and report.when == "call":
                    _add(counts, tuple(value), list(value.values()))
    tests["tests"] = sum(tests.values()) - tests["error"]
    return tests, counts


def _add(counts: Counts, names: tuple[str, ...], values: list[int]) -> None:
    before = counts.get(names, [0] * len(names))
    counts[names] = [a + b for a, b in zip(before, values, strict=True)]


def _add_to(path: Path, tests: Counter[str], counts: Counts) -> tuple[Counter[str], Counts]:
    """Add this run to the totals on disk and give back the sum."""
    if path.exists():
        earlier = json.loads(path.read_text())
        tests = tests + Counter(earlier["tests"])
        sums: Counts = {tuple(names): values for names, values in earlier["counts"]}
        for names, values in counts.items():
            _add(sums, names, values)
        counts = sums
    path.write_text(
        json.dumps({"tests": tests, "counts": [[list(k), v] for k, v in counts.items()]})
    )
    return tests, counts
