"""The devices of a subscription: which it has been fetched with, and whether one more may.

Pure. Callers: commands, queries, later the subscription endpoint. A device says who it is by itself, so
that this keeps honest people to what they bought and stops nobody who lies; `limitIp` on the panels
does the rest. Not here: storage, HTTP.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from desired_state.model.errors import InvalidValue
from desired_state.model.ids import DeviceId

FORGET_AFTER = timedelta(days=30)
"""A device that was not seen for so long makes room for another: phones are sold and lost."""
TOUCH_AFTER = timedelta(days=7)
"""How old the last sight of a device grows before it is written anew: apps ask every hour, and each
write is a revision and a line of the audit."""
_LONGEST = 256
"""Characters that a device may say of itself; real ones take at most 64."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device that a subscription was fetched with. `title`: its model, as it says itself."""

    id: DeviceId
    title: str
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to one device.

    `known`: it is one of those that count. `counted`: how many count by now, it included where it is
    admitted. `forgotten`: those that make room.
    """

    admitted: bool
    known: bool
    counted: int
    limit: int | None
    forgotten: tuple[DeviceId, ...] = ()


def identify_device(said: str) -> DeviceId:
    """Make the id of a device from what its app says of it; spaces around it and case do not matter.

    Raises:
        InvalidValue: nothing, or too much.
    """
    told = said.strip().lower()
    if not told or len(told) > _LONGEST:
        raise InvalidValue("device", f"its id has 1 to {_LONGEST} characters")
    return DeviceId(hashlib.sha256(told.encode()).hexdigest())


def admit(
    seen: Iterable[Device],
    device: DeviceId,
    limit: int | None,
    now: datetime,
    forget_after: timedelta = FORGET_AFTER,
) -> Admission:
    """Admit or refuse a device; one that was admitted stays so until it is forgotten.

    Args:
        seen: the subscription's devices, in any order.
        device: which one asks.
        limit: how many may count at once; None: any number. Below what counts already (the tariff
            was changed), those stay and no other joins.
        now: the moment of asking.
        forget_after: how long one counts that is not seen.
    """
    devices = tuple(seen)
    counting = {one.id for one in devices if now - one.last_seen_at < forget_after}
    known = device in counting
    admitted = known or limit is None or len(counting) < limit
    return Admission(
        admitted=admitted,
        known=known,
        counted=len(counting | {device}) if admitted else len(counting),
        limit=limit,
        forgotten=tuple(sorted(one.id for one in devices if one.id not in counting)),
    )
