"""Opening the database or a controller for the length of one command.

A database that does not exist is never made by the way: only `db upgrade` and the demo make one.
Callers: every command that needs data. Not here: what is done with it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote

from cyclopts import Parameter

from desired_state.model.errors import ConfigError

if TYPE_CHECKING:
    from controller.service import Controller
    from desired_state.store.engine import Store
    from desired_state.store.settings import StoreSettings
    from desired_state.store.unit_of_work import UnitOfWork

MASK = "***"
ACTOR = "cli"
"""Who asks, as the audit shows it."""

LogLevel = Literal["off", "error", "warning", "info", "debug"]
LogOption = Annotated[
    LogLevel, Parameter(name="--log-level", help="what of the controller's log goes to stderr")
]


@asynccontextmanager
async def opened_store() -> "AsyncIterator[Store]":
    """Open the database of the settings, at this release's version.

    Raises:
        ConfigError: a setting is wrong, or there is no usable encryption key.
        StoreOutdated: there is no database, or it is to be migrated first.
        StoreNewer: it is of a newer release.
    """
    from desired_state.store.engine import open_store
    from desired_state.store.settings import load_store_settings
    from desired_state.store.version import check_version

    settings = load_store_settings()
    require_database(settings)
    async with open_store(settings) as store:
        await check_version(store)
        yield store


@asynccontextmanager
async def unit_of_work() -> "AsyncIterator[UnitOfWork]":
    """Open the database and one transaction of desired state, for commands that only write."""
    from desired_state.store.unit_of_work import begin

    async with opened_store() as store, begin(store, ACTOR) as work:
        yield work


@asynccontextmanager
async def opened_controller(log_level: LogLevel) -> "AsyncIterator[Controller]":
    """Open a controller over the database of the settings; takes no lock.

    Args:
        log_level: what of its log is shown on stderr.

    Raises:
        X3FleetError: as `opened_store`.
    """
    from controller.service import open_controller
    from controller.settings import load_settings
    from controller.telemetry.logging import configure_logging

    settings = load_settings()
    require_database(settings.store)
    # A report tells what the log tells; `off` leaves nothing but it.
    configure_logging(level="critical" if log_level == "off" else log_level)
    async with open_controller(settings) as controller:
        yield controller


def require_database(settings: "StoreSettings") -> None:
    """Refuse an SQLite database that is not there: opening it would make an empty one.

    Raises:
        StoreOutdated: says where it was looked for.
    """
    from desired_state.store.errors import StoreOutdated

    path = settings.database.sqlite_path
    if path is not None and not path.exists():
        raise StoreOutdated(
            f"there is no database at {path.absolute()}",
            hint="run x3fleet db upgrade to make it, or set X3FLEET_DATABASE__URL",
        )


def require_folder(settings: "StoreSettings") -> None:
    """Refuse an SQLite database whose folder is not there.

    Raises:
        ConfigError: names the folder.
    """
    path = settings.database.sqlite_path
    if path is not None and not path.absolute().parent.is_dir():
        raise ConfigError(
            f"the folder {path.absolute().parent} of the database does not exist",
            hint="make it, or set X3FLEET_DATABASE__URL",
        )


def shown_url(settings: "StoreSettings") -> str:
    """Write the database's URL as it may be shown: without a password, wherever it stands in it."""
    url = settings.database.sqlalchemy_url
    told = {name: MASK if _is_secret(name) else value for name, value in url.query.items()}
    shown = url.set(drivername=url.get_backend_name(), query=told)
    return shown.render_as_string(hide_password=True).replace(quote(MASK), MASK)


def _is_secret(parameter: str) -> bool:
    # libpq knows password and sslpassword; passfile is a path.
    name = parameter.lower()
    return name != "passfile" and any(part in name for part in ("pass", "secret", "token"))
