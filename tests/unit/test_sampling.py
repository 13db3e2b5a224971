"""What the ordinary run leaves out of a table is spread over it, and `make deep` leaves out nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sampling import choose

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.sampled(3)
@pytest.mark.parametrize("version", ["a", "b", "c"])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_table(kind, version): pass

@pytest.mark.sampled(9)
def test_alone(): pass

@pytest.mark.live
@pytest.mark.sampled(9)
@pytest.mark.parametrize("panel", [1, 2])
def test_real(panel): pass

@pytest.mark.parametrize("case", [1, 2, 3, 4])
def test_whole(case): pass
"""


def run(folder: Path, **settings: str) -> list[str]:
    """Name the tests that a run of its own would run."""
    (folder / "test_some.py").write_text(TESTS)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers =\n  sampled(share): some\n  live: real\n"
    )
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-q", "--collect-only",
            "-p", "tests.counts", "-p", "tests.sampling", str(folder),
        ],
        cwd=folder, capture_output=True, text=True, check=False,
        env={
            **{n: v for n, v in os.environ.items() if not n.startswith("X3FLEET_")},
            "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **settings,
        },
    )  # fmt: skip
    return sorted(line.split("::")[1] for line in done.stdout.splitlines() if "::" in line)


def test_a_run_tries_one_case_of_a_row_and_the_deep_one_tries_all(tmp_path: Path) -> None:
    some = run(tmp_path, X3FLEET_TEST_SEED="5")
    table = [name for name in some if name.startswith("test_table")]

    # Every version and every kind once.
    assert [{"a", "b", "c"}, {"1", "2", "3"}] == [
        {name.split("[")[1].strip("]").split("-")[part] for name in table} for part in (1, 0)
    ]
    assert 3 == len(table)
    assert ["test_alone", "test_real[1]", "test_real[2]"] == some[:3]
    assert 4 == sum(name.startswith("test_whole") for name in some)
    assert table != [n for n in run(tmp_path, X3FLEET_TEST_SEED="6") if n.startswith("test_table")]
    assert 16 == len(run(tmp_path, X3FLEET_TEST_DEEP="1"))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 33, 87])
@pytest.mark.parametrize("share", [2, 3])
def test_all_cases_are_tried_by_as_many_seeds_as_they_are_shared_out_to(
    count: int, share: int
) -> None:
    tried = [choose(count, share, start) for start in range(share)]

    assert set(range(count)) == {i for chosen in tried for i in chosen}
    assert all(chosen or not count for chosen in tried)
