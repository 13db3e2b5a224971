"""Sends notifications to webhooks: signed JSON over HTTPS, retried, replayable.

How far each one is stands in status, so that a restart goes on where the process ended. What was
delivered may be delivered again (a crash between answer and commit, a replay): receivers tell by the
delivery id. Callers: service, as a long-running part. Not here: what is worth a notification
(`alerts`), asking for a replay (`desired_state.commands.notifications`).
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx
import structlog
from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from controller.settings import WebhookSettings
from controller.telemetry import events, metrics
from desired_state.model.errors import ConfigError
from desired_state.store.clock import Clock
from desired_state.store.engine import Store
from desired_state.store.tables.desired import InstallationRow, NotificationReplayRow
from desired_state.store.tables.status import NotificationRow, WebhookDeliveryRow

log = structlog.get_logger(__name__)

SIGNATURE, TIMESTAMP, DELIVERY = (
    "X-X3fleet-Signature", "X-X3fleet-Timestamp", "X-X3fleet-Delivery",
)  # fmt: skip
HORIZON = timedelta(days=1)
"""What is older is not news to a hook that never heard of it: a new hook gets no flood."""
AT_ONCE = 20
"""Deliveries to one hook between two readings of what is due."""
POLL_S = 5.0
WAITING, DELIVERED, PARKED = "waiting", "delivered", "parked"


@dataclass(frozen=True, slots=True)
class Hook:
    """One receiver. `name`: what it is called in the database and in logs; the address is not told."""

    name: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one request. `refused`: it was answered, otherwise than with success."""

    delivered: bool
    reason: str = ""
    refused: bool = False


