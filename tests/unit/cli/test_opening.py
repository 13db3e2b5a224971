"""A database's URL is shown without its password, however that was written."""

import pytest
from pydantic import SecretStr

from cli.config import describe
from cli.opening import shown_url
from controller.settings import ControllerSettings
from desired_state.store.settings import DatabaseSettings, StoreSettings


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///x3fleet.db", "sqlite:///x3fleet.db"),
        ("postgresql://u:hunter2@db/f", "postgresql://u:***@db/f"),
        ("postgresql://db/f?user=u&password=hunter2", "postgresql://db/f?password=***&user=u"),
        (
            "postgresql://db/f?sslmode=require&sslpassword=hunter2",
            "postgresql://db/f?sslmode=require&sslpassword=***",
        ),
        ("postgresql://db/f?PASSWORD=hunter2", "postgresql://db/f?PASSWORD=***"),
        ("postgresql://db/f?passfile=/run/pgpass", "postgresql://db/f?passfile=%2Frun%2Fpgpass"),
        (
            "postgresql://db/f?password=hunter2&password=hunter3",
            "postgresql://db/f?password=***",
        ),
    ],
    ids=["embedded", "login", "parameter", "of its key", "in capitals", "a path", "twice"],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    store = StoreSettings(database=DatabaseSettings(url=url), encryption_keys=(SecretStr("k"),))

    assert shown == shown_url(store)
    assert "hunter" not in str(describe(ControllerSettings(store=store)))
