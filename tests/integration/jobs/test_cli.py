"""`x3fleet events` and `x3fleet notifications`, over a database that a controller has written to."""

import json

import pytest

from cli.main import main
from desired_state.store.tables.status import EventRow, NotificationRow, WebhookDeliveryRow
from tests.data.datasets import NL1
from tests.fakes.clock import START
from tests.stores import KEY, opened, run_apart


@pytest.fixture
def backend():
    return "sqlite"


@pytest.fixture
def database(databases, monkeypatch):
    """A database with one event and two notifications, one of them parked."""
    url = databases.ready()
    monkeypatch.setenv("X3FLEET_DATABASE__URL", url)
    monkeypatch.setenv("X3FLEET_ENCRYPTION_KEYS", KEY)
    run_apart(fill(url))
    return url


async def fill(url):
    texts = {"alert": "node/nl-1/Unreachable", "node": NL1, "severity": "warning",
             "condition": "Unreachable", "reason": "Timeout", "at": START}  # fmt: skip
    async with opened(url) as store, store.recording() as session:
        session.add(
            EventRow(
                node=NL1, name="condition_came", at=START, after="Unreachable/Timeout",
                detail="Unreachable/Timeout: no answer", times=3, epoch=2, cycle_id="c1",
            )
        )  # fmt: skip
        session.add(NotificationRow(id=1, state="firing", **texts))
        session.add(NotificationRow(id=2, state="resolved", resolves=1, **texts))
        for number, state, error in ((1, "parked", "HTTP 500"), (2, "delivered", "")):
            session.add(
                WebhookDeliveryRow(
                    notification_id=number, hook="abc", state=state, attempts=12, next_at=START,
                    last_error=error,
                )
            )  # fmt: skip


def call(capsys, *tokens):
    code = main(tokens)
    return code, capsys.readouterr()


def document(capsys, *tokens):
    code, shown = call(capsys, *tokens, "--output", "json")
    assert 0 == code
    return json.loads(shown.out)


def test_events_tell_how_often_and_under_which_epoch(database, capsys):
    (event,) = document(capsys, "events", "--node", NL1)["events"]

    assert (3, "condition_came", "Unreachable/Timeout", 2, "c1") == (
        event["times"], event["name"], event["after"], event["epoch"], event["cycle"],
    )  # fmt: skip
    assert [] == document(capsys, "events", "--node", "another")["events"]


def test_events_are_a_table_for_people(database, capsys):
    _, shown = call(capsys, "events")

    assert ["AT (UTC)", "NODE", "EVENT", "TIMES", "WHAT"] == [
        part.strip() for part in shown.out.splitlines()[0].split("  ") if part.strip()
    ]
    assert "condition_came" in shown.out


def test_notifications_are_listed_newest_first_with_their_deliveries(database, capsys):
    found = document(capsys, "notifications", "list")["notifications"]

    assert [(2, "resolved", 1), (1, "firing", None)] == [
        (one["id"], one["state"], one["resolves"]) for one in found
    ]
    assert ["delivered", "parked"] == [one["deliveries"][0]["state"] for one in found]


def test_only_parked_ones_are_listed_when_asked_for(database, capsys):
    code, shown = call(capsys, "notifications", "list", "--delivery", "parked")

    assert (0, 1) == (code, shown.out.count("Unreachable/Timeout"))
    assert "parked (HTTP 500)" in shown.out


def test_a_replay_is_asked_for_and_an_unknown_number_is_refused(database, capsys):
    assert {"notification": 1, "replayed": True} == document(capsys, "notifications", "replay", "1")

    code, shown = call(capsys, "notifications", "replay", "9")
    assert 1 == code
    assert "there is no notification 9" in shown.err
