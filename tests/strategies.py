"""Hypothesis strategies that several suites share: letters of keys, nodes, faults, whole fleets.

Callers: property tests, the state machine. Not here: what must hold.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache

from hypothesis import strategies as st

from controller.core.features import Version
from tests.fakes import people
from tests.fakes.faults import LOOKS, SINGLE_WRITES, Fault
from tests.fakes.panel import TROJAN, VLESS
from tests.fakes.people import DE, NL
from tests.fakes.world import World
from tests.faults.scenarios import marked, settled, stranger

ANY_FAULT = (*LOOKS, *SINGLE_WRITES, Fault.CRASH, Fault.CRASH, Fault.BUSY, Fault.FENCED)
"""Faults fall where they fit: one that does not suit its effect does nothing."""
VERSIONS: tuple[Version, ...] = (
    (2, 3, 15), (2, 8, 11), (2, 9, 4), (3, 0, 2), (3, 2, 8), (3, 4, 2), (3, 6, 0),
)  # fmt: skip
HAND_EDITS: tuple[dict[str, object], ...] = (
    {"enable": False},
    {"total_bytes": 5},
    {"expiry_ms": 1},
    {"limit_ip": 9},
    {"uuid": "11111111-1111-4111-8111-111111111111"},
    {"sub_id": "edited-by-hand"},
    {"reset": 30},
    {"tg_id": 4},
    {"comment": "vip"},
)


def key_letters() -> st.SearchStrategy[str]:
    """Few keys, so that acts meet on the same one."""
    return st.sampled_from("abcd")


def nodes() -> st.SearchStrategy[str]:
    """One of the two nodes, the first more often."""
    return st.sampled_from((NL, NL, DE))


def faults() -> st.SearchStrategy[Fault]:
    """Any fault."""
    return st.sampled_from(ANY_FAULT)


def fault_maps(last_effect: int = 11) -> st.SearchStrategy[dict[int, Fault]]:
    """Up to two faults of one turn, by the number of the effect."""
    return st.dictionaries(st.integers(0, last_effect), faults(), max_size=2)


Act = Callable[[World, str], None]


def _hand_edit(world: World, letter: str, changes: dict[str, object]) -> None:
    for client in list(world.panel.ours()):
        if letter * 10 in client.email:
            world.panel.edit_by_hand(client.email, **changes)


def _hand_delete(world: World, letter: str) -> None:
    for client in list(world.panel.ours()):
        if letter * 10 in client.email:
            world.panel.delete_by_hand(client.email)


def _look_alike(world: World, letter: str) -> None:
    """Put a stranger there under the email of a key that is not sold."""
    client = marked(world.panel.version, letter)
    taken = replace(stranger(), email=client.email.replace(letter * 10, "z" * 10))
    if not world.panel.numbers_of(taken.email):
        world.panel.add_by_hand(taken)


def _orphan(world: World, letter: str) -> None:
    client = marked(world.panel.version, "y")
    if not world.panel.numbers_of(client.email):
        world.panel.add_by_hand(replace(client, sub_id=client.sub_id, comment=letter))


def _end(world: World, letter: str, hours: int) -> None:
    people.set_until(world.store, letter, world.clock.now + timedelta(hours=hours))


def _want_more(world: World, letter: str) -> None:
    people.want(world.store, {"a": "m", "b": "n"}.get(letter, letter))


ACTS: dict[str, Act] = {
    "unwant": lambda w, k: people.unwant(w.store, k),
    "rotate": lambda w, k: people.rotate(w.store, k),
    "suspend": lambda w, k: people.suspend(w.store, k),
    "set quota": lambda w, k: people.set_quota(w.store, k, 10**9),
    "set devices": lambda w, k: people.set_devices(w.store, k, 2),
    "ended an hour ago": lambda w, k: _end(w, k, -1),
    "ends in ten days": lambda w, k: _end(w, k, 240),
    "ended long ago": lambda w, k: _end(w, k, -200),
    "want": _want_more,
    "hand delete": _hand_delete,
    "look-alike": _look_alike,
    "orphan": _orphan,
    **{
        f"hand edit {edit}": (lambda w, k, edit=edit: _hand_edit(w, k, edit)) for edit in HAND_EDITS
    },
}


@lru_cache
def _settled(version: Version, keys: str, two: bool) -> World:
    return settled(version, keys, *((VLESS, TROJAN) if two else (VLESS,)))


@st.composite
def situations(draw: st.DrawFn, keys: str = "abcd") -> World:
    """A settled node of any version to which up to eight things have happened since."""
    version = draw(st.sampled_from(VERSIONS))
    world = _settled(version, keys, draw(st.booleans())).copy()
    steps = st.tuples(st.sampled_from(list(ACTS)), st.sampled_from(keys))
    for act, letter in draw(st.lists(steps, max_size=8)):
        world.story += f"{act} {letter}; "
        ACTS[act](world, letter)
    return world
