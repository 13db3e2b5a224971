"""What a panel gives as its database is a file of a stranger's: looking into it ends, whatever is in it."""

import sqlite3
from contextlib import closing
from threading import Event, Timer

import pytest

from controller.panels.export import ExportBroken, look_into

ENDLESS = (
    "WITH RECURSIVE more(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM more)"
    " SELECT x AS settings FROM more"
)
ENOUGH_S = 5.0
"""After it an endless look is ended from outside, so that the test fails and does not hang."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "panel"


def write(path, *statements) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in ("CREATE TABLE settings (x)", "CREATE TABLE users (x)", *statements):
            database.execute(statement)
        database.commit()


def look(path) -> tuple[int | str, bool]:
    """What was found or refused, and whether it took somebody to end it."""
    given_up = Event()
    timer = Timer(ENOUGH_S, given_up.set)
    timer.start()
    try:
        return look_into(path, given_up), given_up.is_set()
    except ExportBroken as error:
        return str(error), given_up.is_set()
    finally:
        timer.cancel()


def test_an_endless_view_in_the_place_of_inbounds_is_no_panels_database(path) -> None:
    write(path, f"CREATE VIEW inbounds AS {ENDLESS}")

    assert ("it is no panel's database: no table inbounds", False) == look(path)


def test_an_endless_view_in_the_place_of_clients_is_not_read(path) -> None:
    write(
        path, "CREATE TABLE inbounds (settings)", f"CREATE VIEW clients AS {ENDLESS}",
        """INSERT INTO inbounds VALUES ('{"clients": [{}, {}]}')""",
    )  # fmt: skip

    assert (2, False) == look(path)


@pytest.mark.parametrize("settings", [5, b"\xff\x00", None, "[1", "[" * 100_000, ""])
def test_settings_that_are_nonsense_hold_no_clients(path, settings) -> None:
    write(path, "CREATE TABLE inbounds (settings)")
    with closing(sqlite3.connect(path)) as database:
        rows = [(settings,), ('{"clients": [{}]}',)]
        database.executemany("INSERT INTO inbounds VALUES (?)", rows)
        database.commit()

    assert (1, False) == look(path)


def test_a_look_that_was_given_up_on_stops(path) -> None:
    write(path, "CREATE TABLE inbounds (settings TEXT)", "CREATE INDEX i ON inbounds (settings)",
        f"INSERT INTO inbounds {ENDLESS} LIMIT 20000")  # fmt: skip
    given_up = Event()
    given_up.set()

    with pytest.raises(ExportBroken, match="interrupted"):
        look_into(path, given_up)
