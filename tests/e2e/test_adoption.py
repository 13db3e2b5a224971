"""Typed by an operator: clients that a panel held before become keys and keep everything they have."""

import json
from typing import Any

import pytest

from simulator import by_hand
from tests.e2e.operator import Operator, Site, node
from tests.e2e.service import serving

DAY_MS = 86_400_000
GIB = 1024**3
UUID = "7f1d0c52-3a76-4a55-9a41-0d1f2f6a0b%02d"
MONTH = """\
apiVersion: x3fleet/v1
kind: Tariff
metadata: {name: month}
spec:
  title: {ru: "Месяц", en: "Month"}
  days: 30
  nodes: {count: all}
"""
OFTEN = ("2.9.4", "3.6.0")
VERSIONS = tuple(
    version if version in OFTEN else pytest.param(version, marks=pytest.mark.slow)
    for version in ("2.9.4", "3.0.2", "3.2.8", "3.6.0")
)


def client(number: int, email: str, **values: Any) -> dict[str, Any]:
    """What a person typed into the panel's form."""
    return {
        "id": UUID % number, "email": email, "subId": f"sub{number:013d}", "enable": True,
        "flow": "xtls-rprx-vision", "limitIp": 0, "totalGB": 0, "expiryTime": 0, "tgId": 0,
        "reset": 0, "comment": "", **values,
    }  # fmt: skip


def first_inbound(site: Site) -> int:
    return min(site.panel.state.inbounds)


def put(site: Site, *clients: dict[str, Any], inbound: int | None = None) -> None:
    for one in clients:
        by_hand.add_client(site.panel, inbound or first_inbound(site), one)


def held(site: Site) -> Any:
    """Everything that the panel holds of its clients, but for counters."""
    state = site.panel.state
    return [json.loads(inbound.settings.nested) for inbound in state.inbounds.values()]


def future_ms(site: Site, days: int) -> int:
    return site.panel.clock.now_ms() + days * DAY_MS


async def adopted(operator: Operator, *words: str) -> Any:
    """Show and apply."""
    shown = await operator.ask("nodes", "adopt", "a", *words, code=2)
    return await operator.ask("nodes", "adopt", "a", *words, "--apply", shown["digest"][:12])


async def declare(operator: Operator, *sites: tuple[str, Site]) -> None:
    fleet = operator.declare(*(node(name, site.url) for name, site in sites), tariff=MONTH)
    await operator.ask("db", "upgrade")
    await operator.ask("manifests", "apply", str(fleet))


@pytest.mark.parametrize("version", VERSIONS)
async def test_adopting_changes_nothing_on_the_panel_and_a_second_look_finds_nothing_new(
    operator, start_panel, version
):
    panel = await start_panel(version)
    put(
        panel.panel and panel,
        client(1, "Ivan", tgId=700001, totalGB=10 * GIB, limitIp=2, comment="paid"),
        client(2, "petr", expiryTime=future_ms(panel, 20)),
        client(3, "off", enable=False, tgId=700003),
    )
    await declare(operator, ("a", panel))
    before = held(panel)

    done = await adopted(operator, "--tariff", "month", "--without-person")
    ran = await operator.ask("reconcile", "now")
    again = await operator.ask("nodes", "adopt", "a", "--tariff", "month", "--without-person")

    assert (3, 3) == (done["keys"], done["clients"])
    assert before == held(panel)
    assert (True, 0, 0) == (ran["in_sync"], ran["totals"]["created"], ran["totals"]["deleted"])
    assert ([], 3) == (again["adopt"], again["ours"])
    listed = await operator.ask("keys", "list")
    assert [1, 1, 1] == [key["live"] for key in listed["keys"]]


