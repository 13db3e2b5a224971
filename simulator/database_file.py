"""The panel's database as the file that its export gives: a real SQLite file with the panel's tables.

Tables and columns are those of real panels, as far as an exported file is looked into: inbounds with their
clients, records and attachments from 3.1.0 on, traffic rows, settings, the user. Callers: `status` (`getDb`).
Not here: reading such a file back (a restore of the simulated panel is `Panel.restore`).
"""

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from simulator.v3_records import view_record

if TYPE_CHECKING:
    from simulator.app import Panel

_COMMON = """
CREATE TABLE users (id integer PRIMARY KEY AUTOINCREMENT, username text, password text);
CREATE TABLE settings (id integer PRIMARY KEY AUTOINCREMENT, key text, value text);
CREATE TABLE inbounds (id integer PRIMARY KEY AUTOINCREMENT, user_id integer, up integer, down integer,
 total integer, remark text, enable numeric, expiry_time integer, listen text, port integer, protocol text,
 settings text, stream_settings text, tag text, sniffing text);
CREATE TABLE client_traffics (id integer PRIMARY KEY AUTOINCREMENT, inbound_id integer, enable numeric,
 email text UNIQUE, up integer, down integer, expiry_time integer, total integer, reset integer DEFAULT 0);
CREATE TABLE inbound_client_ips (id integer PRIMARY KEY AUTOINCREMENT, client_email text UNIQUE, ips text);
CREATE TABLE outbound_traffics (id integer PRIMARY KEY AUTOINCREMENT, tag text UNIQUE);
"""
_RECORDS = """
CREATE TABLE clients (id integer PRIMARY KEY AUTOINCREMENT, email text NOT NULL, sub_id text, uuid text,
 enable numeric);
CREATE TABLE client_inbounds (client_id integer, inbound_id integer, flow_override text,
 created_at integer, PRIMARY KEY (client_id, inbound_id));
"""


def database_file(panel: "Panel") -> bytes:
    """Write what the panel holds into an SQLite file, in memory, and give its bytes."""
    with closing(sqlite3.connect(":memory:")) as made:
        made.executescript(_COMMON)
        _fill(made, panel)
        if panel.version >= (3, 1, 0):
            made.executescript(_RECORDS)
            _fill_records(made, panel)
        made.commit()
        return made.serialize()


def _fill(made: sqlite3.Connection, panel: "Panel") -> None:
    state = panel.state
    made.execute("INSERT INTO users (username, password) VALUES (?, ?)", (state.username, "hashed"))
    made.execute("INSERT INTO settings (key, value) VALUES ('webPort', '2053')")
    made.executemany(
        "INSERT INTO inbounds (id, user_id, remark, enable, listen, port, protocol, settings,"
        " stream_settings, tag) VALUES (?, 1, ?, ?, ?, ?, ?, ?, '{}', ?)",
        [
            (row.id, row.remark, row.enable, row.listen, row.port, row.protocol,
             row.settings.text, row.tag)
            for row in state.inbounds.values()
        ],
    )  # fmt: skip
    made.executemany(
        "INSERT INTO client_traffics (id, inbound_id, enable, email, up, down, expiry_time, total,"
        " reset) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (row.id, row.inbound_id, row.enable, row.email, row.up, row.down, row.expiry_ms,
             row.total, row.reset_days)
            for row in state.traffic
        ],
    )  # fmt: skip


def _fill_records(made: sqlite3.Connection, panel: "Panel") -> None:
    views = [(record.id, view_record(record)) for record in panel.state.records.values()]
    made.executemany(
        "INSERT INTO clients (id, email, sub_id, uuid, enable) VALUES (?, ?, ?, ?, ?)",
        [
            (number, view.get("email"), view.get("subId"), view.get("uuid"), view.get("enable"))
            for number, view in views
        ],
    )
    made.executemany(
        "INSERT INTO client_inbounds (client_id, inbound_id) VALUES (?, ?)",
        [(record, inbound) for inbound, records in panel.state.links.items() for record in records],
    )
