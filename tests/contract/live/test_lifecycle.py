"""The life of a key from its manifest to its end, as somebody else sees it on the panel.

Manifest, issue, reconcile, rotate, revoke: after each step the panel is read past our adapter. The same
tests run over simulated panels on real ports and, given an address, over a real one.
"""

from typing import Any

import pytest

from desired_state.model.ids import KeyId
from tests.contract.live.address import LIVE
from tests.contract.live.conftest import Open
from tests.contract.live.fleet import DEVICES, TRAFFIC_GIB
from tests.contract.panels.listeners import (
    HYSTERIA2,
    SS_16,
    SS_32,
    SS_LEGACY,
    TROJAN,
    VLESS,
    VMESS,
    Listener,
)
from tests.contract.panels.stage import GIB, OLD, params, versions

SPINE = ("2.3.15", "2.9.4", "3.0.2", "3.1.0", "3.2.8", "3.6.0", *LIVE[:1])
WIDE = (VLESS, VMESS, TROJAN, SS_LEGACY, SS_32, HYSTERIA2)
"""One client is in all of them; a second size of a shadowsocks key would be refused."""

pytestmark = pytest.mark.sampled(3)
every_panel = pytest.mark.parametrize("version", params(SPINE))


@every_panel
async def test_a_key_lives_from_issue_to_rotation_to_revocation(
    open_house: Open, version: str
) -> None:
    fleet = await open_house(*WIDE, a=version)
    site = fleet["a"]
    first, second = await fleet.issue(count=2)
    seen: list[dict[str, Any]] = []

    async def step() -> None:
        report = await fleet.reconcile()
        assert report.in_sync, report
        seen.append(await site.held())

    await step()
    await fleet.rotate(first)
    await step()
    await fleet.revoke(first)
    await step()
    await fleet.revoke(second)
    await step()

    wanted: list[dict[KeyId, int]] = [{first: 1, second: 1}, {first: 2, second: 1}, {second: 1}, {}]
    assert [site.expected(keys) for keys in wanted] == seen


