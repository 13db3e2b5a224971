"""The control port looks into a panel and changes it by hand."""

import json

import pytest

NEWEST, V2 = "3.6.0", "2.9.4"


@pytest.mark.parametrize("version", [V2, NEWEST])
async def test_state_shows_the_database_parsed(open_site, version):
    site = await open_site(version)
    inbound = await site.inbound()
    await site.add("bob", inbound)

    state = await site.control("/state")

    assert {"version": version, "writes": 1, "requests": 1} == {
        name: state[name] for name in ("version", "writes", "requests")
    }
    assert ["bob"] == [c["email"] for c in state["inbounds"][0]["settings"]["clients"]]
    assert "reality" == state["inbounds"][0]["streamSettings"]["security"]
    assert ["bob"] == [row["email"] for row in state["traffic"]]
    assert ([] if version == V2 else [[inbound]]) == [c["inboundIds"] for c in state["clients"]]


@pytest.mark.parametrize("version", [V2, NEWEST])
async def test_the_size_of_a_panel_is_told_without_its_clients(open_site, version):
    site = await open_site(version)
    await site.inbound()
    await site.add("bob")
    await site.add("eve")

    assert {"clients": 2, "requests": 2} == await site.control("/size")


async def test_requests_are_logged_until_forgotten(open_site):
    site = await open_site(V2)
    await site.inbound()
    await site.add("bob")
    await site.api("inbounds/list")

    logged = await site.control("/requests")
    await site.control("/requests", method="DELETE")

    assert [("POST", True, 200), ("GET", False, 200)] == [
        (line["method"], line["write"], line["status"]) for line in logged
    ]
    assert [] == await site.control("/requests")


async def test_the_clock_moves_and_dates_answers(open_site):
    site = await open_site(V2)
    before = (await site.control("/state"))["now_ms"]

    await site.control("/clock", {"advance_s": 86_400})
    after = (await site.control("/state"))["now_ms"]
    response = await site.http.get("/")

    assert 86_400_000 <= after - before < 86_460_000
    assert "Tue, 24 Nov 2026" in response.headers["date"]


async def test_inbounds_are_made_changed_and_deleted_by_hand(open_site):
    site = await open_site(NEWEST)
    first = await site.inbound("trojan", 8443, remark="mine", tag="mine-tag")

    await site.control(f"/inbounds/{first}", {"set": {"remark": "yours", "port": 9443}})
    shown = (await site.control("/state"))["inbounds"][0]
    await site.control(f"/inbounds/{first}", method="DELETE")

    assert ("yours", 9443, "mine-tag") == (shown["remark"], shown["port"], shown["tag"])
    assert [] == (await site.control("/state"))["inbounds"]


@pytest.mark.parametrize("version", [V2, NEWEST])
async def test_clients_are_added_edited_and_deleted_by_hand(open_site, version):
    site = await open_site(version)
    inbound = await site.inbound()
    client = {"id": "x", "email": "hand", "enable": True, "totalGB": 5, "extra": 1}

    await site.control("/clients/add", {"inbound": inbound, "client": client})
    assert client == site.entry("hand")
    await site.control("/clients/edit", {"email": "hand", "set": {"totalGB": 7, "email": "new"}})
    assert (7, 7) == (site.entry("new")["totalGB"], site.row("new").total)
    assert version == V2 or site.record("new")["totalGB"] == 7
    await site.control("/clients/delete", {"email": "new"})

    state = await site.control("/state")
    assert ([], [], []) == (
        state["inbounds"][0]["settings"]["clients"],
        state["clients"],
        state["traffic"],
    )


async def test_a_disabled_client_by_hand_stays_disabled(open_site):
    site = await open_site(NEWEST)
    inbound = await site.inbound()

    client = {"id": "x", "email": "off", "enable": False}
    await site.control("/clients/add", {"inbound": inbound, "client": client})

    assert (False, False) == (site.record("off")["enable"], site.row("off").enable)


async def test_wipe_leaves_an_empty_panel_with_another_identity(open_site):
    site = await open_site(NEWEST)
    await site.inbound()
    old = (await site.control("/state"))["guid"]

    await site.control("/wipe", {})
    wiped = await site.control("/state")
    await site.control("/wipe", {"keep_guid": True})

    assert [] == wiped["inbounds"]
    assert old != wiped["guid"]
    assert wiped["guid"] == (await site.control("/state"))["guid"]


async def test_wipe_ends_cookie_sessions(open_site):
    site = await open_site(V2)
    await site.control("/wipe", {})

    assert {"status": 404} == await site.api("inbounds/list")


