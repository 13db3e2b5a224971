"""The last lines of a run are true: counts add up over tests, over workers and over runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.architecture.source import ROOT

TWO_TESTS = """
def test_one(report_count, report_line):
    report_line("outstanding: a line")
    report_count({"fault plans": 3, "violations": 0})

def test_two(report_count):
    report_count({"fault plans": 2, "violations": 0})

def test_three():
    assert False
"""


def run_twice(folder: Path) -> list[str]:
    """Run two workers over a folder of its own, twice, with one file of totals."""
    (folder / "test_counting.py").write_text(TWO_TESTS)
    settings = {
        **os.environ,
        "X3FLEET_TEST_TOTALS": str(folder / "totals.json"),
        "PYTHONPATH": str(ROOT),
        # Other plugins take longer to load than these tests to run.
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "tests.counts", "-n", "2",
        "--rootdir", str(folder), str(folder),
    ]  # fmt: skip
    return [
        subprocess.run(
            command, cwd=folder, env=settings, capture_output=True, text=True, check=False
        ).stdout
        for _ in range(2)
    ]


def test_counts_add_up_over_workers_and_runs(tmp_path: Path) -> None:
    first, second = run_twice(tmp_path)

    assert "\nfault plans: 5, violations: 0\n" in first
    assert "\ntests: 3 (failed: 1, passed: 2), seed: " in first
    assert "\noutstanding: a line\n" in first
    assert "\nfault plans: 10, violations: 0\n" in second
    assert "\ntests: 6 (failed: 2, passed: 4), seed: " in second
    assert json.loads((tmp_path / "totals.json").read_text()) == {
        "outcomes": {"passed": 4, "failed": 2},
        "counts": [[["fault plans", "violations"], [10, 0]]],
    }
