"""Of tests that walk one path over many versions the ordinary run tries some: the seed says which.

A test marked `sampled(share)` runs one case in so many; `make deep` runs them all, and so does whoever has
a real panel. A pytest plugin. Not here: faults and the rest that explorers draw by themselves.
"""

import os
from collections import defaultdict
from zlib import crc32

import pytest

from tests.counts import seed_of_run


def choose(count: int, share: int, start: int) -> list[int]:
    """Choose one of each `share` cases in a row, another one from row to row.

    Rows are often as long as what they are parametrised with: always the first of each would be one
    version with everything, and no other version with anything.
    """
    chosen = [i for i in range(count) if (i + i // share) % share == start % share]
    return chosen or list(range(min(count, 1)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases that this run does not try."""
    if os.environ.get("X3FLEET_TEST_DEEP"):
        return
    cases: dict[tuple[str, int], list[str]] = defaultdict(list)
    for item in items:
        mark = item.get_closest_marker("sampled")
        if mark is not None and item.get_closest_marker("live") is None:
            cases[item.nodeid.split("[")[0], mark.args[0]].append(item.nodeid)
    left_out: set[str] = set()
    for (name, share), ids in cases.items():
        # Whatever order a run has, its cases are numbered alike.
        ids.sort()
        start = seed_of_run() + crc32(name.encode())
        left_out |= set(ids) - {ids[i] for i in choose(len(ids), share, start)}
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]
