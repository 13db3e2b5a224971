"""The database's branch of the error tree.

StoreError               the database cannot do what was asked
├── StoreBusy            another writer held it for longer than we wait
├── StoreUnreachable     no connection
├── StoreOutdated        its tables are of an older release: migrate first
├── StoreNewer           its tables are of a newer release: refused
├── StoreUnprepared      it has no installation yet
├── ConcurrentUpdate     a row changed or appeared in between
└── SecretUnreadable     a ciphertext is of other keys, or of another table, row or field

SQLAlchemy's and the drivers' exceptions stop in `store.engine`.
"""

from desired_state.model.errors import X3FleetError


class StoreError(X3FleetError):
    """The database cannot do what was asked."""

    code = "store"


class StoreBusy(StoreError):
    """Another writer held the database for longer than we wait."""

    code = "store_busy"


class StoreUnreachable(StoreError):
    """The database does not answer."""

    code = "store_unreachable"


class StoreOutdated(StoreError):
    """The database is of an older release, or empty."""

    code = "store_outdated"


class StoreNewer(StoreError):
    """The database is of a newer release."""

    code = "store_newer"


class StoreUnprepared(StoreError):
    """The database has tables but no installation."""

    code = "store_unprepared"


class ConcurrentUpdate(StoreError):
    """A row changed or appeared between our look and our write."""

    code = "concurrent_update"


class SecretUnreadable(StoreError):
    """A stored secret cannot be opened with the configured keys, or stands in a foreign place."""

    code = "secret_unreadable"