@pytest.mark.parametrize("version", VERSIONS)
async def test_rotating_an_adopted_key_deletes_the_adopted_client_first(
    operator, start_panel, version
):
    panel = await start_panel(version)
    put(panel, client(1, "ivan", tgId=700001), client(2, "stranger"))
    await declare(operator, ("a", panel))
    await adopted(operator, "--tariff", "month")
    await operator.ask("reconcile", "now")
    (key,) = (await operator.ask("keys", "list"))["keys"]

    await operator.ask("keys", "rotate", key["key"])
    await operator.ask("reconcile", "now")

    emails = panel.emails
    assert "ivan" not in emails
    assert "stranger" in emails
    assert 1 == sum(email.startswith(f"x3f-{key['key']}-g2") for email in emails)


@pytest.mark.parametrize("version", ["2.9.4", "3.6.0"])
async def test_a_released_key_leaves_its_client_on_the_panel_as_a_foreign_one(
    operator, start_panel, version
):
    panel = await start_panel(version)
    put(panel, client(1, "ivan", tgId=700001), client(2, "petr", tgId=700002))
    await declare(operator, ("a", panel))
    await adopted(operator, "--tariff", "month")
    await operator.ask("reconcile", "now")
    before = held(panel)
    (row, _) = (await operator.ask("keys", "list"))["keys"]

    await operator.ask("keys", "release", row["key"])
    await operator.ask("reconcile", "now")
    await operator.ask("reconcile", "now")

    assert before == held(panel)
    (shown,) = (await operator.ask("nodes", "list"))["nodes"]
    assert (1, 1) == (shown["foreign"], shown["live"])
    offered = await operator.ask("nodes", "adopt", "a", "--tariff", "month", code=2)
    assert 1 == len(offered["adopt"])


async def test_a_client_of_several_inbounds_up_to_3_0_2_is_one_key(operator, start_panel):
    panel = await start_panel("2.9.4", inbounds=0)
    ids = [
        by_hand.add_inbound(panel.panel, {"protocol": "vless", "port": 21_643 + number})
        for number in range(2)
    ]
    put(panel, client(1, "ivan", tgId=700001), inbound=ids[0])
    put(panel, client(1, "ivan-2", tgId=700001), inbound=ids[1])
    await declare(operator, ("a", panel))
    before = held(panel)

    done = await adopted(operator, "--tariff", "month")
    ran = await operator.ask("reconcile", "now")

    assert (1, 2) == (done["keys"], done["clients"])
    assert (True, before) == (ran["in_sync"], held(panel))


async def test_the_same_credentials_on_two_panels_are_one_key_on_two_nodes(operator, start_panel):
    old, new = await start_panel("2.9.4"), await start_panel("3.6.0")
    for panel in (old, new):
        put(panel, client(1, "ivan", tgId=700001, totalGB=GIB))
    put(new, client(2, "petr", tgId=700002))
    await declare(operator, ("a", old), ("b", new))
    await adopted(operator, "--tariff", "month")
    await operator.ask("reconcile", "now")
    before = held(old), held(new)

    shown = await operator.ask("nodes", "adopt", "b", "--tariff", "month", code=2)
    await operator.ask("nodes", "adopt", "b", "--tariff", "month", "--apply", shown["digest"])
    ran = await operator.ask("reconcile", "now")

    listed = await operator.ask("keys", "list")
    assert [1, 2] == sorted(len(key["nodes"]) for key in listed["keys"])
    assert (True, before) == (ran["in_sync"], (held(old), held(new)))


