"""Each oddity that the simulator repeats, in the versions that have it and in those that have not."""

import json

import pytest

from tests.simulator.conftest import TOKEN

ONE = "00000000-0000-4000-8000-000000000001"


async def opened(open_site, version: str, *emails: str, **options):
    site = await open_site(version, **options)
    await site.inbound()
    for email in emails:
        await site.add(email)
    return site


async def post_v2(site, **client):
    body = {"id": 1, "settings": json.dumps({"clients": [client]})}
    return await site.api("inbounds/addClient", body)


# -- what every version answers in its own way -----------------------------------------------------


@pytest.mark.parametrize(
    ("version", "status"),
    [("2.5.8", 404), ("2.6.0", 200), ("2.8.3", 200), ("2.8.4", 404), ("2.8.5", 404)],
)
async def test_quirk_absent_is_empty_200(open_site, version, status):
    site = await open_site(version)

    packed = await site.http.get("/no/such", headers={"accept-encoding": "gzip"})
    plain = await site.http.get("/no/such")

    assert (status, b"", 404) == (packed.status_code, packed.content, plain.status_code)
    assert b"404 page not found" == plain.content or version == "2.8.5"


@pytest.mark.parametrize(
    ("version", "status"), [("2.3.15", 200), ("2.6.6", 500), ("2.8.11", 500), ("2.9.4", 200)]
)
async def test_quirk_panic_is_empty_200(open_site, version, status):
    site = await opened(open_site, version)
    body = {"id": 1, "settings": "{}"}
    path = "/panel/api/inbounds/addClient"

    packed = await site.http.post(path, json=body, headers={"accept-encoding": "gzip"})
    plain = await site.http.post(path, json=body)

    assert (status, b"", 500) == (packed.status_code, packed.content, plain.status_code)


async def test_quirk_first_status_null(open_site):
    site = await open_site("3.6.0")

    first = await site.api("server/status")
    await site.control("/clock", {"advance_s": 5})
    later = await site.api("server/status")
    await site.control("/restart", {})

    assert {"success": True, "msg": "", "obj": None} == first
    assert "3.6.0" == later["obj"]["panelVersion"]
    assert (await site.api("server/status"))["obj"] is None


@pytest.mark.parametrize(("version", "count"), [("2.3.15", 2), ("2.8.11", 1)])
async def test_quirk_cookie_set_twice(open_site, version, count):
    site = await open_site(version, logged_in=False)

    answer = await site.http.post("/login", data={"username": "admin", "password": "admin"})

    assert count == len(answer.headers.get_list("set-cookie"))


@pytest.mark.parametrize(("version", "survives"), [("2.9.4", True), ("3.0.2", False)])
async def test_quirk_cookie_carries_user(open_site, version, survives):
    site = await open_site(version, logged_in=False)
    await site.log_in()

    await site.control("/options", {"password": "new"})

    assert survives == (await site.api("inbounds/list")).get("success", False)


# -- inbounds --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "shows"), [("2.3.15", True), ("2.9.4", False)])
async def test_quirk_refused_add_shows_object(open_site, version, shows):
    site = await opened(open_site, version)

    refused = await site.api("inbounds/add", {"port": 443, "protocol": "vless", "settings": ""})

    assert not refused["success"]
    assert shows == (refused["obj"] is not None)


@pytest.mark.parametrize(("version", "done"), [("3.1.0", False), ("3.2.8", True)])
async def test_quirk_missing_inbound_deleted(open_site, version, done):
    site = await open_site(version)

    assert done == (await site.api("inbounds/del/99", {}))["success"]


@pytest.mark.parametrize(("version", "expected"), [("3.2.0", 2), ("3.2.5", 1)])
async def test_quirk_inbound_ids_reused(open_site, version, expected):
    site = await opened(open_site, version)
    await site.api("inbounds/del/1", {})

    assert expected == await site.inbound()


@pytest.mark.parametrize("version", ["2.9.4", "3.0.2"])
async def test_quirk_emptied_inbound_deleted(open_site, version):
    site = await opened(open_site, version)
    await site.add("spent", expiryTime=1_600_000_000_000)

    await site.api("inbounds/delDepletedClients/1", {})

    assert [] == (await site.api("inbounds/list"))["obj"]


