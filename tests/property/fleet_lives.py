"""Short lives of a fleet, as written: what operators complain of, in the fewest steps that would show it.

Each is played on the machine of a fleet's life, whose eyes are the judges. Callers: `test_fleet_mutants`.
Not here: what must hold, lives at random.
"""

from collections.abc import Callable

from desired_state.model.policy import MoveOrder
from tests.property.fleet_life import Life

DELETE_FIRST, CREATE_FIRST = MoveOrder.DELETE_FIRST, MoveOrder.CREATE_FIRST


def _given_up(life: Life) -> None:
    life.open_shop(("one",), DELETE_FIRST)
    life.outlast(life.homes()[0])


def _drain_creates_first(life: Life) -> None:
    life.open_shop(("one",), CREATE_FIRST)
    life.drain(life.homes()[0], draining=True)


def _new_node_is_dead(life: Life) -> None:
    """Where the drained key is to go, nobody answers for a while."""
    life.open_shop(("one",), CREATE_FIRST)
    life.drain_into_silence(life.homes()[0])


def _new_node_falls(life: Life) -> None:
    """The key lives on the new node, which dies before the old one, back again, hears that it is to go."""
    life.open_shop(("one",), CREATE_FIRST)
    life.declare("d")
    life.fall_after_taking(life.homes()[0])


def _smaller_tariff(life: Life) -> None:
    life.open_shop(("two",), DELETE_FIRST)
    life.a_smaller_tariff()


def _cordoned(life: Life) -> None:
    life.open_shop(("one",), DELETE_FIRST)
    for node in ("b", "c"):
        life.cordon(node, cordoned=True)
    life.sell(7003, "all", heard=1, of=3)
    life.left_alone()


def _lost(life: Life) -> None:
    life.open_shop(("one",), DELETE_FIRST)
    life.lose_for_good(life.homes()[0])


def _restored_panel(life: Life) -> None:
    life.open_shop(("one",), DELETE_FIRST)
    life.use(0, 20)
    life.counters_go_back(life.homes()[0], 0)
    # Up to where it was before: an old list would look the same.
    life.use(0, 20)
    life.left_alone()


def _used_up(life: Life) -> None:
    life.open_shop(("two",), DELETE_FIRST)
    life.use(0, 250)
    life.left_alone()


def _refund(life: Life) -> None:
    life.open_shop(("one",), DELETE_FIRST)
    life.refund(1)
    life.left_alone()


def _told_twice(life: Life) -> None:
    life.open_shop((), DELETE_FIRST)
    life.sell(7001, "one", heard=2, of=3)
    life.left_alone()


def _freed(life: Life) -> None:
    life.open_shop(("one", "one"), DELETE_FIRST)
    life.change_key(0, "revoke")
    life.left_alone()
    life.extend(1, 30, anew=False)
    life.left_alone()


def _banned_and_frozen(life: Life) -> None:
    life.open_shop(("one",), DELETE_FIRST)
    life.freeze(0, frozen=True)
    life.ban(7001, banned=True)
    life.freeze(0, frozen=False)
    life.left_alone()


LIVES: dict[str, Callable[[Life], None]] = {
    "a node is given up and comes back": _given_up,
    "a drain that creates first": _drain_creates_first,
    "the new node is dead": _new_node_is_dead,
    "the new node falls before the old goes": _new_node_falls,
    "a smaller tariff": _smaller_tariff,
    "a cordoned node": _cordoned,
    "a node is lost for good": _lost,
    "a restored panel": _restored_panel,
    "a quota is used up": _used_up,
    "a refund": _refund,
    "a payment told twice": _told_twice,
    "a freed key": _freed,
    "banned and frozen": _banned_and_frozen,
}
