"""What is wrong is said at the start, with its place, before anything is sold or contacted."""

from pathlib import Path

import pytest

from desired_state.manifests.errors import ManifestError
from desired_state.manifests.loader import load_bundle
from desired_state.manifests.sources.directory import DirectorySource
from desired_state.model.errors import ConfigError
from desired_state.store.keyring import find_keys
from desired_state.store.settings import load_store_settings

BROKEN = """\
apiVersion: x3fleet/v1
kind: Node
metadata: {name: nl-1}
spec:
  panel:
    url: https://nl1.example.net:99999/
    auth: {username: {env: NL1_USER}, password: hunter2}
---
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: month}
spec:
  title: {ru: "Month", en: "Month"}
  days: thirty
  prices: {XTR: 250}
  nodes: {selector: {country: nl}, count: 1}
"""


@pytest.mark.story("no-validation-at-start")
def test_a_wrong_setting_stops_the_start_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X3FLEET_DATABASE__URL", "mysql://shop:secret-word@db/shop")

    with pytest.raises(ConfigError, match="X3FLEET_DATABASE__URL") as caught:
        load_store_settings()

    assert "secret-word" not in str(caught.value)


@pytest.mark.story("no-validation-at-start")
def test_missing_encryption_keys_stop_the_start_and_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("X3FLEET_DATABASE__URL", "postgresql://shop@db/shop")

    with pytest.raises(ConfigError, match="X3FLEET_ENCRYPTION_KEYS"):
        find_keys(load_store_settings())


@pytest.mark.story("no-validation-at-start")
def test_every_error_of_the_manifests_is_said_at_once_with_its_place(tmp_path: Path) -> None:
    """A port out of range, a password in plain text and days that are no number: none is applied."""
    (tmp_path / "fleet.yaml").write_text(BROKEN)

    with pytest.raises(ManifestError) as caught:
        load_bundle(DirectorySource(tmp_path))

    lines = {(fault.line, fault.field) for fault in caught.value.faults}
    assert {(6, "spec.panel.url"), (7, "spec.panel.auth.password"), (14, "spec.days")} <= lines
    assert "hunter2" not in str(caught.value)
