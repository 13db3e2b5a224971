"""Reads the fleet as metrics and alerts look at it, in one snapshot of the database.

Callers: the alerts job, and `FleetView` before each exposition of metrics. Cheap on purpose: one row a
node; the journal is asked only about nodes that cannot be reached. Not here: showing, deciding.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, and_, case, exists, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from controller.telemetry.snapshot import (
    FleetSnapshot,
    SeenCapacity,
    SeenCondition,
    SeenNode,
    SeenSource,
    Withheld,
)
from desired_state.model.generation import JournalState
from desired_state.model.ids import NodeName, Revision
from desired_state.queries.backups import read_backups
from desired_state.queries.capacity import read_capacity
from desired_state.store.convert import node_from
from desired_state.store.engine import Store
from desired_state.store.journal_states import may_exist
from desired_state.store.tables.adoption import AdoptionRow
from desired_state.store.tables.desired import (
    KeyGenerationRow,
    KeyRow,
    ManifestSourceRow,
    NodeRow,
    WakeRow,
)
from desired_state.store.tables.status import NodeStatusRow, PlacementRow, RemoteGenerationRow

_STATUS = cast("Table", NodeStatusRow.__table__)
_JOURNAL = cast("Table", RemoteGenerationRow.__table__)
_KEY = cast("Table", KeyRow.__table__)
_SEED = cast("Table", KeyGenerationRow.__table__)
_HERE = cast("Table", PlacementRow.__table__)
_NEXT = _HERE.alias("successor")
_ADOPTION = cast("Table", AdoptionRow.__table__)
SILENT_S = 900.0
"""Three times as long as whoever follows a source of manifests lets pass between two signs of life."""
MISSED_BEATS = 3
_OUT_OF_REACH = frozenset({"Unreachable", "Stalled", "Paused"})


class FleetView:
    """Shows the fleet anew when it is asked for, at most once in `fresh_s` seconds.

    Args:
        store: the database.
        show: told of each snapshot.
        now: the wall clock.
        fresh_s: several scrapers at once cost one reading.
    """

    def __init__(
        self,
        store: Store,
        show: Callable[[FleetSnapshot], None],
        now: Callable[[], datetime],
        fresh_s: float = 5.0,
    ) -> None:
        self._store = store
        self._show = show
        self._now = now
        self._fresh = timedelta(seconds=fresh_s)
        self._read_at: datetime | None = None
        self._one_reader = asyncio.Lock()

    async def refresh(self) -> None:
        """Read and show the fleet, unless that was just done.

        Raises:
            StoreError: the database failed; what was shown stays.
        """
        async with self._one_reader:
            now = self._now()
            if self._read_at is not None and abs(now - self._read_at) < self._fresh:
                return
            self._show(await read_fleet(self._store, now))
            self._read_at = now


async def read_fleet(store: Store, now: datetime) -> FleetSnapshot:
    """Read every declared node, what is stored of it, and the sources of manifests.

    Raises:
        StoreError: the database failed.
    """
    async with store.reading() as session:
        connection = await session.connection()
        woken = await _woken(connection)
        rows = await connection.execute(select(_STATUS))
        status = {row["node"]: dict(row) for row in rows.mappings()}
        declared = [
            node_from(row) for row in await session.scalars(select(NodeRow).order_by(NodeRow.name))
        ]
        lost = [n.name for n in declared if _is_out_of_reach(status.get(n.name))]
        debts = await _debts(connection, lost)
        wanted = await _wanted(connection, lost)
        leaving = await _leaving(connection)
        adopted = await _adopted(connection)
        sources = await _sources(session, now)
        capacity = await read_capacity(session, now)
        backups = await read_backups(session, now)
    nodes = tuple(
        SeenNode(
            name=node.name,
            mode=node.mode,
            orphaned=node.orphaned,
            wanted_revision=Revision(max(node.revision, woken.get(node.name, 0))),
            **_stored(status.get(node.name), wanted.get(node.name, {})),
            **debts.get(node.name, {}),
            **leaving.get(node.name, {}),
            adopted=adopted.get(node.name, 0),
        )
        for node in declared
    )
    rooms = SeenCapacity(capacity.nodes, capacity.groups, frozenset(capacity.told))
    return FleetSnapshot(now, nodes, sources, rooms, backups)


def _stored(row: dict[str, Any] | None, wanted: dict[str, int]) -> dict[str, Any]:
    if row is None:
        return {}
    return {
        "conditions": _conditions(row["conditions"]),
        # What is wanted goes on changing where nothing can be looked at.
        "counts": {**row["counts"], **wanted},
        "withheld": tuple(
            Withheld(one["kind"], one["digest"], len(one["emails"])) for one in row["blocked_sets"]
        ),
        "observed_revision": Revision(row["observed_revision"]),
        "failures": row["failures"],
        "next_look_at": row["next_look_at"],
        "xray": row["xray"],
        "certificate_until": row["certificate_until"],
    }


def _conditions(stored: Iterable[dict[str, Any]]) -> tuple[SeenCondition, ...]:
    return tuple(
        SeenCondition(
            one["type"],
            one["reason"],
            status=one["status"],
            message=one["message"],
            since=None if one["since"] is None else datetime.fromisoformat(one["since"]),
        )
        for one in stored
    )


def _is_out_of_reach(row: dict[str, Any] | None) -> bool:
    return row is not None and any(
        one["status"] and one["type"] in _OUT_OF_REACH for one in row["conditions"]
    )


async def _woken(connection: AsyncConnection) -> dict[str, int]:
    """The newest revision that concerns each node, as far as wake-ups are kept."""
    query = (
        select(WakeRow.node, func.max(WakeRow.revision))
        .where(WakeRow.node.is_not(None))
        .group_by(WakeRow.node)
    )
    return {str(node): revision for node, revision in await connection.execute(query)}


async def _debts(
    connection: AsyncConnection, nodes: list[NodeName]
) -> dict[NodeName, dict[str, Any]]:
    """What is to be deleted on nodes that cannot be reached, and since when."""
    if not nodes:
        return {}
    here = and_(_HERE.c.key == _JOURNAL.c.key, _HERE.c.node == _JOURNAL.c.node)
    moved = and_(_NEXT.c.key == _JOURNAL.c.key, _NEXT.c.replaces == _JOURNAL.c.node)
    newest = and_(_SEED.c.key_id == _KEY.c.id, _SEED.c.generation == _KEY.c.generation)
    is_old = _JOURNAL.c.generation < _KEY.c.generation
    query = (
        select(
            _JOURNAL.c.node, _JOURNAL.c.email, _JOURNAL.c.changed_at, _KEY.c.deleted_at,
            func.coalesce(_HERE.c.leaving_at, _NEXT.c.at), _SEED.c.created_at, is_old,
        )
        .select_from(
            _JOURNAL.join(_KEY, _KEY.c.id == _JOURNAL.c.key)
            .outerjoin(_HERE, here)
            .outerjoin(_NEXT, moved)
            .outerjoin(_SEED, newest)
        )
        .where(
            _JOURNAL.c.node.in_(nodes),
            may_exist(_JOURNAL.c.state),
            _KEY.c.deleted_at.is_not(None)
            | is_old
            | _HERE.c.key.is_(None)
            | _HERE.c.leaving.is_not(None),
        )
    )  # fmt: skip
    emails: dict[NodeName, dict[str, datetime]] = defaultdict(dict)
    for node, email, changed_at, deleted_at, moved_at, rotated_at, old in await connection.execute(
        query
    ):
        # The last change of the row comes last: it is earlier than the wish that it be deleted.
        since = deleted_at or (rotated_at if old else None) or moved_at or changed_at
        known = emails[NodeName(node)].get(email, since)
        emails[NodeName(node)][email] = min(known, since)
    return {
        node: {"debt": len(owed), "debt_since": min(owed.values())} for node, owed in emails.items()
    }


async def _leaving(connection: AsyncConnection) -> dict[str, dict[str, Any]]:
    """How many keys are on their way off each node, and since when the oldest.

    Those that stay until they are served elsewhere are on their way, too.
    """
    left = (
        select(_HERE.c.node, func.coalesce(_HERE.c.leaving_at, _HERE.c.at).label("since"))
        .where(_HERE.c.leaving.is_not(None))
        .subquery()
    )
    kept = (
        select(_HERE.c.node, _NEXT.c.at.label("since"))
        .join(_NEXT, and_(_NEXT.c.key == _HERE.c.key, _HERE.c.at < _NEXT.c.at))
        .where(
            _HERE.c.leaving.is_(None),
            _NEXT.c.leaving.is_(None),
            _NEXT.c.reason.like("% from %"),
            _NEXT.c.reason.endswith(" from " + _HERE.c.node),
        )
        .subquery()
    )
    found: dict[str, dict[str, Any]] = {}
    for moves in (left, kept):
        # No index has this in order. Grouping by the bare column, SQLite walks all placements in the
        # order of its index, each row a search: 0.6 s of 100,000 keys instead of 0.02.
        name = moves.c.node.concat(literal_column("''"))
        query = select(name, func.count(), func.min(moves.c.since)).group_by(name)
        for node, count, since in await connection.execute(query):
            known = found.get(node, {"leaving": 0, "leaving_since": since})
            oldest = min(since, known["leaving_since"])
            found[node] = {"leaving": known["leaving"] + count, "leaving_since": oldest}
    return found


async def _adopted(connection: AsyncConnection) -> dict[str, int]:
    """How many clients of each node were taken over, and stand for the present generation of a key."""
    query = (
        select(_ADOPTION.c.node, func.count())
        .join(_KEY, _KEY.c.id == _ADOPTION.c.key_id)
        .where(
            _ADOPTION.c.released_at.is_(None),
            _KEY.c.deleted_at.is_(None),
            _KEY.c.generation == _ADOPTION.c.generation,
        )
        .group_by(_ADOPTION.c.node)
    )
    return {str(node): int(count) for node, count in await connection.execute(query)}


async def _wanted(
    connection: AsyncConnection, nodes: list[NodeName]
) -> dict[NodeName, dict[str, int]]:
    """How many keys nodes that cannot be reached should carry, and how many of these never came there."""
    if not nodes:
        return {}
    arrived = exists().where(
        _JOURNAL.c.node == _HERE.c.node,
        _JOURNAL.c.key == _KEY.c.id,
        _JOURNAL.c.generation == _KEY.c.generation,
        _JOURNAL.c.state == JournalState.LIVE.value,
    )
    query = (
        select(_HERE.c.node, func.count(), func.sum(case((arrived, 0), else_=1)))
        .select_from(_HERE.join(_KEY, _KEY.c.id == _HERE.c.key))
        .where(_HERE.c.node.in_(nodes), _HERE.c.leaving.is_(None), _KEY.c.deleted_at.is_(None))
        .group_by(_HERE.c.node)
    )
    found = {
        NodeName(node): (desired, missing)
        for node, desired, missing in await connection.execute(query)
    }
    return {
        node: dict(zip(("desired", "pending"), map(int, found.get(node, (0, 0))), strict=True))
        for node in nodes
    }


async def _sources(session: AsyncSession, now: datetime) -> tuple[SeenSource, ...]:
    rows = await session.scalars(select(ManifestSourceRow).order_by(ManifestSourceRow.name))
    return tuple(
        SeenSource(
            name=row.name,
            revision=row.applied_revision,
            fetched=row.fetched_revision,
            fault=row.error_code,
            failing_since=row.error_since,
            silent_since=_silent_since(row, now),
        )
        for row in rows
    )


def _silent_since(row: ManifestSourceRow, now: datetime) -> datetime | None:
    """Since when nobody was heard of who follows a source; None where nobody does, or not for long."""
    if row.looked_at is None:
        return None
    patience = max(MISSED_BEATS * row.looks_every_s, SILENT_S)
    return row.looked_at if now - row.looked_at > timedelta(seconds=patience) else None
