"""Webhooks over a real receiver: signed, retried, parked, replayed; a restart loses nothing."""

import asyncio
import json
from contextlib import suppress

import pytest
from sqlalchemy import select

from controller.jobs.webhooks import WebhookSender, name_hook, next_delay_s, sign
from controller.settings import WebhookSettings
from desired_state.commands import notifications
from desired_state.commands.errors import NotFound
from desired_state.queries.notifications import list_notifications
from desired_state.store.tables.desired import InstallationRow
from desired_state.store.tables.status import NotificationRow, WebhookDeliveryRow
from desired_state.store.tables.types import DESIRED
from desired_state.store.unit_of_work import begin
from tests.data.datasets import NL1
from tests.fakes.authorizer import writes_refused
from tests.integration.jobs.receiver import receiving

SECRET = "a secret of thirty characters"


@pytest.fixture
def backend(request):
    return getattr(request, "param", "sqlite")


@pytest.fixture
async def receiver():
    async with receiving(SECRET) as listening:
        yield listening


@pytest.fixture
def notify(fleet):
    """Store a notification, as the alerts job does."""

    async def store(**columns):
        values = {
            "at": fleet.clock.now(), "alert": f"node/{NL1}/Unreachable", "state": "firing",
            "severity": "warning", "node": NL1, "condition": "Unreachable", "reason": "Timeout",
            "message": "no answer within 5 s ✗",
        } | columns  # fmt: skip
        async with fleet.recording() as session:
            row = NotificationRow(**values)
            session.add(row)
            await session.flush()
            return row.id

    return store


def sender(store, *urls, **options):
    """A sender as a fresh process makes it: it remembers nothing."""
    settings = {"urls": urls, "secret": SECRET, "attempts": 3, "timeout_s": 2} | options
    return WebhookSender(store, WebhookSettings(**settings), store.clock)


async def send(store, *urls, **options):
    """One round of a fresh sender; gives the number of attempts."""
    one = sender(store, *urls, **options)
    async with one.client() as client:
        return await one.send_due(client)


async def deliveries(store):
    async with store.reading() as session:
        query = select(WebhookDeliveryRow).order_by(WebhookDeliveryRow.notification_id)
        return list(await session.scalars(query))


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
async def test_a_notification_arrives_once_with_a_signature_that_holds(fleet, receiver, notify):
    number = await notify()

    attempts = [await send(fleet, receiver.url) for _ in range(3)]

    async with fleet.reading() as session:
        name = await session.scalar(select(InstallationRow.name))
    assert [1, 0, 0] == attempts
    assert {
        f"{name}-{number}": {
            "id": f"{name}-{number}", "installation": name, "at": fleet.clock.now().isoformat(),
            "alert": f"node/{NL1}/Unreachable", "state": "firing", "severity": "warning",
            "node": NL1, "condition": "Unreachable", "reason": "Timeout",
            "message": "no answer within 5 s ✗", "resolves": None,
        }
    } == receiver.accepted  # fmt: skip


async def test_a_receiver_with_another_secret_refuses(fleet, notify):
    await notify()

    async with receiving("another secret of its own") as stranger:
        await send(fleet, stranger.url)

    assert {} == stranger.accepted
    assert ["HTTP 401"] == [row.last_error for row in await deliveries(fleet)]


async def test_a_changed_body_or_time_breaks_the_signature():
    signatures = {
        sign("secret", "1700000000", b"body"),
        sign("secret", "1700000000", b"b0dy"),
        sign("secret", "1700000001", b"body"),
        sign("secre1", "1700000000", b"body"),
    }

    assert 4 == len(signatures)


async def test_a_failed_delivery_is_retried_with_growing_pauses_across_restarts(
    fleet, receiver, notify
):
    """Every round is a new sender: how far a delivery is stands in the database alone."""
    await notify()
    receiver.answers = [500, None]

    attempts = []
    for _ in range(40):
        attempts.append(await send(fleet, receiver.url, first_retry_s=10))
        fleet.clock.advance(seconds=1)

    assert [0, 10, 30] == [second for second, made in enumerate(attempts) if made]
    assert 1 == len(receiver.accepted)
    (row,) = await deliveries(fleet)
    assert ("delivered", 3, "") == (row.state, row.attempts, row.last_error)


def test_pauses_double_up_to_the_longest():
    settings = WebhookSettings(first_retry_s=5, longest_retry_s=60)

    assert [5, 10, 20, 40, 60, 60] == [next_delay_s(n, settings) for n in range(1, 7)]


async def test_after_the_last_attempt_it_is_parked_and_asked_no_more(fleet, receiver, notify):
    await notify()
    receiver.answers = [500] * 10

    for _ in range(5):
        await send(fleet, receiver.url)
        fleet.clock.advance(hours=2)

    (row,) = await deliveries(fleet)
    assert ("parked", 3, "HTTP 500") == (row.state, row.attempts, row.last_error)
    assert 3 == len(receiver.requests)