async def test_what_would_be_adopted_foreign_and_doubled_is_told_with_reasons(
    operator, start_panel
):
    panel = await start_panel("2.9.4", inbounds=2)
    vless, trojan = sorted(panel.panel.state.inbounds)
    now = panel.panel.clock.now_ms()
    put(
        panel,
        client(1, "by-map"),
        client(2, "tg_700002"),
        client(3, "nobody"),
        client(4, "late", tgId=700004, expiryTime=now - 30 * DAY_MS),
        client(5, "not-begun", tgId=700005, expiryTime=-30 * DAY_MS),
        client(6, "twin", tgId=700006),
        client(6, "twin-b", tgId=700006),
        inbound=vless,
    )
    slash = {"password": "a/b", "email": "slash", "tgId": 700007, "enable": True}
    by_hand.add_client(panel.panel, trojan, slash)
    await declare(operator, ("a", panel))
    mapping = operator.folder / "map.csv"
    mapping.write_text(
        "email,telegramId,tariff,validUntil,quota\nBY-MAP,700001,month,2099-01-31,5GiB\n"
    )

    shown = await operator.ask(
        "nodes", "adopt", "a", "--map", str(mapping), "--tariff", "month", code=2
    )

    found = {one["clients"][0]["email"]: one for one in shown["adopt"]}
    assert {"by-map": "map", "tg_700002": "email"} == {
        email: one["matched_by"] for email, one in found.items()
    }
    assert 700001 == found["by-map"]["telegram_id"]
    assert "2099-02-01T00:00:00+00:00" == found["by-map"]["valid_until"]
    assert ["expiry_ms 0 -> 4073673600000", f"quota_bytes 0 -> {5 * GIB}"] == (
        found["by-map"]["clients"][0]["changes"]
    )
    assert {
        "nobody": "no-person", "late": "expired", "not-begun": "not-begun", "slash": "unaddressable",
    } == {one["email"]: one["why"] for one in shown["foreign"]}  # fmt: skip
    assert {"twin": "shared-credential", "twin-b": "shared-credential"} == {
        one["email"]: one["why"] for one in shown["doubled"]
    }
    assert [] == (await operator.ask("keys", "list"))["keys"]


async def test_terms_of_the_map_are_what_the_first_turn_writes_and_nothing_else(
    operator, start_panel
):
    panel = await start_panel("3.6.0")
    put(panel, client(1, "ivan", comment="note", tgId=5, totalGB=7), client(2, "petr"))
    await declare(operator, ("a", panel))
    mapping = operator.folder / "map.yaml"
    mapping.write_text(
        "clients:\n  - {uuid: %s, telegramId: 700001, tariff: month, devices: 2, quota: 5GiB}\n"
        % (UUID % 1)
    )
    before = panel.panel.state.records_by_email["ivan"].fields.copy()

    await adopted(operator, "--map", str(mapping))
    await operator.ask("reconcile", "now")

    after = panel.panel.state.records_by_email["ivan"].fields.copy()
    changed = {name for name in before if before[name] != after[name]}
    assert {"limitIp", "totalGB"} == changed - {"updatedAt"}
    assert (2, 5 * GIB) == (after["limitIp"], after["totalGB"])


async def test_a_digest_that_is_not_what_would_be_adopted_now_adopts_nothing(operator, start_panel):
    panel = await start_panel("3.6.0")
    put(panel, client(1, "ivan", tgId=700001))
    await declare(operator, ("a", panel))
    shown = await operator.ask("nodes", "adopt", "a", "--tariff", "month", code=2)
    put(panel, client(2, "petr", tgId=700002))

    refused = await operator.ask(
        "nodes", "adopt", "a", "--tariff", "month", "--apply", shown["digest"], code=1
    )

    assert "plan_stale" == refused["error"]["code"]
    assert [] == (await operator.ask("keys", "list"))["keys"]


async def test_adopting_twice_with_one_digest_adopts_once(operator, start_panel):
    panel = await start_panel("3.6.0")
    put(panel, client(1, "ivan", tgId=700001))
    await declare(operator, ("a", panel))
    shown = await operator.ask("nodes", "adopt", "a", "--tariff", "month", code=2)
    words = ("nodes", "adopt", "a", "--tariff", "month", "--apply", shown["digest"])

    first, second = await operator.ask(*words), await operator.ask(*words)

    assert (True, False) == (first["adopted"], second["adopted"])
    assert 1 == len((await operator.ask("keys", "list"))["keys"])


async def test_beside_a_running_service_the_panel_is_read_by_the_service(operator, start_panel):
    panel = await start_panel("3.6.0")
    put(panel, client(1, "ivan", tgId=700001))
    await declare(operator, ("a", panel))
    before = held(panel)

    async with serving(operator):
        done = await adopted(operator, "--tariff", "month")
        ran = await operator.ask("reconcile", "now")

    assert (1, True, before) == (done["keys"], ran["in_sync"], held(panel))
