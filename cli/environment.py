"""The process's own X3FLEET_* variables: seen whole by `doctor`, set for a while by the demo.

Settings are read by pydantic-settings and nowhere else; here nothing is interpreted.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

PREFIX = "X3FLEET_"


def own_variables() -> dict[str, str]:
    """Return every variable with our prefix, known to us or not, sorted by name."""
    return {name: os.environ[name] for name in sorted(os.environ) if name.startswith(PREFIX)}


@contextmanager
def only(values: Mapping[str, str]) -> Iterator[None]:
    """Replace all variables with our prefix by these while the block runs."""
    before = own_variables()
    try:
        _replace(values)
        yield
    finally:
        _replace(before)


def _replace(values: Mapping[str, str]) -> None:
    for name in own_variables():
        del os.environ[name]
    os.environ.update(values)
