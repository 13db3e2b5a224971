"""A service that runs for long holds no more than one that runs for a while. `make deep` runs it long.

The sample of the ordinary run proves that the soak itself works: its life converges and is measured.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.drill.farm import ROOT

MINUTES = 75
WARM = 6
"""Windows until everything is as full as it gets: tombstones are kept for thirty days, five windows."""
JUDGED = 3
"""Windows at the beginning and at the end whose means are compared: lost panels make single ones uneven."""
BLOCKS = 1.01
"""Of 700,000 blocks 7,000 in half an hour: one block for each exchange with a panel would be twice that."""
RSS = 1.03
"""What the allocator holds back in part-filled arenas moves by a percent or two."""
ROWS = 1.25
"""Of any table: what is pruned swings with what happened in the windows that are kept."""
KEPT = {"subscription"}
"""Tables that nobody prunes: what was sold is kept."""
COUNTED = ("sockets", "files", "tasks", "series")


async def soak(*words: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run it in a process of its own; gives its windows and its last line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.soak", *words,
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    assert 0 == process.returncode
    return [line for line in lines if line["kind"] == "window"], lines[-1]


def mean(windows: list[dict[str, Any]], what: str) -> float:
    return sum(window[what] for window in windows) / len(windows)


def grown(windows: list[dict[str, Any]]) -> list[str]:
    """Name what the last windows hold more of than the first ones after the warming up."""
    first, last = windows[WARM : WARM + JUDGED], windows[-JUDGED:]
    found = [
        f"{what}: {mean(first, what):.0f} -> {mean(last, what):.0f}"
        for what, limit in (("blocks", BLOCKS), ("rss_kib", RSS))
        if mean(last, what) > limit * mean(first, what)
    ]
    found += [
        f"{what}: {max(w[what] for w in first)} -> {max(w[what] for w in last)}"
        for what in COUNTED
        # A connection or a task more is one that is at work at that moment.
        if max(w[what] for w in last) > max(w[what] for w in first) + 2
    ]
    for table in sorted({name for window in windows for name in window["rows"]} - KEPT):
        before = sum(w["rows"].get(table, 0) for w in first) / JUDGED
        after = sum(w["rows"].get(table, 0) for w in last) / JUDGED
        if after > ROWS * before + 5:
            found.append(f"rows of {table}: {before:.0f} -> {after:.0f}")
    return found


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
async def test_an_hour_of_steady_life_leaves_nothing_behind(
    seed: int, report_line: Callable[[str], None], report_count: Callable[..., None]
) -> None:
    windows, end = await soak("--minutes", str(MINUTES), "--seed", str(seed))

    report_count({f"soak, {what}": times for what, times in sorted(end["done"].items())})
    first, last = windows[WARM], windows[-1]
    report_line(
        f"soak: {MINUTES} simulated minutes, {end['cpu_s']:.0f} s of CPU; after the warming up and at the "
        f"end {first['blocks']} and {last['blocks']} blocks, {first['rss_kib'] // 1024} and "
        f"{last['rss_kib'] // 1024} MiB, {first['sockets']} and {last['sockets']} sockets, "
        f"{first['tasks']} and {last['tasks']} tasks"
    )
    assert [] == [window["minutes"] for window in windows if window["settled_s"] is None]
    assert end["clean"]
    assert [] == grown(windows)


@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is read from /proc")
async def test_a_short_soak_converges_and_is_measured() -> None:
    windows, end = await soak(
        "--minutes", "1", "--minute-s", "15", "--window", "1", "--versions", "3.6.0"
    )

    (window,) = windows
    assert end["clean"]
    assert window["settled_s"] is not None
    assert {"sold": 2, "rotated": 1} == {what: end["done"][what] for what in ("sold", "rotated")}
    assert all(window[what] > 0 for what in ("blocks", "rss_kib", *COUNTED))


def test_what_grows_is_named() -> None:
    """The judgement can fail: a leak of one percent, a connection for each window, rows that stay."""
    flat = {
        "blocks": 100_000, "rss_kib": 100_000, "sockets": 9, "files": 9, "tasks": 9, "series": 9,
        "rows": {"event": 100, "key": 36},
    }  # fmt: skip
    quiet = [dict(flat) for _ in range(15)]
    leaking = [
        {**flat, "blocks": 100_000 + 200 * n, "sockets": 9 + n, "rows": {"event": 100 + 10 * n}}
        for n in range(15)
    ]

    assert [] == grown(quiet)
    assert ["blocks", "sockets", "rows of event"] == [line.split(":")[0] for line in grown(leaking)]
