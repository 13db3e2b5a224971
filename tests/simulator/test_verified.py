"""What running panels were seen to do, beyond the recordings that are replayed."""

import json

import pytest

KEY16, KEY32 = "MDEyMzQ1Njc4OWFiY2RlZg==", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


async def opened(open_site, version: str, *emails: str):
    site = await open_site(version)
    await site.inbound()
    for email in emails:
        await site.add(email)
    return site


@pytest.mark.parametrize(
    ("version", "success"),
    [("2.3.15", True), ("2.8.0", True), ("2.8.11", False), ("3.0.2", False)],
)
async def test_traffic_of_an_unknown_email_in_v2(open_site, version, success):
    site = await opened(open_site, version)

    answer = await site.api("inbounds/getClientTraffics/nobody")

    assert (success, None) == (answer["success"], answer["obj"])


@pytest.mark.parametrize(
    ("version", "success"), [("3.1.0", False), ("3.2.8", True), ("3.6.0", True)]
)
async def test_traffic_of_an_unknown_email_in_v3(open_site, version, success):
    site = await opened(open_site, version)

    assert success == (await site.api("clients/traffic/nobody"))["success"]


async def test_a_kept_row_without_a_client_is_refused(open_site):
    site = await opened(open_site, "3.6.0", "bob")
    await site.http.post("/panel/api/clients/del/bob?keepTraffic=1")

    answer = await site.api("clients/traffic/bob")

    assert "Client Not Found In Inbound For Email: bob" in answer["msg"]


@pytest.mark.parametrize(("version", "kept"), [("2.8.11", True), ("2.9.4", False)])
async def test_deleting_under_the_wrong_inbound_proves_nothing(open_site, version, kept):
    site = await opened(open_site, version, "a", "b")
    await site.inbound("vless", 444)
    await site.add("c", 2)
    key = site.entry("a")["id"]

    answer = await site.api(f"inbounds/2/delClient/{key}", {})

    # The inbound has another client, so the rule about the last one does not interfere.
    assert kept == answer["success"]
    assert ["a", "b"] == await site.emails(1)


@pytest.mark.parametrize(
    ("version", "comment"), [("3.2.8", "second"), ("3.5.0", "first"), ("3.6.0", "first")]
)
async def test_adding_again_overwrites_or_is_skipped(open_site, version, comment):
    site = await opened(open_site, version)
    await site.add("bob", comment="first")

    assert (await site.add("bob", comment="second"))["success"]
    assert comment == site.record("bob")["comment"]


async def test_names_that_no_path_can_hold(open_site):
    old, new = await opened(open_site, "3.1.0", "a"), await opened(open_site, "3.2.5", "a")

    answers = [
        [(await site.add(email, subId=sub))["success"] for email, sub in names]
        for site in (old, new)
        for names in [[("b c", "x"), ("d/e", "y"), ("other", "sub-a")]]
    ]

    assert [[True, True, True], [False, False, False]] == answers


@pytest.mark.parametrize("version", ["3.1.0", "3.2.8", "3.6.0"])
async def test_a_refused_add_may_have_happened(open_site, version):
    site = await opened(open_site, version)

    answer = await site.add("bob", 1, 99)

    assert (False, "Something went wrong (record not found)") == (answer["success"], answer["msg"])
    assert ["bob"] == await site.emails()


@pytest.mark.parametrize(("version", "made"), [("2.9.4", True), ("3.1.0", True), ("3.2.0", False)])
async def test_an_inbound_out_of_nothing(open_site, version, made):
    site = await open_site(version)

    answer = await site.api("inbounds/add", {})

    assert made == answer["success"]
    assert made or answer["obj"]["issues"]


async def test_ports_and_protocols_are_not_checked_early(open_site):
    old, new = await open_site("3.1.0"), await open_site("3.2.8")
    forms = [{"port": 70000, "protocol": "vless"}, {"port": 1, "protocol": "nonsense"}]

    answers = [
        [(await site.api("inbounds/add", form))["success"] for form in forms] for site in (old, new)
    ]

    assert [[True, True], [False, False]] == answers


@pytest.mark.parametrize(
    ("version", "shown"), [("3.1.0", False), ("3.2.8", False), ("3.5.0", True)]
)
async def test_the_panels_guid_is_told_late(open_site, version, shown):
    site = await open_site(version)
    await site.api("server/status")
    await site.control("/clock", {"advance_s": 5})

    status = (await site.api("server/status"))["obj"]

    assert shown == ("panelGuid" in status)
    assert version == status["panelVersion"]


