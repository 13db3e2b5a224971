"""The load that loses keys elsewhere: many issue at once into an inbound that is full already.

Panels up to 3.0.2 read, change and write a whole inbound for every call: two writers at once lose
clients that were answered with success. Here eight issuers work at once, and none of their keys is lost.
"""

import asyncio
from collections import Counter

import pytest

from controller.service import open_controller
from desired_state.model.ids import KeyId
from tests.contract.live.address import LIVE, Live
from tests.contract.live.conftest import Open
from tests.contract.live.fleet import Fleet, issue
from tests.contract.panels.listeners import VLESS
from tests.contract.panels.stage import params

ISSUERS, EACH, RUNS = 8, 10, 2


@pytest.mark.parametrize("version", params(("2.9.4", "3.6.0", *LIVE[:1])))
async def test_eight_issuers_at_once_lose_no_key(open_house: Open, version: str) -> None:
    fleet = await open_house(VLESS, a=version)
    filled = 2_000 if isinstance(version, Live) else 200  # a simulated panel shares our processor
    await fleet.issue(count=filled)
    filling = await fleet.reconcile()

    issued = await asyncio.gather(*(_issue_and_reconcile(fleet) for _ in range(ISSUERS)))

    fleet.note([key for keys in issued for key in keys])
    held = await fleet["a"].held()
    keys = Counter(email.split("-")[1] for email in held)
    assert filled == filling.totals["created"]
    assert filled + ISSUERS * EACH == len(fleet["a"].stage.keys)
    assert Counter(fleet["a"].stage.keys) == keys
    assert {True} == {served for _, served in held.values()}
    assert len(held) == len({c["uuid"] for c in (await fleet["a"].clients()).values()})
    assert 0 == (await fleet.reconcile()).writes


async def _issue_and_reconcile(fleet: Fleet) -> list[KeyId]:
    """Issue one after another, with runs in between, as a process of its own would."""
    issued: list[KeyId] = []
    async with open_controller(fleet.settings) as controller:
        for _ in range(RUNS):
            for _ in range(EACH // RUNS):
                issued += await issue(controller.store, 1)
            report = await controller.reconcile(wait=True)
            assert not report.failed, report.failed
    return issued
