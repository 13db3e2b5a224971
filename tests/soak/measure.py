"""What a process holds at one moment: memory, connections, tasks, rows. Linux only.

Callers: the soak. Not here: what is too much.
"""

import asyncio
import gc
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select

from controller.telemetry import metrics
from desired_state.store.engine import Store
from desired_state.store.tables.types import Base


@dataclass(frozen=True)
class Reading:
    """One moment. `blocks`: of Python's allocator, after a collection; it counts what leaks exactly.

    `rss_kib`: of the whole process. `rows`: by table, empty ones left out.
    """

    blocks: int
    rss_kib: int
    sockets: int
    files: int
    tasks: int
    series: int
    rows: dict[str, int] = field(default_factory=dict)


async def read(store: Store) -> Reading:
    """Take a reading of this process."""
    rows = await _rows(store)
    for _ in range(3):
        gc.collect()
    kinds = _open_files()
    return Reading(
        blocks=sys.getallocatedblocks(),
        rss_kib=_rss_kib(),
        sockets=kinds["socket"],
        files=kinds["file"],
        tasks=len(asyncio.all_tasks()),
        series=sum(len(metric.samples) for metric in metrics.REGISTRY.collect()),
        rows=rows,
    )


async def _rows(store: Store) -> dict[str, int]:
    found = {}
    async with store.reading() as session:
        for table in Base.metadata.sorted_tables:
            count = await session.scalar(select(func.count()).select_from(table))
            if count:
                found[table.name] = int(count)
    return found


def _open_files() -> Counter[str]:
    return Counter(_kind(path) for path in Path("/proc/self/fd").iterdir())


def _kind(path: Path) -> str:
    try:
        target = str(path.readlink())
    except FileNotFoundError:  # of the listing itself
        return "gone"
    return "socket" if target.startswith("socket:") else "file"


def _rss_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])