def name_hook(url: str) -> str:
    """Name a hook by a digest of its address, which may hold a secret."""
    return hashlib.sha256(url.encode()).hexdigest()[:12]


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Sign a delivery: HMAC-SHA256 over `timestamp.body`, in hex behind `sha256=`."""
    message = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()


def next_delay_s(attempts: int, settings: WebhookSettings) -> float:
    """Seconds to wait after so many attempts: twice as long each time, up to the longest."""
    return float(min(settings.first_retry_s * 2.0 ** (attempts - 1), settings.longest_retry_s))


class WebhookSender:
    """The long-running part; without any address it has nothing to do.

    Args:
        store: the database.
        settings: addresses, the secret, how often to try.
        clock: the wall clock.
        leads: whether this replica sends; another one does otherwise.
    """

    def __init__(
        self,
        store: Store,
        settings: WebhookSettings,
        clock: Clock,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._leads = leads
        self._hooks = {
            name_hook(url.get_secret_value()): Hook(
                name_hook(url.get_secret_value()), url.get_secret_value()
            )
            for url in settings.urls
        }
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something to deliver."""
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled.

        Raises:
            StoreError: the database failed; whoever supervises starts it again.
        """
        if not self._hooks:
            return
        async with self.client() as client:
            while True:
                self._woken.clear()
                sent = await self.send_due(client) if self._leads() else 0
                if not sent:
                    await self._rest()

    def client(self) -> httpx.AsyncClient:
        """Make the HTTP client: no redirect is followed, no proxy of the environment used."""
        # A redirect would carry the signed body to an address that nobody configured.
        return httpx.AsyncClient(
            timeout=self._settings.timeout_s, follow_redirects=False, trust_env=False
        )

    async def send_due(self, client: httpx.AsyncClient) -> int:
        """Send what is due now, a limited number; returns how many attempts were made."""
        await self._take_in()
        async with self._store.reading() as session:
            sender = await session.scalar(select(InstallationRow.name)) or ""
        # Side by side: one that hangs does not keep the others waiting.
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self._send_to(client, sender, hook))
                for hook in self._hooks.values()
            ]
        await self._measure()
        return sum(task.result() for task in tasks)

    async def _send_to(self, client: httpx.AsyncClient, sender: str, hook: Hook) -> int:
        async with self._store.reading() as session:
            due = await _due(session, hook.name, self._clock.now())
        for notification, delivery in due:
            await self._deliver(client, sender, notification, delivery)
        return len(due)

    # -- what is to be sent ------------------------------------------------------------------------

    async def _take_in(self) -> None:
        """Note deliveries that nobody has noted yet, and wishes for a replay."""
        now = self._clock.now()
        async with self._store.reading() as session:
            fresh = await _unannounced(session, list(self._hooks), now)
            again = await _replays(session, list(self._hooks))
        if not fresh and not again:
            return
        async with self._store.recording() as session:
            for notification, hook in fresh:
                session.add(
                    WebhookDeliveryRow(
                        notification_id=notification, hook=hook, state=WAITING, next_at=now
                    )
                )
            await session.flush()
            for notification, hook, replay in again:
                row = await session.get(WebhookDeliveryRow, (notification, hook))
                if row is None:
                    row = WebhookDeliveryRow(notification_id=notification, hook=hook)
                    session.add(row)
                row.state, row.next_at, row.attempts, row.replay_id = WAITING, now, 0, replay

    # -- sending -----------------------------------------------------------------------------------

    async def _deliver(
        self,
        client: httpx.AsyncClient,
        sender: str,
        notification: NotificationRow,
        delivery: WebhookDeliveryRow,
    ) -> None:
        hook = self._hooks[delivery.hook]
        attempt = await self._post(client, hook, sender, notification)
        now, attempts = self._clock.now(), delivery.attempts + 1
        delay_s = next_delay_s(attempts, self._settings)
        state = PARKED if attempts >= self._settings.attempts else WAITING
        if attempt.delivered:
            state = DELIVERED
        async with self._store.recording() as session:
            row = await session.get(WebhookDeliveryRow, (notification.id, hook.name))
            if row is not None and row.replay_id == delivery.replay_id:
                row.state, row.attempts, row.last_error = state, attempts, attempt.reason
                row.next_at = now + timedelta(seconds=delay_s)
                row.delivered_at = now if attempt.delivered else row.delivered_at
        self._count(attempt, state)
        told = {"notification": notification.id, "hook": hook.name, "attempts": attempts}
        if state == DELIVERED:
            log.info(events.WEBHOOK_DELIVERED, **told)
        elif state == PARKED:
            log.error(events.WEBHOOK_PARKED, **told, reason=attempt.reason)
        else:
            log.warning(events.WEBHOOK_FAILED, **told, reason=attempt.reason, retry_after_s=delay_s)

    async def _post(
        self, client: httpx.AsyncClient, hook: Hook, sender: str, notification: NotificationRow
    ) -> Attempt:
        body = write_body(notification, sender)
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            DELIVERY: f"{sender}-{notification.id}",
            SIGNATURE: sign(self._secret(), timestamp, body),
        }
        request = client.build_request("POST", hook.url, content=body, headers=headers)
        try:
            # The answer's body is not read: there is nothing in it for us.
            async with asyncio.timeout(self._settings.timeout_s):
                response = await client.send(request, stream=True)
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
            return Attempt(delivered=False, reason=type(error).__name__)
        if response.is_success:
            return Attempt(delivered=True)
        kind = "a redirect, which is not followed: " if response.has_redirect_location else ""
        return Attempt(delivered=False, reason=f"{kind}HTTP {response.status_code}", refused=True)

    def _secret(self) -> str:
        if self._settings.secret is None:
            raise ConfigError("webhooks have no secret to sign with")
        return self._settings.secret.get_secret_value()

    # -- metrics, waiting --------------------------------------------------------------------------

    def _count(self, attempt: Attempt, state: str) -> None:
        result = "delivered" if attempt.delivered else "refused" if attempt.refused else "failed"
        metrics.WEBHOOKS.labels(result).inc()
        if state == PARKED:
            metrics.WEBHOOKS.labels("parked").inc()

    async def _measure(self) -> None:
        query = (
            select(WebhookDeliveryRow.state, func.count())
            .where(WebhookDeliveryRow.hook.in_(list(self._hooks)))
            .group_by(WebhookDeliveryRow.state)
        )
        async with self._store.reading() as session:
            rows = await session.execute(query)
            counts = {row[0]: row[1] for row in rows}
        metrics.WEBHOOKS_WAITING.set(counts.get(WAITING, 0))
        metrics.WEBHOOKS_PARKED.set(counts.get(PARKED, 0))

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._woken.wait()
        except TimeoutError:
            return


def write_body(notification: NotificationRow, sender: str) -> bytes:
    """Write a notification as JSON, always the same for the same one."""
    document: dict[str, Any] = {
        "id": f"{sender}-{notification.id}",
        "installation": sender,
        "at": notification.at.isoformat(),
        "alert": notification.alert,
        "state": notification.state,
        "severity": notification.severity,
        "node": notification.node or None,
        "condition": notification.condition,
        "reason": notification.reason,
        "message": notification.message,
        "resolves": None if notification.resolves is None else f"{sender}-{notification.resolves}",
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True).encode()


# -- queries ---------------------------------------------------------------------------------------


async def _due(
    session: AsyncSession, hook: str, now: datetime
) -> list[tuple[NotificationRow, WebhookDeliveryRow]]:
    """Deliveries to one hook that are to be tried now, the oldest notification first."""
    query = (
        select(NotificationRow, WebhookDeliveryRow)
        .join(WebhookDeliveryRow, WebhookDeliveryRow.notification_id == NotificationRow.id)
        .where(
            WebhookDeliveryRow.hook == hook,
            WebhookDeliveryRow.state == WAITING,
            WebhookDeliveryRow.next_at <= now,
        )
        .order_by(NotificationRow.id)
        .limit(AT_ONCE)
    )
    return [(row[0], row[1]) for row in await session.execute(query)]


async def _unannounced(
    session: AsyncSession, hooks: list[str], now: datetime
) -> list[tuple[int, str]]:
    """Notifications of the last day that a hook has no delivery of."""
    found = []
    for hook in hooks:
        noted = and_(
            WebhookDeliveryRow.notification_id == NotificationRow.id,
            WebhookDeliveryRow.hook == hook,
        )
        query = (
            select(NotificationRow.id)
            .outerjoin(WebhookDeliveryRow, noted)
            .where(NotificationRow.at > now - HORIZON, WebhookDeliveryRow.hook.is_(None))
        )
        found += [(number, hook) for number in await session.scalars(query)]
    return found


async def _replays(session: AsyncSession, hooks: list[str]) -> list[tuple[int, str, int]]:
    """Wishes for a replay that a hook has not followed: notification, hook, the newest wish."""
    wish = NotificationReplayRow
    newest = (
        select(wish.notification_id, func.max(wish.id).label("wish"))
        .group_by(wish.notification_id)
        .subquery()
    )
    found = []
    for hook in hooks:
        noted = and_(
            WebhookDeliveryRow.notification_id == newest.c.notification_id,
            WebhookDeliveryRow.hook == hook,
        )
        query = (
            select(newest.c.notification_id, newest.c.wish)
            .join(NotificationRow, NotificationRow.id == newest.c.notification_id)
            .outerjoin(WebhookDeliveryRow, noted)
            .where(
                or_(WebhookDeliveryRow.hook.is_(None), WebhookDeliveryRow.replay_id < newest.c.wish)
            )
        )
        found += [(number, hook, wished) for number, wished in await session.execute(query)]
    return found