# -- clients of v2 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "refused"), [("2.3.15", True), ("2.9.4", True)])
async def test_quirk_client_without_email_poisons(open_site, version, refused):
    site = await opened(open_site, version, "fine")
    await post_v2(site, id=ONE, enable=True)

    later = await site.add("late")

    assert refused == (not later["success"])
    assert "converting NULL to string is unsupported" in later["msg"]


@pytest.mark.parametrize(("version", "done"), [("2.9.3", True), ("2.9.4", False)])
async def test_quirk_missing_client_deleted(open_site, version, done):
    site = await opened(open_site, version, "a", "b")

    answer = await site.api(f"inbounds/1/delClient/{ONE}", {})

    assert done == answer["success"]
    assert ["a", "b"] == await site.emails()


async def test_quirk_row_missing_blocks_delete(open_site):
    site = await opened(open_site, "2.9.4", "a", "b")
    site.panel.state.traffic.delete("a")

    answer = await site.delete("a")

    assert "Something went wrong (record not found)" == answer["msg"]


async def test_a_delete_by_email_is_refused_for_the_missing_row_too(open_site):
    site = await opened(open_site, "2.9.4", "a", "b")
    site.panel.state.traffic.delete("a")

    answer = await site.api("inbounds/1/delClientByEmail/a", {})

    told = "Failed to delete client by email (Inbound Not Found For Email: a\n)"
    assert (told, ["a", "b"]) == (answer["msg"], await site.emails())


@pytest.mark.parametrize(("version", "enabled"), [("2.8.0", True), ("2.8.1", False)])
async def test_quirk_row_enable_always_true(open_site, version, enabled):
    site = await opened(open_site, version)

    await site.add("off", enable=False)

    assert (False, enabled) == (site.entry("off")["enable"], site.row("off").enable)


@pytest.mark.parametrize(("version", "crashes"), [("2.6.6", True), ("2.9.4", False)])
async def test_quirk_reset_unknown_crashes(open_site, version, crashes):
    site = await opened(open_site, version)

    answer = await site.api("inbounds/1/resetClientTraffic/nobody", {})

    assert ({"status": 500} == answer) == crashes


async def test_quirk_first_use_stamps_all(open_site):
    site = await opened(open_site, "2.9.4", "other")
    await site.add("first", expiryTime=-86_400_000)
    before = site.entry("other")["updated_at"]
    await site.control("/clock", {"advance_s": 60})

    await site.control("/traffic", {"email": "first", "up": 1, "down": 1})

    assert site.entry("other")["updated_at"] > before
    assert site.entry("first")["expiryTime"] == site.row("first").expiry_ms > 0


@pytest.mark.parametrize(
    ("version", "total", "up"), [("2.9.4", 10, 3), ("3.5.0", 10, 3), ("3.6.0", 99, 3)]
)
async def test_quirk_stale_row(open_site, version, total, up):
    site = await opened(open_site, version, "other")
    await site.add("bob", totalGB=10)
    await site.control("/traffic", {"email": "bob", "up": 3, "down": 0})
    row = site.row("bob")
    await site.control("/clients/delete", {"email": "bob"})
    site.panel.state.traffic.add(row)

    await site.add("bob", totalGB=99)

    assert (total, up) == (site.row("bob").total, site.row("bob").up)


# -- clients of v3 ---------------------------------------------------------------------------------


async def test_quirk_add_forces_enable(open_site):
    site = await opened(open_site, "3.6.0")

    await site.add("off", enable=False)

    enables = site.record("off")["enable"], site.entry("off")["enable"], site.row("off").enable
    assert (True, True, True) == enables


async def test_quirk_record_created_enabled(open_site):
    site = await open_site("3.6.0")
    client = {"id": ONE, "email": "off", "enable": False}
    form = {"port": 443, "protocol": "vless", "settings": {"clients": [client]}}

    await site.api("inbounds/add", form)
    created = site.record("off")["enable"]
    await site.add("other")

    assert (True, False) == (created, site.record("off")["enable"])


@pytest.mark.parametrize(("version", "kept"), [("3.1.0", False), ("3.2.8", False), ("3.3.1", True)])
async def test_quirk_update_rotates_credentials(open_site, version, kept):
    site = await opened(open_site, version, "bob")
    before = site.record("bob")["uuid"]

    await site.api("clients/update/bob", {"email": "bob", "enable": True})

    assert kept == (site.record("bob")["uuid"] == before)


