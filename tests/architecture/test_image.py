"""The image: what goes in, and that its install steps work, without an engine to build it with."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT

INSTRUCTION = re.compile(r"^(?P<word>[A-Z]+) (?P<rest>.*)$", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile in order, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return [(found["word"], found["rest"]) for found in INSTRUCTION.finditer(text)]


def build_stage() -> list[tuple[str, str]]:
    """What stands between the first FROM and the second."""
    stages = [i for i, (word, _) in enumerate(instructions()) if word == "FROM"]
    return instructions()[stages[0] + 1 : stages[1]]


def context() -> set[str]:
    """Paths that .dockerignore lets into the build; it ignores everything and names what may come."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_the_image_holds_every_package_and_no_secret() -> None:
    assert set(PACKAGES) <= context()
    assert context() - set(PACKAGES) == {"requirements/runtime.txt", "examples"}


def test_the_image_runs_as_a_user_without_rights() -> None:
    user = [rest for word, rest in instructions() if word == "USER"]

    assert ["10001"] == user


def test_only_hashed_pins_are_installed() -> None:
    installs = [rest for word, rest in build_stage() if word == "RUN" and "pip install" in rest]

    assert 1 == len(installs)
    assert "--require-hashes" in installs[0]


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "cli/main.py").exists(), reason="cli/main.py does not exist yet")
def test_the_install_steps_make_a_working_command(tmp_path: Path) -> None:
    """The RUN lines of the build stage, in folders of their own, end in an x3fleet that answers."""
    opt, build = tmp_path / "opt", tmp_path / "build"
    moved = {"/opt/x3fleet": str(opt), "/build": str(build)}

    for word, rest in build_stage():
        if word == "COPY":
            copy_into(*(relocate(part, moved) for part in rest.split()))
        else:
            steps = relocate(rest, moved).replace("python -m venv", f"{sys.executable} -m venv", 1)
            subprocess.run(["sh", "-euc", steps], cwd=tmp_path, check=True)

    answer = subprocess.run(
        [opt / "bin/x3fleet", "--help"], cwd=build, capture_output=True, text=True, check=True
    )
    assert "reconcile" in answer.stdout


def relocate(text: str, moved: dict[str, str]) -> str:
    for original, place in moved.items():
        text = re.sub(rf"(?<![\w.]){re.escape(original)}(?=[/\s\"]|$)", shlex.quote(place), text)
    return text


def copy_into(source: str, target: str) -> None:
    if source != ".":
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, target)
        return
    for name in context():
        place = Path(target, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, place)