@every_panel
async def test_what_was_sold_is_what_the_panel_enforces(open_house: Open, version: str) -> None:
    fleet = await open_house(VLESS, TROJAN, a=version)
    site = fleet["a"]
    (key,) = await fleet.issue()

    await fleet.reconcile()

    clients = [c for e, c in (await site.clients()).items() if e in site.expected({key: 1})]
    assert {(TRAFFIC_GIB * GIB, DEVICES, True)} == {
        (client["totalGB"], client["limitIp"], client["served"]) for client in clients
    }
    vless = site.stage.inbounds["vless"]
    email = next(c["email"] for c in clients if vless in c["inboundIds"])
    assert "xtls-rprx-vision" == (await site.stage.hand.entry(vless, email))["flow"]
    assert len(clients) == len({client["subId"] for client in clients})
    assert 1 == len({client["expiryTime"] // 60_000 for client in clients})


@every_panel
async def test_a_rotated_key_has_nothing_in_common_with_the_old_one(
    open_house: Open, version: str
) -> None:
    fleet = await open_house(VLESS, TROJAN, a=version)
    (key,) = await fleet.issue()
    await fleet.reconcile()
    before = await fleet["a"].clients()

    await fleet.rotate(key)
    await fleet.reconcile()

    after = await fleet["a"].clients()
    secrets = ("uuid", "password", "subId", "email")
    old, new = (
        {c.get(name) for e, c in held.items() if key in e for name in secrets} - {"", None}
        for held in (before, after)
    )
    assert old
    assert set() == old & new


@every_panel
async def test_a_second_run_writes_nothing_and_looks_once(open_house: Open, version: str) -> None:
    fleet = await open_house(*WIDE, a=version)
    await fleet.issue(count=5)
    await fleet.reconcile()
    before = await fleet["a"].clients()

    report = await fleet.reconcile()

    assert (0, 1, 1) == (report.writes, report.totals["looks"], report.rounds)
    assert report.in_sync
    assert before == await fleet["a"].clients()


@every_panel
async def test_what_was_changed_by_hand_is_healed_and_foreign_clients_stay(
    open_house: Open, version: str
) -> None:
    fleet = await open_house(VMESS, a=version)
    site, hand = fleet["a"], fleet["a"].stage.hand
    (inbound,) = site.inbounds
    edited, deleted, third = await fleet.issue(count=3)
    await fleet.reconcile()
    emails = {key: email for key in (edited, deleted) for email in site.expected({key: 1})}
    before = await site.clients()

    await hand.edit_client(emails[edited], {"totalGB": 1, "limitIp": 77})
    await hand.delete_client(emails[deleted])
    foreign = {"id": "2b0c9d0e-5a3f-4d7b-9c1e-0f6a8b7c5d4e", "email": "x3f-hand-foreign"}
    await hand.add_client(inbound, foreign | {"subId": "x3f-hand-foreign", "comment": "theirs"})
    theirs = (await site.clients())["x3f-hand-foreign"]
    report = await fleet.reconcile()

    after = await site.clients()
    # 3.1.0 stamps every client of an inbound when one of them is written.
    assert comparable(theirs) == comparable(after.pop("x3f-hand-foreign"))
    assert [comparable(c) for c in before.values()] == [comparable(after[e]) for e in before]
    assert report.in_sync
    assert site.expected({edited: 1, deleted: 1, third: 1}) == await site.held()


@every_panel
async def test_a_suspended_key_is_switched_off_and_comes_back(
    open_house: Open, version: str
) -> None:
    fleet = await open_house(VLESS, a=version)
    site = fleet["a"]
    (key,) = await fleet.issue()
    await fleet.reconcile()
    seen = []

    for change in (fleet.suspend, fleet.resume):
        await change(key)
        report = await fleet.reconcile()
        assert report.in_sync
        seen.append(await site.held())

    assert [site.expected({key: 1}, served=False), site.expected({key: 1})] == seen


@every_panel
@pytest.mark.parametrize("listener", [SS_16, SS_32, SS_LEGACY], ids=lambda one: one.name)
async def test_a_shadowsocks_key_has_the_size_that_its_method_wants(
    open_house: Open, version: str, listener: Listener
) -> None:
    fleet = await open_house(listener, a=version)
    (key,) = await fleet.issue()

    report = await fleet.reconcile()

    ((email, client),) = [(e, c) for e, c in (await fleet["a"].clients()).items() if key in e]
    assert report.in_sync
    assert {email} == set(fleet["a"].expected({key: 1}))
    assert {16: 24, 32: 44}[listener.password_bytes] == len(client["password"])


@pytest.mark.parametrize("version", params(OLD))
async def test_the_last_key_leaves_a_placeholder_that_serves_nobody(
    open_house: Open, version: str
) -> None:
    """Panels up to 3.0.2 refuse to delete the last client of an inbound."""
    fleet = await open_house(VLESS, a=version)
    (key,) = await fleet.issue()
    await fleet.reconcile()

    await fleet.revoke(key)
    await fleet.reconcile()

    (left,) = (await fleet["a"].clients()).values()
    assert key not in left["email"]
    assert not left["served"]


@pytest.mark.parametrize("version", params(versions("3.2.0")))
async def test_a_client_without_its_inbounds_is_attached_again(
    open_house: Open, version: str
) -> None:
    fleet = await open_house(VLESS, TROJAN, a=version)
    site = fleet["a"]
    (key,) = await fleet.issue()
    await fleet.reconcile()
    (email,) = site.expected({key: 1})

    path = f"panel/api/clients/{email}/detach"
    await site.stage.hand.post(path, {"inboundIds": [site.stage.inbounds["trojan"]]})
    await fleet.reconcile()

    assert site.expected({key: 1}) == await site.held()


def comparable(client: dict[str, Any]) -> dict[str, Any]:
    """What a client is, but for what a panel counts or stamps, and its row's number."""
    stamps = ("id", "updatedAt", "createdAt", "updated_at", "created_at", "traffic")
    return {name: value for name, value in client.items() if name not in stamps}
