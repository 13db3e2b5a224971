"""Manifests from texts: a source without files, a node to vary, and the faults that a text has."""

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from desired_state.manifests.bundle import Bundle
from desired_state.manifests.errors import ManifestError
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.sources.source import ManifestFile, ManifestFiles

FOLDER = Path("/etc/fleet")
NODE = """\
apiVersion: x3fleet/v1
kind: Node
metadata:
  name: nl-1
  labels: {country: nl}
spec:
  panel:
    url: https://nl1.example.net:2053/panel-path/
    auth: {token: {env: NL1_TOKEN}}
"""
TARIFF = """\
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: month}
spec:
  title: {ru: "Месяц", en: Month}
  days: 30
"""
POLICY = """\
apiVersion: x3fleet/v1
kind: Policy
metadata: {name: default}
spec:
"""


class Texts:
    """A source of manifests that holds its texts itself."""

    def __init__(self, texts: dict[str, str], folder: Path | None = FOLDER) -> None:
        self.texts = texts
        self.folder = folder

    def fetch(self) -> ManifestFiles:
        files = tuple(
            ManifestFile(name, textwrap.dedent(text).encode(), self.folder)
            for name, text in sorted(self.texts.items())
        )
        return ManifestFiles(files, "r1", "texts")


@pytest.fixture
def load() -> Callable[..., Bundle]:
    """Load one text as `f.yaml`, or several files by name."""

    def loaded(text: str | dict[str, str], folder: Path | None = FOLDER) -> Bundle:
        texts = {"f.yaml": text} if isinstance(text, str) else text
        return load_bundle(Texts(texts, folder))

    return loaded


@pytest.fixture
def faults(load) -> Callable[..., list[str]]:
    """Say all faults of a text, each as it is printed."""

    def found(text: str | dict[str, str], folder: Path | None = FOLDER) -> list[str]:
        with pytest.raises(ManifestError) as caught:
            load(text, folder)
        return [str(fault) for fault in caught.value.faults]

    return found


@pytest.fixture
def node() -> str:
    return NODE


@pytest.fixture
def tariff() -> str:
    return TARIFF


@pytest.fixture
def policy() -> str:
    return POLICY
