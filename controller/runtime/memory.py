"""Gives memory that nobody uses back to the system, where the C library lets us ask for it.

Bodies of lists, rows and compressed text are taken and freed in many threads, each with a heap of its own
that keeps what was freed: after a fleet was filled that is a fifth of the process. Callers: the
daemon, at its start and once a minute. Not here: what is kept on purpose.
"""

import ctypes
from functools import cache
from typing import Any

_ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's malloc.h."""
HEAPS = 2
"""Threads that take turns at one interpreter lock rarely take memory at the same moment."""


def share_heaps() -> None:
    """Let all threads take memory from few heaps; to be called before they begin."""
    library = _library()
    if library is not None:
        library.mallopt(_ARENA_MAX, HEAPS)


def give_back() -> None:
    """Return free memory to the system; some ten milliseconds where there is much of it."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)


@cache
def _library() -> Any:  # noqa: ANN401 - a C library
    """Return glibc; None where the C library is another one."""
    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    has_both = hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
    return library if has_both else None
