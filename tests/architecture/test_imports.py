"""The import contracts of pyproject.toml hold, and each of them can fail."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.architecture.source import PACKAGES, ROOT

LINT = Path(sys.executable).with_name("lint-imports")

# One wrong import for each contract, by its first words.
WRONG = {
    "Entrances and controller": ("bot/wrong.py", "import admin"),
    "Inside desired_state": ("desired_state/model/wrong.py", "import desired_state.store"),
    "Inside controller": ("controller/panels/wrong.py", "import controller.runtime"),
    "Of ours, the core": ("controller/core/wrong.py", "import desired_state.links"),
    "Pure packages": ("desired_state/links/wrong.py", "import asyncio"),
    "The simulator shares": ("simulator/wrong.py", "import desired_state.model"),
    "Only admin and bot": ("subscription/wrong.py", "import payments"),
    "Only the cli": ("admin/wrong.py", "import simulator"),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [LINT, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_contracts_are_kept() -> None:
    result = lint(ROOT)

    assert result.returncode == 0, result.stdout


def test_each_contract_is_broken_by_one_wrong_import(tmp_path: Path) -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    names = [contract["name"] for contract in contracts["contracts"]]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda d, fs: [f for f in fs if _left_out(d, f)],
        )
    for file, line in WRONG.values():
        (tmp_path / file).write_text(f'"""Wrong on purpose."""\n{line}\n')

    report = lint(tmp_path).stdout

    broken = [name for name in names if f"{name} BROKEN" in report]
    assert names == broken, report
    assert len(WRONG) == len(names)


def _left_out(folder: str, name: str) -> bool:
    """Leave the packages only: the contracts of an empty house."""
    kept = {"__init__.py", "environment.py", "service.py", "settings.py"}
    return Path(folder, name).is_file() and name not in kept
