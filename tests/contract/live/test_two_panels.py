"""The whole cycle of a key over two panels of different families: create, rotate, move, delete.

Each step is read on both panels past our adapter. Simulated panels always; a real one beside a simulated
one when one is given, and two real ones when two are.
"""

from typing import Any

import pytest

from desired_state.model.ids import KeyId
from tests.contract.live.address import LIVE
from tests.contract.live.conftest import Open
from tests.contract.panels.listeners import SS_32, TROJAN, VLESS

PAIRS = [pytest.param("2.9.4", "3.6.0", id="2.9.4-3.6.0")]
PAIRS += [pytest.param("3.2.8", "2.3.15", id="3.2.8-2.3.15")]
if LIVE:
    other = "2.9.4" if LIVE[0] >= "3.1" else "3.6.0"
    names = (f"live-{LIVE[0]}-{other}", f"{other}-live-{LIVE[0]}")
    PAIRS += [pytest.param(LIVE[0], other, id=names[0], marks=pytest.mark.live)]
    PAIRS += [pytest.param(other, LIVE[0], id=names[1], marks=pytest.mark.live)]
if len(LIVE) == 2:
    name = f"live-{LIVE[0]}-live-{LIVE[1]}"
    PAIRS += [pytest.param(*LIVE, id=name, marks=pytest.mark.live)]


@pytest.mark.parametrize(("here", "there"), PAIRS)
async def test_a_key_is_created_rotated_moved_and_deleted_over_two_panels(
    open_house: Open, here: str, there: str
) -> None:
    fleet = await open_house(VLESS, TROJAN, SS_32, a=here, b=there)
    a, b = fleet["a"], fleet["b"]
    key, stays = [(await fleet.issue("a"))[0] for _ in range(2)]
    seen: list[tuple[Any, Any]] = []

    async def step() -> None:
        report = await fleet.reconcile()
        assert report.in_sync, report
        seen.append((await a.held(), await b.held()))

    await step()
    await fleet.rotate(key)
    await step()
    await fleet.move(key, "b")
    await step()
    await fleet.rotate(key)
    await step()
    await fleet.revoke(key)
    await step()

    wanted: list[tuple[dict[KeyId, int], dict[KeyId, int]]] = [
        ({key: 1, stays: 1}, {}),
        ({key: 2, stays: 1}, {}),
        ({stays: 1}, {key: 2}),
        ({stays: 1}, {key: 3}),
        ({stays: 1}, {}),
    ]
    assert [(a.expected(on_a), b.expected(on_b)) for on_a, on_b in wanted] == seen
    assert 0 == (await fleet.reconcile()).writes
