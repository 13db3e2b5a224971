"""The last question before a write leaves: whether it still may.

Between the worker's own question and the request there may be a login, which takes its time; a lease may
run out in it. Callers: the worker opens a gate around each write, `session` asks it when everything else
is ready. Not here: the answer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORBIDS: ContextVar[Callable[[], str] | None] = ContextVar("x3fleet_write_gate", default=None)


@contextmanager
def gated(forbids: Callable[[], str]) -> Iterator[None]:
    """Ask before every write of this task inside the block.

    Args:
        forbids: says why nothing may be sent now; empty when it may.
    """
    token = _FORBIDS.set(forbids)
    try:
        yield
    finally:
        _FORBIDS.reset(token)


def forbidden() -> str:
    """Say why nothing may be sent now; empty when it may, or nobody minds."""
    forbids = _FORBIDS.get()
    return "" if forbids is None else forbids()
