"""Adoption through the service: what a panel holds becomes ours without a write, on every family."""

from typing import Any

import pytest
from sqlalchemy import select

from controller.jobs.snapshot import read_fleet
from desired_state.commands import adoption, keys
from desired_state.commands.adoption_facts import AdoptionWish
from desired_state.model.ids import NodeName
from desired_state.queries.key import show_key
from desired_state.store.tables.adoption import AdoptionRow, FoundClientRow
from desired_state.store.tables.status import EventRow, KeyUsageRow
from simulator import by_hand
from simulator.control import view_panel
from tests.integration.runtime.fleet import TARIFF, Wanted, journal_of, open_fleet

VERSIONS = ("2.9.4", "3.0.2", "3.2.8", "3.6.0")
ONE = NodeName("one")
WISH = AdoptionWish(tariff=TARIFF)


def client(number: int, email: str, **values: Any) -> dict[str, Any]:
    return {
        "id": f"7f1d0c52-3a76-4a55-9a41-0d1f2f6a0b{number:02d}", "email": email,
        "subId": f"sub{number:013d}", "enable": True, "flow": "", "limitIp": 0, "totalGB": 0,
        "expiryTime": 0, "tgId": 700000 + number, "reset": 0, "comment": "theirs", **values,
    }  # fmt: skip


@pytest.fixture(params=[pytest.param(v, marks=pytest.mark.sampled(3)) for v in VERSIONS])
async def fleet(request, tmp_path, monkeypatch):
    """One node whose panel carries two people's clients."""
    async with open_fleet(tmp_path, monkeypatch, one=Wanted(request.param)) as fleet:
        panel = fleet["one"].panel
        first = min(panel.state.inbounds)
        by_hand.add_client(panel, first, client(1, "Ivan", totalGB=100))
        by_hand.add_client(panel, first, client(2, "petr"))
        yield fleet


def use(fleet, email, up, down):
    row = fleet["one"].panel.state.traffic.get(email)
    row.up, row.down = up, down
    fleet["one"].panel.touch()


def held(fleet) -> Any:
    state = view_panel(fleet["one"].panel)
    return state["inbounds"], state["clients"]


async def adopt(fleet, wish=WISH):
    assert "taken" == (await fleet.controller.take_inventory(ONE))["state"]
    plan = await fleet.run(lambda work: adoption.plan(work, ONE, wish))
    await fleet.run(lambda work: adoption.adopt(work, ONE, wish, plan.digest))
    return plan


async def keys_by_email(fleet):
    return {row.email: row.key for row in await journal_of(fleet, ONE)}


@pytest.mark.promise("S1")
@pytest.mark.promise("I1")
async def test_adopting_and_the_cycles_after_it_send_nothing_that_writes(fleet):
    before = held(fleet)
    await adopt(fleet)
    fleet.forget_requests()

    first = await fleet.reconcile()
    second = await fleet.reconcile()

    assert (True, True) == (first.in_sync, second.in_sync)
    assert (0, before) == (fleet["one"].writes(), held(fleet))
    assert {"Ivan", "petr"} == set(await keys_by_email(fleet))


async def test_the_counters_of_an_adopted_client_count_in_its_first_period(fleet):
    use(fleet, "Ivan", 30, 12)

    await adopt(fleet)
    await fleet.reconcile()

    found = await keys_by_email(fleet)
    async with fleet.controller.store.reading() as session:
        usage = await session.get_one(KeyUsageRow, (found["Ivan"], ONE))
        detail = await show_key(session, found["Ivan"], fleet.controller.clock.now())
        events = set(await session.scalars(select(EventRow.name).where(EventRow.email == "Ivan")))
    assert (0, 42) == (usage.base_bytes, usage.counter_bytes)
    assert (100, 42) == (detail.subscription.quota_bytes, detail.subscription.used_bytes)
    assert ["Ivan"] == [one.email for one in detail.adopted]
    assert {"client_adopted"} == events


@pytest.mark.promise("S3")
async def test_a_rotated_adopted_key_is_deleted_proved_gone_and_only_then_created(fleet):
    await adopt(fleet)
    await fleet.reconcile()
    found = await keys_by_email(fleet)
    before = (await read_fleet(fleet.controller.store, fleet.controller.clock.now())).nodes[0]
    fleet.forget_requests()

    await fleet.rotate(found["Ivan"])
    report = await fleet.reconcile()

    after = (await read_fleet(fleet.controller.store, fleet.controller.clock.now())).nodes[0]
    assert (2, 1) == (before.adopted, after.adopted)
    clients = fleet["one"].clients()
    assert report.in_sync
    assert "Ivan" not in clients
    assert {"petr"} < set(clients)
    assert {True} == set(fleet["one"].enabled().values())
    posts = [line for line in fleet["one"].log() if line.startswith("POST")]
    deletes = [at for at, line in enumerate(posts) if "del" in line.lower()]
    creates = [at for at, line in enumerate(posts) if "add" in line.lower()]
    assert max(deletes) < min(creates)


async def test_a_revoked_adopted_key_takes_its_client_and_no_other(fleet):
    await adopt(fleet)
    await fleet.reconcile()
    found = await keys_by_email(fleet)

    await fleet.revoke(found["Ivan"])
    await fleet.reconcile()

    assert {"petr"} == {e for e in fleet["one"].clients() if not e.startswith("x3f-")}


@pytest.mark.promise("S1")
async def test_a_released_client_stays_and_leaves_no_trace_in_the_journal(fleet):
    await adopt(fleet)
    await fleet.reconcile()
    found, before = await keys_by_email(fleet), held(fleet)
    fleet.forget_requests()

    await fleet.run(lambda work: adoption.release(work, found["Ivan"]))
    await fleet.reconcile()
    await fleet.reconcile()

    assert (0, before) == (fleet["one"].writes(), held(fleet))
    assert {"petr"} == set(await keys_by_email(fleet))
    offered = await fleet.run(lambda work: adoption.plan(work, ONE, WISH))
    assert ["Ivan"] == [one.found.email for key in offered.keys for one in key.clients]


async def test_a_revoke_before_the_first_look_still_takes_the_client(fleet):
    await adopt(fleet)
    shown = await fleet.run(lambda work: adoption.plan(work, ONE, WISH))
    async with fleet.controller.store.reading() as session:
        query = select(AdoptionRow.key_id).where(AdoptionRow.email == "Ivan")
        key = (await session.scalars(query)).one()

    await fleet.run(lambda work: keys.revoke(work, key))
    await fleet.reconcile()

    assert 2 == shown.ours
    assert "Ivan" not in fleet["one"].clients()


async def test_an_inventory_keeps_secrets_sealed_and_the_answer_holds_none(fleet):
    answer = await fleet.controller.take_inventory(ONE)

    async with fleet.controller.store.reading() as session:
        rows = (await session.scalars(select(FoundClientRow))).all()
    stored = " ".join(f"{row.facts} {row.secrets.token}" for row in rows)
    assert 2 == answer["clients"] == len(rows)
    assert "7f1d0c52" not in stored + str(answer)
    assert "sub0000" not in stored + str(answer)