@pytest.mark.parametrize(("version", "uuid"), [("3.1.0", ""), ("3.2.0", ONE)])
async def test_quirk_save_overwrites_credentials(open_site, version, uuid):
    site = await opened(open_site, version)
    trojan = await site.inbound("trojan", 444)
    await site.add("bob", 1, id=ONE)
    client = {"email": "bob", "password": "p", "enable": True, "subId": "sub-bob"}

    await site.control(f"/inbounds/{trojan}", {"set": {"settings": {"clients": [client]}}})

    assert uuid == site.record("bob")["uuid"]


@pytest.mark.parametrize(("version", "done"), [("3.1.0", False), ("3.2.8", True), ("3.6.0", True)])
async def test_quirk_re_add_breaks_unique(open_site, version, done):
    site = await opened(open_site, version, "bob")

    assert done == (await site.add("bob"))["success"]


@pytest.mark.parametrize(
    ("version", "detached_row"), [("3.1.0", False), ("3.2.8", True), ("3.6.0", True)]
)
async def test_quirk_detach_drops_row(open_site, version, detached_row):
    site = await opened(open_site, version, "bob")

    await site.api("clients/bob/detach", {"inboundIds": [1]})

    assert detached_row == (site.row("bob") is not None)
    assert "bob" in site.panel.state.records_by_email


@pytest.mark.parametrize(("version", "kept"), [("3.5.0", False), ("3.6.0", True)])
async def test_quirk_keep_traffic_ignored(open_site, version, kept):
    site = await opened(open_site, version, "bob")

    await site.http.post("/panel/api/clients/del/bob?keepTraffic=1")

    assert kept == (site.row("bob") is not None)


@pytest.mark.parametrize(("version", "kept"), [("3.5.0", False), ("3.6.0", True)])
async def test_quirk_bulk_keep_traffic_ignored(open_site, version, kept):
    site = await opened(open_site, version, "bob")

    await site.api("clients/bulkDel", {"emails": ["bob"], "keepTraffic": True})

    assert kept == (site.row("bob") is not None)


@pytest.mark.parametrize(("version", "created"), [("3.2.7", 2), ("3.2.8", 1)])
async def test_quirk_bulk_group_fails_together(open_site, version, created):
    site = await opened(open_site, version, "bob")
    await site.inbound("vless", 444)
    items = [("new", 1), ("BOB", 1), ("else", 2)]
    body = [{"client": {"email": e, "subId": f"x{e}"}, "inboundIds": [ib]} for e, ib in items]

    answer = (await site.api("clients/bulkCreate", body))["obj"]

    assert created == answer["created"]
    assert {"Duplicate email: BOB\n"} == {item["reason"] for item in answer["skipped"]}


async def test_quirk_ss_key_replaced(open_site):
    site = await open_site("3.6.0")
    await site.inbound("shadowsocks", 444)

    await site.add("bob", 1, password="short")

    assert 44 == len(site.record("bob")["password"])


@pytest.mark.parametrize(("version", "enabled"), [("3.2.8", False), ("3.3.1", True)])
async def test_quirk_reset_enables(open_site, version, enabled):
    site = await opened(open_site, version, "bob")
    await site.api("clients/update/bob", {"email": "bob", "enable": False})

    await site.api("clients/resetTraffic/bob", {})

    assert enabled == site.record("bob")["enable"]


@pytest.mark.parametrize(("version", "done"), [("3.4.2", True), ("3.5.0", False), ("3.6.0", False)])
async def test_quirk_mistyped_client_blocks(open_site, version, done):
    site = await opened(open_site, version, "bob")
    settings = site.panel.state.inbounds[1].settings
    settings.append([{"id": ONE, "email": "bad", "tgId": "777", "enable": True}])

    answer = await site.add("eve")

    assert done == answer["success"]
    assert done or "Client.tgId of type int64" in answer["msg"]


