"""Fixtures: a repository, a pretended ssh, and the settings that lead to them."""

import os
from pathlib import Path

import pytest

from tests.integration.manifests.repositories import FakeSsh, Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "fleet.git")


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSsh:
    ssh = FakeSsh(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{ssh.folder}{os.pathsep}{os.environ['PATH']}")
    return ssh
