"""A panel's own database, fetched into a file and looked into: reads, and writes nothing there.

Callers: `runtime.exporting`. Not here: which nodes are asked, where the file goes.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import BinaryIO

from controller.panels.api.body import Sink
from controller.panels.api.envelope import Answer, parse_envelope, shorten
from controller.panels.api.errors import PanelBusy, PanelContractBroken
from controller.panels.api.session import PanelApi

EXPORT_S = 600.0
"""A large database over a slow line; panels from 3.0.2 on cut it after 30 s themselves."""
_PATH, _OLD_PATH = "panel/api/server/getDb", "server/getDb"
_SQLITE, _POSTGRES = b"SQLite format 3\x00", b"PGDMP"
_TABLES = frozenset({"inbounds", "settings", "users"})
"""What every version's database has."""
_STEPS = 10_000
"""Instructions of SQLite's between two looks at whether it is to stop."""


@dataclass(frozen=True, slots=True)
class Export:
    """What a panel gave. `checked`: it was opened and is whole; `clients`: how many it holds, if so."""

    version: str
    checked: bool
    bytes: int
    clients: int | None = None


class ExportBroken(Exception):
    """What came is no whole database of a panel. Stays between here and `runtime.exporting`."""


async def export(api: PanelApi, file: BinaryIO, limit_bytes: int) -> Export:
    """Fetch the database of a panel into an open file; not looked into yet.

    Raises:
        PanelError: it cannot be had.
        SinkBroken: the file cannot be written.
    """
    info = await api.connect()
    paths = [_PATH, _OLD_PATH] if info.features.has_server_api else [_OLD_PATH, _PATH]
    if " to " not in info.version_text:
        paths = paths[:1]
    sink = Sink(file, limit_bytes, EXPORT_S)
    try:
        answer = await api.save(paths[0], sink)
    except PanelContractBroken:
        if len(paths) == 1:
            raise
        # Which version it is, is known between two: at the wrong path nobody seems to be logged in.
        answer = await api.save(paths[1], sink)
    checked = answer.body.startswith(_SQLITE)
    if not checked and not answer.body.startswith(_POSTGRES):
        raise _refused(answer)
    return Export(info.version_text, checked, answer.received_bytes)


def look_into(path: Path, given_up: Event) -> int:
    """Open a panel's database, check it whole, and count its clients; runs nothing that it brings along.

    Args:
        path: the file; whatever a panel, or who stands in its place, sent.
        given_up: once set, SQLite stops within some instructions: a query of theirs may never end.

    Raises:
        ExportBroken: it is damaged, or no panel's, or was given up on.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as found:
            found.set_progress_handler(given_up.is_set, _STEPS)
            found.execute("PRAGMA trusted_schema = OFF")
            found.execute("PRAGMA query_only = ON")
            whole = found.execute("PRAGMA integrity_check(1)").fetchone()
            if whole != ("ok",):
                message = f"the panel's database is damaged: {whole[0]}"
                raise ExportBroken(message)
            # A view under such a name is a query of theirs, and may have no end.
            listed = found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in listed}
            missing = sorted(_TABLES - tables)
            if missing:
                message = f"it is no panel's database: no table {missing[0]}"
                raise ExportBroken(message)
            if "clients" in tables:
                return int(found.execute("SELECT count(*) FROM clients").fetchone()[0])
            # Up to 3.0.2 they stand in their inbounds.
            rows = found.execute("SELECT settings FROM inbounds")
            return sum(_clients_in(settings) for (settings,) in rows)
    except sqlite3.Error as error:
        message = f"the panel's database does not open: {error}"
        raise ExportBroken(message) from error


def _clients_in(settings: object) -> int:
    """Count; a column of SQLite holds whatever was put there, and nonsense holds no clients."""
    if not isinstance(settings, str):
        return 0
    try:
        found = json.loads(settings or "{}")
    except (ValueError, RecursionError):
        return 0
    clients = found.get("clients") if isinstance(found, dict) else None
    return len(clients) if isinstance(clients, list) else 0


def _refused(answer: Answer) -> PanelBusy:
    """Panels answer 200 whatever happens: what is no database is an envelope that says why."""
    told = parse_envelope(answer, object)
    return PanelBusy(
        answer.node, answer.operation, f"the panel gave no database: {shorten(told.msg)}"
    )
