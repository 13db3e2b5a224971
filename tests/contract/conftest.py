"""Real panels are left as they were found: looked at before the first test, compared after the last."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.live.address import addresses, run
from tests.contract.live.hand import Doc, Hand, unanswered
from tests.contract.panels.stage import REMARK, clear, is_written_by_a_test

COUNTED = frozenset({
    "up", "down", "allTime", "lastOnline", "traffic", "clientStats", "lastTrafficResetTime",
})  # fmt: skip
"""What a panel counts by itself while tests run."""


@pytest.fixture(scope="session", autouse=True)
def real_panels_are_left_as_they_were() -> Iterator[None]:
    """Whatever else a real panel holds, its inbounds and clients, is untouched by the tests."""
    run(_clear_leftovers())
    before = _snapshots()
    yield
    assert before == _snapshots()


async def _clear_leftovers() -> None:
    """Remove what an earlier run left that was killed: inbounds that our remark begins."""
    for address in addresses():
        async with address.hand() as hand:
            inbounds = [i for i in await hand.inbounds() if i["remark"].startswith(f"{REMARK}-")]
            await clear(hand, {i["id"] for i in inbounds}, is_written_by_a_test)


def _snapshots() -> dict[str, Any]:
    found = {}

    async def look() -> None:
        for address in addresses():
            async with address.hand() as hand:
                found[address.prefix] = await _snapshot(hand)

    if addresses():
        run(look())
    return found


async def _snapshot(hand: Hand) -> dict[str, list[Doc]]:
    inbounds, clients = await hand.inbounds(), await hand.clients()
    return {
        "inbounds": [_lasting(inbound) for inbound in inbounds],
        "clients": sorted((_lasting(c) for c in clients), key=lambda c: str(c.get("email"))),
        "rows": sorted(
            ({**_lasting(row)} for i in inbounds for row in i["clientStats"] or []),
            key=lambda row: (str(row["email"]), row["inboundId"]),
        ),
    }


def _lasting(value: Doc) -> Doc:
    return {name: member for name, member in value.items() if name not in COUNTED}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what a real panel left without an answer, and a person did again."""
    for request in unanswered:
        terminalreporter.line(f"answered without a body, and done again: {request}")
