"""What tests of fleets in memory share: a database to begin with, panels' tokens, and silence."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.property.fleet import VERSIONS
from tests.property.fleet_life import Life


@pytest.fixture
def fleets(sqlite_template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Life]]:
    """Fleets that may be made; nobody reads their logs, which are a quarter of what they cost."""
    for name in VERSIONS:
        monkeypatch.setenv(f"{name.upper()}_TOKEN", "t" * 48)
    Life.template = sqlite_template
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield Life
    structlog.configure(**before)
