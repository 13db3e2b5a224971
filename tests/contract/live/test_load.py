"""The load that loses keys elsewhere: many issue at once into an inbound that is full already.

Panels up to 3.0.2 read, change and write a whole inbound for every call: two writers at once lose
clients that were answered with success. Here eight issuers work at once, and none of their keys is lost.
"""

import asyncio
import uuid
from collections import Counter
from dataclasses import replace

import pytest

from controller.core.features import features_of
from controller.service import open_controller
from desired_state.model.ids import KeyId
from tests.contract.live.address import LIVE, Live, number_of
from tests.contract.live.conftest import Open
from tests.contract.live.fleet import Fleet, issue
from tests.contract.panels.listeners import VLESS, Listener
from tests.contract.panels.stage import params

ISSUERS, EACH, RUNS = 8, 10, 2


# A real 3.1.0 takes a second or two for every client that joins two thousand.
@pytest.mark.timeout(900)
@pytest.mark.sampled(3)
@pytest.mark.parametrize("version", params(("2.9.4", "3.1.0", "3.6.0", *LIVE[:1])))
async def test_eight_issuers_at_once_lose_no_key(open_house: Open, version: str) -> None:
    full = 2_000 if isinstance(version, Live) else 200  # a simulated panel shares our processor
    # 3.1.0 creates one at a time: filled by us, it would take half an hour.
    foreign = 0 if features_of(number_of(version)).bulk_create else full
    fleet = await open_house(_full_of(foreign), a=version)
    site = fleet["a"]
    await fleet.issue(count=full - foreign)
    filling = await fleet.reconcile()
    assert (full - foreign, full) == (filling.totals["created"], len(await site.clients()))

    issued = await asyncio.gather(*(_issue_and_reconcile(fleet) for _ in range(ISSUERS)))

    fleet.note([key for keys in issued for key in keys])
    clients, held = await site.clients(), await site.held()
    assert full + ISSUERS * EACH == len(clients)
    assert full + ISSUERS * EACH == foreign + len(site.stage.keys)
    assert Counter(site.stage.keys) == Counter(email.split("-")[1] for email in held)
    assert {True} == {client["served"] for client in clients.values()}
    assert len(clients) == len({client["uuid"] for client in clients.values()})
    assert 0 == (await fleet.reconcile()).writes


def _full_of(foreign: int) -> Listener:
    """An inbound that its operator made with that many clients in it."""
    clients = [
        {"id": str(uuid.uuid4()), "email": f"theirs-{n}", "subId": f"theirs{n}", "enable": True}
        for n in range(foreign)
    ]
    return replace(VLESS, settings={**VLESS.settings, "clients": clients})


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