async def test_one_password_for_all_protocols_of_the_right_size(open_site):
    site = await opened(open_site, "3.6.0")
    settings = {"method": "2022-blake3-aes-256-gcm", "password": KEY32}
    await site.inbound("trojan", 444)
    await site.inbound("shadowsocks", 445, settings=settings)

    await site.add("bob", 1, 2, 3, password=KEY32)

    assert KEY32 == site.record("bob")["password"]
    assert (KEY32, KEY32) == (site.entry("bob", 2)["password"], site.entry("bob", 3)["password"])


async def test_attaching_across_key_sizes_parts_the_passwords(open_site):
    site = await open_site("3.6.0")
    await site.inbound("trojan", 444)
    settings = {"method": "2022-blake3-aes-128-gcm", "password": KEY16}
    await site.inbound("shadowsocks", 445, settings=settings)
    await site.add("bob", 1, password="trojan-secret")

    await site.api("clients/bob/attach", {"inboundIds": [2]})

    assert "trojan-secret" == site.entry("bob", 1)["password"]
    assert site.record("bob")["password"] == site.entry("bob", 2)["password"] != "trojan-secret"


@pytest.mark.parametrize("version", ["2.9.4", "3.0.2"])
async def test_an_upgrade_keeps_the_clients(open_site, version):
    site = await opened(open_site, version)
    await site.add("a", totalGB=7, comment="note", tgId=5)
    await site.inbound("trojan", 444)
    settings = {"clients": [{"email": "b", "password": "p", "enable": True, "subId": "s"}]}
    await site.api("inbounds/addClient", {"id": 2, "settings": json.dumps(settings)})
    before = site.entry("a")["id"]

    await site.control("/upgrade", {"version": "3.6.0"})
    site.http.headers["authorization"] = "Bearer " + "t" * 48
    listed = {row["email"]: row for row in (await site.api("clients/list"))["obj"]}

    assert {"a", "b"} == listed.keys()
    assert (before, 7, "note", 5, "sub-a", [1]) == tuple(
        listed["a"][name] for name in ("uuid", "totalGB", "comment", "tgId", "subId", "inboundIds")
    )
    assert ("p", "s", [2]) == tuple(listed["b"][n] for n in ("password", "subId", "inboundIds"))


async def test_an_upgrade_heals_a_poisoned_panel(open_site):
    site = await opened(open_site, "2.9.4")
    client = {"id": "x", "enable": True}
    await site.control("/clients/add", {"inbound": 1, "client": client})
    poisoned = await site.add("bob")

    await site.control("/upgrade", {"version": "3.0.2"})
    site.http.headers["authorization"] = "Bearer " + "t" * 48

    assert (False, True) == (poisoned["success"], (await site.add("bob"))["success"])


@pytest.mark.parametrize("version", ["3.2.8", "3.6.0"])
async def test_a_bulk_with_three_protocols(open_site, version):
    site = await opened(open_site, version)
    await site.inbound("trojan", 444)
    await site.inbound("shadowsocks", 445)
    body = [{"client": {"email": f"c{n}"}, "inboundIds": [1, 2, 3]} for n in range(3)]

    answer = await site.api("clients/bulkCreate", body)

    assert {"created": 3} == answer["obj"]
    assert [["c0", "c1", "c2"]] * 3 == [await site.emails(inbound) for inbound in (1, 2, 3)]


async def test_a_disabled_reality_of_v2_is_told_by_settings_and_row(open_site):
    site = await opened(open_site, "2.9.4")
    await site.add("off", enable=False)

    assert (False, False) == (site.entry("off")["enable"], site.row("off").enable)


async def test_the_stored_text_is_rewritten_by_the_first_client_write(open_site):
    site = await open_site("2.9.4")
    posted = '{"decryption":"none", "clients":[]}'
    form = {"port": 1, "protocol": "vless", "settings": posted}
    await site.api("inbounds/add", form)
    before = (await site.api("inbounds/get/1"))["obj"]["settings"]

    await site.add("bob")
    after = (await site.api("inbounds/get/1"))["obj"]["settings"]

    assert posted == before
    assert after == json.dumps(json.loads(after), indent=2, sort_keys=True)


async def test_the_same_seed_makes_up_the_same_values(open_site):
    sites = [await opened(open_site, "3.6.0") for _ in range(2)]
    for site in sites:
        await site.api("clients/add", {"client": {"email": "bob"}, "inboundIds": [1]})

    uuids = {site.record("bob")["uuid"] for site in sites}

    assert 1 == len(uuids)
