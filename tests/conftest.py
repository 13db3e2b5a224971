"""What every test has: clean settings, and a profile of hypothesis.

Here: command-wide switches (slow, live, long). Not here: the seed of a run and what its last lines say
(`tests.counts`); builders and fakes: they stand in
`tests/fakes` and beside the tests that use them.
"""

import os
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

KEEP = "X3FLEET_TEST_"

# Real databases are loaded once, so that one server serves the run.
pytest_plugins = ["tests.counts", "tests.sampling", "tests.stores"]

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs more than this run has, and say what that is; begin with what takes long."""
    live, deep = os.environ.get("X3FLEET_TEST_PANEL_URL"), os.environ.get("X3FLEET_TEST_DEEP")
    for item in items:
        if not live and item.get_closest_marker("live"):
            item.add_marker(pytest.mark.skip("no real panel: X3FLEET_TEST_PANEL_URL is not set"))
        if not deep and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip("slow: `make deep` runs it"))
    # Begun last, one of these would be waited for by everybody else.
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the operator's own settings: a test that needs one sets it."""
    for name in [n for n in os.environ if n.startswith("X3FLEET_") and not n.startswith(KEEP)]:
        monkeypatch.delenv(name)