async def test_restart_keeps_sessions_and_forgets_the_lockout(open_site):
    site = await open_site("3.2.8", logged_in=False)
    for _ in range(5):
        await site.log_in(password="nope")
    assert not (await site.log_in())["success"]

    await site.control("/restart", {})
    assert (await site.log_in())["success"]
    await site.control("/restart", {})

    assert (await site.api("inbounds/list"))["success"]


async def test_guid_changes_on_demand(open_site):
    site = await open_site(NEWEST)

    await site.control("/guid", {"guid": "abc"})
    assert "abc" == (await site.control("/state"))["guid"]
    await site.control("/guid", {"guid": None})

    assert 36 == len((await site.control("/state"))["guid"])


@pytest.mark.parametrize("version", [V2, NEWEST])
async def test_restore_brings_back_the_database_of_a_snapshot(open_site, version):
    site = await open_site(version)
    await site.inbound()
    await site.add("old")
    backup = (await site.control("/snapshot", {}))["id"]
    await site.add("new")

    await site.control("/restore", {"id": backup})

    assert ["old"] == await site.emails()
    assert site.row("new") is None


async def test_restore_of_an_older_version_migrates(open_site):
    site = await open_site(V2)
    await site.inbound()
    await site.add("old")
    backup = (await site.control("/snapshot", {}))["id"]
    await site.control("/upgrade", {"version": NEWEST})
    await site.control("/clients/delete", {"email": "old"})

    await site.control("/restore", {"id": backup})

    assert "old" in site.panel.state.records_by_email


async def test_cost_makes_writes_wait_by_the_size_of_the_inbound(open_site, monkeypatch):
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("simulator.gate.asyncio.sleep", note)
    site = await open_site(V2)
    await site.inbound()
    await site.add("one")
    await site.control("/cost", {"per_client_us": 1000})

    await site.add("two")
    await site.add("three")
    await site.api("inbounds/list")

    assert [0.001, 0.002] == waits


async def test_xray_state_is_told_by_the_status(open_site):
    site = await open_site(NEWEST)
    await site.api("server/status")
    await site.control("/clock", {"advance_s": 5})

    await site.control("/xray", {"state": "stop"})

    assert "stop" == (await site.api("server/status"))["obj"]["xray"]["state"]


async def test_options_change_credentials_and_end_sessions(open_site):
    site = await open_site(NEWEST, logged_in=False)
    await site.log_in()

    await site.control("/options", {"password": "new", "token": "n" * 48})

    assert {"status": 404} == await site.api("inbounds/list")
    assert not (await site.log_in())["success"]
    assert (await site.log_in(password="new"))["success"]
    site.http.headers["authorization"] = "Bearer " + "n" * 48
    site.http.cookies.clear()
    assert (await site.api("inbounds/list"))["success"]


async def test_a_wrong_call_is_refused_with_a_reason(open_site):
    site = await open_site(V2)

    answers = [
        await site.ctl.post("/inbounds", json={"port": 1}),
        await site.ctl.post("/clients/edit", json={"email": "nobody", "set": {}}),
        await site.ctl.post("/faults", json={"kind": "nonsense"}),
        await site.ctl.post("/upgrade", json={"version": "2.3.15"}),
        await site.ctl.post("/traffic", json={"email": "nobody"}),
    ]

    assert [400] * 5 == [answer.status_code for answer in answers]
    assert all(json.loads(answer.text)["error"] for answer in answers)
    assert "2.9.4" == str(site.panel.version)


@pytest.mark.parametrize("version", [V2, "3.2.8", NEWEST])
async def test_the_trail_tells_what_writes_did_and_who_sent_them(open_site, version):
    site = await open_site(version)
    await site.inbound()
    await site.add("before")
    await site.control("/trail", {"on": True})
    site.http.headers["user-agent"] = "somebody"

    await site.add("bob")
    await site.control("/clients/edit", {"email": "before", "set": {"enable": False}})
    await site.delete("nobody")
    await site.delete("bob")
    seen = await site.control("/trail")
    await site.control("/trail", {"on": False})
    await site.add("late")

    assert [("somebody", ["bob"], [], []), ("somebody", [], ["bob"], [])] == [
        (line["agent"], line["came"], line["went"], line["changed"]) for line in seen
    ]
    assert [] == await site.control("/trail")
    assert "somebody" == (await site.control("/requests"))[-1]["agent"]


async def test_the_trail_shows_a_lost_answer_and_no_lie(open_site):
    """What was applied without being answered is there, what was only answered is not."""
    site = await open_site(NEWEST)
    await site.inbound()
    await site.control("/trail", {"on": True})
    await site.arm("lie", method="POST")
    await site.add("lied")
    await site.arm("error_500_applied", method="POST")

    await site.add("applied")

    assert [["applied"]] == [line["came"] for line in await site.control("/trail")]
