"""Tells, for the price of a glance, whether anybody has written to an embedded database.

SQLite counts commits of other connections (`PRAGMA data_version`); a connection that never writes sees
all of them. Callers: the controller, before every panel write. On PostgreSQL there is no such glance
and the caller asks its question as before. Not here: what was written.
"""

import sqlite3
from pathlib import Path

from desired_state.store.engine import Store
from desired_state.store.errors import StoreBusy


class Watch:
    """A connection of its own to the database file, opened at the first glance.

    Not for several threads: a glance takes some microseconds and is made where it is needed.
    """

    def __init__(self, store: Store) -> None:
        self._path = store.engine.url.database if store.is_sqlite else None
        self._connection: sqlite3.Connection | None = None

    def glance(self) -> int | None:
        """Return a number that stays equal while nobody commits; None where there is none.

        Raises:
            StoreBusy: the file cannot be read now.
        """
        if self._path is None or not Path(self._path).is_file():
            return None
        try:
            if self._connection is None:
                uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error as error:
            raise StoreBusy("the database file cannot be read") from error
        return int(version)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
