"""How long customers waited: from their wish to what a look proved, measured as it is recorded.

Reads inside the record's transaction and hands out seconds; whoever records shows them after its commit.
Callers: `records`. Not here: metrics' names (`telemetry.metrics`), writing.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import and_, exists, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from controller.runtime.tables import AT_ONCE, JOURNAL, KEY, KEY_GENERATION, PLACEMENT
from desired_state.model.generation import JournalRow, JournalState
from desired_state.model.ids import KeyId, NodeName


async def first_ready_s(
    connection: AsyncConnection, node: NodeName, born: Sequence[JournalRow], now: datetime
) -> list[float]:
    """Seconds from the wish for each of these keys to now, when a look showed it live.

    The wish is the generation itself; where the key lives elsewhere already, its placement here.
    """
    elsewhere = JOURNAL.alias("elsewhere")
    lives_elsewhere = exists().where(
        elsewhere.c.key == KEY_GENERATION.c.key_id,
        elsewhere.c.generation == KEY_GENERATION.c.generation,
        elsewhere.c.node != node,
        elsewhere.c.state != JournalState.INTENDED.value,
    )
    here = and_(PLACEMENT.c.key == KEY_GENERATION.c.key_id, PLACEMENT.c.node == node)
    waited = []
    for keys, generations in _parts(born):
        query = (
            select(
                KEY_GENERATION.c.key_id, KEY_GENERATION.c.generation,
                KEY_GENERATION.c.created_at, PLACEMENT.c.at, lives_elsewhere,
            )
            .select_from(KEY_GENERATION.outerjoin(PLACEMENT, here))
            .where(KEY_GENERATION.c.key_id.in_(keys))
        )  # fmt: skip
        for key, generation, wished_at, placed_at, moved in await connection.execute(query):
            if generations[key] == generation:
                since = placed_at if moved and placed_at is not None else wished_at
                waited.append(_between(since, now))
    return waited


async def rotation_gaps_s(
    connection: AsyncConnection, node: NodeName, born: Sequence[JournalRow], now: datetime
) -> list[float]:
    """Seconds that these keys had nothing on this node: since the older generation was gone."""
    rotated = [row for row in born if row.generation > 1]
    gaps = []
    for keys, generations in _parts(rotated):
        query = (
            select(JOURNAL.c.key, JOURNAL.c.generation, func.max(JOURNAL.c.gone_at))
            .where(
                JOURNAL.c.node == node,
                JOURNAL.c.key.in_(keys),
                JOURNAL.c.state == JournalState.GONE.value,
            )
            .group_by(JOURNAL.c.key, JOURNAL.c.generation)
        )
        for key, generation, gone_at in await connection.execute(query):
            if generation == generations[key] - 1 and gone_at is not None:
                gaps.append(_between(gone_at, now))
    return gaps


async def deletions_s(
    connection: AsyncConnection, gone: Sequence[JournalRow], now: datetime
) -> list[float]:
    """Seconds from a key's end, or from its rotation, to the proof that its client is gone."""
    waited = []
    for keys, generations in _parts(gone):
        newest = and_(
            KEY_GENERATION.c.key_id == KEY.c.id, KEY_GENERATION.c.generation == KEY.c.generation
        )
        query = (
            select(KEY.c.id, KEY.c.generation, KEY.c.deleted_at, KEY_GENERATION.c.created_at)
            .select_from(KEY.outerjoin(KEY_GENERATION, newest))
            .where(KEY.c.id.in_(keys))
        )
        for key, generation, deleted_at, rotated_at in await connection.execute(query):
            since = rotated_at if generations[key] < generation else deleted_at
            if since is not None:
                waited.append(_between(since, now))
    return waited


def _parts(
    rows: Sequence[JournalRow],
) -> Iterator[tuple[list[KeyId], dict[KeyId, int]]]:
    """Keys in lists that fit one statement, with the generation of each; placeholders left out."""
    generations = {row.key: int(row.generation) for row in rows if row.key is not None}
    keys = sorted(generations)
    for start in range(0, len(keys), AT_ONCE):
        yield keys[start : start + AT_ONCE], generations


def _between(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())