async def test_a_replay_sends_a_parked_one_again_under_the_same_id(fleet, receiver, notify):
    number = await notify()
    receiver.answers = [500] * 3
    for _ in range(3):
        await send(fleet, receiver.url)
        fleet.clock.advance(hours=2)

    async with begin(fleet, "test") as work:
        await notifications.replay(work, number)
    attempts = [await send(fleet, receiver.url) for _ in range(2)]

    ids = {headers["x-x3fleet-delivery"] for headers, _ in receiver.requests}
    assert [1, 0] == attempts
    assert [("delivered", 1)] == [(row.state, row.attempts) for row in await deliveries(fleet)]
    assert 1 == len(ids) == len(receiver.accepted)


async def test_what_was_delivered_may_be_delivered_again_and_harms_nothing(fleet, receiver, notify):
    number = await notify()
    await send(fleet, receiver.url)
    before = dict(receiver.accepted)

    async with begin(fleet, "test") as work:
        await notifications.replay(work, number)
    await send(fleet, receiver.url)

    assert 2 == len(receiver.requests)
    assert before == receiver.accepted


async def test_a_crash_after_the_answer_delivers_twice_under_one_id(fleet, receiver, notify):
    """The answer came and the process died before it could note it."""
    await notify()
    one = sender(fleet, receiver.url)
    async with one.client() as client:
        await one._take_in()
        async with writes_refused(fleet, "status"):
            with pytest.raises(ExceptionGroup):
                await one.send_due(client)

    await send(fleet, receiver.url)

    assert (2, 1) == (len(receiver.requests), len(receiver.accepted))


async def test_a_redirect_is_refused(fleet, receiver, notify):
    await notify()
    async with receiving(SECRET, answers=[307], location=receiver.url) as moved:
        await send(fleet, moved.url)

    assert [] == receiver.requests
    (row,) = await deliveries(fleet)
    assert "a redirect, which is not followed: HTTP 307" == row.last_error


async def test_a_receiver_that_hangs_keeps_no_other_waiting(fleet, receiver, notify):
    """Each hook has deliveries of its own; the hanging one is tried again later."""
    await notify()
    async with receiving(SECRET, answers=[None]) as silent:
        await send(fleet, silent.url, receiver.url)

    states = {row.hook: row.state for row in await deliveries(fleet)}
    assert {name_hook(silent.url): "waiting", name_hook(receiver.url): "delivered"} == states


async def test_a_new_hook_is_not_flooded_with_the_past(fleet, receiver, notify):
    await notify()
    fleet.clock.advance(days=2)
    young = await notify()

    await send(fleet, receiver.url)

    bodies = [json.loads(body)["id"].rsplit("-", 1)[1] for _, body in receiver.requests]
    assert [str(young)] == bodies


async def test_no_address_and_no_secret_is_stored_or_shown(fleet, notify, capsys):
    await notify()
    url = "http://127.0.0.1:9/hook-with-a-token-in-it"

    await send(fleet, url)

    (row,) = await deliveries(fleet)
    shown = repr(row.__dict__) + repr(sender(fleet, url)) + "".join(capsys.readouterr())
    assert "ConnectError" == row.last_error
    assert not [secret for secret in (url, "hook-with", SECRET) if secret in shown]


async def test_replaying_what_does_not_exist_is_refused(fleet):
    with pytest.raises(NotFound, match="there is no notification 9"):
        async with begin(fleet, "test") as work:
            await notifications.replay(work, 9)


async def test_the_list_shows_how_far_each_delivery_is(fleet, receiver, notify):
    first = await notify()
    receiver.answers = [500]
    await send(fleet, receiver.url)
    second = await notify(state="resolved", resolves=first)

    async with fleet.reading() as session:
        every = await list_notifications(session)
        waiting = await list_notifications(session, delivery="waiting")

    assert [second, first] == [one.id for one in every]
    assert [first] == [one.id for one in waiting]
    assert [("waiting", 1, "HTTP 500")] == [
        (d.state, d.attempts, d.last_error) for d in every[1].deliveries
    ]


async def test_the_sender_writes_status_alone(fleet, receiver, notify):
    await notify()

    async with writes_refused(fleet, DESIRED) as refusals:
        await send(fleet, receiver.url)

    assert ([], 1) == (refusals.statements, len(receiver.accepted))


async def test_the_long_running_part_sends_when_it_is_woken(fleet, receiver, notify):
    one = sender(fleet, receiver.url)
    task = asyncio.create_task(one.run())
    await notify()
    one.wake()
    await receiver.arrived.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert 1 == len(receiver.requests)


async def test_a_replica_that_does_not_lead_sends_nothing(fleet, receiver, notify):
    await notify()
    settings = WebhookSettings(urls=(receiver.url,), secret=SECRET)
    follower = WebhookSender(fleet, settings, fleet.clock, leads=lambda: False)
    task = asyncio.create_task(follower.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

    assert ([], []) == (receiver.requests, await deliveries(fleet))


@pytest.mark.parametrize(
    ("url", "secret", "fault"),
    [
        ("http://hooks.example.net/x", SECRET, "https"),
        ("ftp://127.0.0.1/x", SECRET, "https"),
        ("https://", SECRET, "https"),
        ("https://hooks.example.net/x", None, "secret"),
        ("https://hooks.example.net/x", "short", "secret"),
    ],
)
def test_a_hook_that_others_could_read_or_forge_is_refused(url, secret, fault):
    with pytest.raises(ValueError, match=fault):
        WebhookSettings(urls=(url,), secret=secret)
