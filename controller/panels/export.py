"""A panel's own database, fetched into a file and looked into: reads, and writes nothing there.

Callers: `runtime.exporting`. Not here: which nodes are asked, where the file goes.
"""

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
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


def look_into(path: Path) -> int:
    """Open a panel's database, check it whole, and count its clients.

    Raises:
        ExportBroken: it is damaged, or no panel's.
    """
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as found:
            whole = found.execute("PRAGMA integrity_check(1)").fetchone()
            if whole != ("ok",):
                message = f"the panel's database is damaged: {whole[0]}"
                raise ExportBroken(message)
            tables = {name for (name,) in found.execute("SELECT name FROM sqlite_master")}
            missing = sorted(_TABLES - tables)
            if missing:
                message = f"it is no panel's database: no table {missing[0]}"
                raise ExportBroken(message)
            if "clients" in tables:
                return int(found.execute("SELECT count(*) FROM clients").fetchone()[0])
            # Up to 3.0.2 they stand in their inbounds.
            rows = found.execute("SELECT settings FROM inbounds").fetchall()
            return sum(_clients_in(settings) for (settings,) in rows)
    except sqlite3.Error as error:
        message = f"the panel's database does not open: {error}"
        raise ExportBroken(message) from error


def _clients_in(settings: str) -> int:
    try:
        found = json.loads(settings or "{}")
    except ValueError:
        return 0
    clients = found.get("clients") if isinstance(found, dict) else None
    return len(clients) if isinstance(clients, list) else 0


def _refused(answer: Answer) -> PanelBusy:
    """Panels answer 200 whatever happens: what is no database is an envelope that says why."""
    told = parse_envelope(answer, object)
    return PanelBusy(
        answer.node, answer.operation, f"the panel gave no database: {shorten(told.msg)}"
    )
