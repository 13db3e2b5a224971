"""Integers that carry their unit: sizes in bytes, money in minor units.

Callers: manifests (parsing), tariffs, rendering. Not here: floats, rounding of money.
"""

import re
from dataclasses import dataclass

from desired_state.model.errors import InvalidValue

_UNITS = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip
_SIZE = re.compile(r"^\s*(\d+)(?:\.(\d+))?\s*([KMGT]?i?B)\s*$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in minor units of a currency (XTR has none: its unit is one star)."""

    currency: str
    amount_minor: int


def parse_size(text: str) -> int:
    """Turn `200GiB` or `1.5 TB` into bytes.

    Raises:
        InvalidValue: no number with a unit of B, KB ... TB, KiB ... TiB.
    """
    found = _SIZE.match(text)
    if found is None:
        raise InvalidValue("traffic", f"{text!r} is no size", hint="write it as 200GiB or 500MB")
    whole, fraction, unit = found.groups()
    scale = _UNITS.get(unit, 0)
    if not scale:
        raise InvalidValue("traffic", f"{text!r} has an unknown unit", hint="use GiB or GB")
    if fraction is None:
        return int(whole) * scale
    divisor: int = 10 ** len(fraction)
    return int(whole + fraction) * scale // divisor


def format_size(size_bytes: int) -> str:
    """Show bytes with the largest binary unit that leaves at least one whole: `1.5 GiB`."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size_bytes >= _UNITS[unit]:
            return f"{size_bytes / _UNITS[unit]:.4g} {unit}"
    return f"{size_bytes} B"
