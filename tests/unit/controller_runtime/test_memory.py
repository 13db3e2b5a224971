"""Memory that threads took and freed goes back to the system, where the C library can do that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.runtime import memory

PROGRAM = """
import threading
from controller.runtime import memory

def resident():
    line = next(one for one in open("/proc/self/status") if one.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

def churn():
    # Small blocks, so that malloc takes them from a heap; the last of each keeps its end in use.
    held = [bytearray(2000) for _ in range(20_000)]
    kept.append(held[-1])

memory.share_heaps()
kept = []
for _ in range(4):
    thread = threading.Thread(target=churn)
    thread.start()
    thread.join()
before = resident()
memory.give_back()
print(before, resident())
"""


@pytest.mark.skipif(
    memory._library() is None or not Path("/proc/self/status").exists(),
    reason="the C library is not glibc, or the system does not tell how much is resident",
)
def test_what_was_freed_in_other_threads_goes_back() -> None:
    out = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout  # fmt: skip
    before, after = map(int, out.split())

    assert after < before - 20


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_library", lambda: None)

    assert (None, None) == (memory.share_heaps(), memory.give_back())  # type: ignore[func-returns-value]