async def test_quirk_renewal_enables_first_only(open_site):
    site = await opened(open_site, "3.6.0")
    await site.inbound("vless", 444)
    await site.add("bob", 1, 2, reset=30, expiryTime=1_795_415_100_000)
    for inbound in (1, 2):
        entry = site.panel.state.inbounds[inbound].settings.find("bob")
        site.panel.state.inbounds[inbound].settings.change(entry, enable=False)

    await site.control("/clock", {"advance_s": 200})

    assert (True, False) == (site.entry("bob", 1)["enable"], site.entry("bob", 2)["enable"])
    assert site.row("bob").expiry_ms > 1_795_415_100_000


async def test_quirk_list_attachments_unordered(open_site):
    site = await opened(open_site, "3.6.0")
    await site.inbound("vless", 444)
    await site.add("bob", 1, 2)
    await site.add("eve", 1)

    listed = (await site.api("clients/list"))["obj"][0]["inboundIds"]
    single = (await site.api("clients/get/bob"))["obj"]["inboundIds"]

    assert ([2, 1], [1, 2]) == (listed, single)


# -- upgrades --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "row"), [("2.3.15", True), ("2.8.11", False), ("3.0.2", False)])
async def test_quirk_upgrade_enables_records(open_site, old, row):
    site = await opened(open_site, old)
    await site.add("off", enable=False)

    await site.control("/upgrade", {"version": "3.6.0"})

    enables = site.record("off")["enable"], site.entry("off")["enable"], site.row("off").enable
    assert (True, False, row) == enables


# -- whom Xray serves --------------------------------------------------------------------------------


KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SS_2022 = {
    "protocol": "shadowsocks",
    "settings": {"method": "2022-blake3-aes-256-gcm", "password": KEY, "clients": []},
}


async def xray(site):
    told = (await site.control("/state"))["xray"]
    return {name: told[name] for name in ("restarts", "unserved")}


@pytest.mark.parametrize(
    ("version", "lost"),
    [("2.3.15", False), ("2.8.11", True), ("2.9.4", True), ("3.2.8", True), ("3.4.2", False)],
)
async def test_an_edited_shadowsocks_client_falls_out_of_the_running_xray(open_site, version, lost):
    site = await open_site(version)
    await site.inbound(**SS_2022)
    await site.add("a", id="", password=KEY)
    added = await xray(site)
    await site.control("/clock", {"advance_s": 31})
    settled = await xray(site)

    await edit_the_only_client(site)
    await site.control("/clock", {"advance_s": 31})
    edited = await xray(site)
    answer = await site.http.post(restart_path(version))
    restarted = await xray(site)

    assert {"restarts": 0, "unserved": [[1, "a"]] if lost else []} == added
    assert {"restarts": int(lost), "unserved": []} == settled
    assert {"restarts": int(lost), "unserved": [[1, "a"]] if lost else []} == edited
    assert answer.json()["success"]
    assert {"restarts": int(lost) + 1, "unserved": []} == restarted


async def edit_the_only_client(site):
    """Whatever is changed: the panel takes it out of Xray and puts it back."""
    client = {"email": "a", "password": KEY, "enable": True, "subId": "s", "totalGB": 9}
    if site.is_v2:
        settings = json.dumps({"clients": [client]})
        await site.api("inbounds/updateClient/a", {"id": 1, "settings": settings})
    else:
        await site.api("clients/update/a", client)


def restart_path(version):
    old = tuple(map(int, version.split("."))) < (2, 7, 0)
    return "/server/restartXrayService" if old else "/panel/api/server/restartXrayService"


@pytest.mark.parametrize(("before", "lingers"), [("2.3.15", True), ("2.9.4", False)])
async def test_who_came_alive_by_an_upgrade_stays_in_xray_until_it_is_restarted(
    open_site, before, lingers
):
    """Up to 2.8.0 no traffic row said that the client was off."""
    site = await opened(open_site, before)
    await site.add("a", enable=False)
    await site.control("/upgrade", {"version": "3.6.0"})
    up = (await site.control("/state"))["xray"]["lingering"]
    site.http.headers["authorization"] = f"Bearer {TOKEN}"

    answer = await site.api("clients/bulkDisable", {"emails": ["a"]})
    off = (await site.control("/state"))["xray"]["lingering"]
    await site.http.post(restart_path("3.6.0"))
    restarted = (await site.control("/state"))["xray"]["lingering"]

    assert answer["success"]
    assert [[], [[1, "a"]] if lingers else [], []] == [up, off, restarted]
