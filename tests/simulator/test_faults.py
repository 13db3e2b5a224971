"""Every kind of fault does what its name says, as often and where it was told to."""

import json

import pytest

from simulator.fault_kinds import KINDS

V2, V3 = "2.9.4", "3.6.0"
BOTH = pytest.mark.parametrize("version", [V2, V3])


def bulk(*emails: str) -> list[dict]:
    return [
        {"client": {"email": email, "subId": f"s-{email}"}, "inboundIds": [1]} for email in emails
    ]


async def opened(open_site, version: str, *emails: str):
    site = await open_site(version)
    await site.inbound()
    for email in emails:
        await site.add(email)
    return site


# -- where and how often ---------------------------------------------------------------------------


async def test_a_fault_happens_count_times_after_some(open_site):
    site = await opened(open_site, V2)
    await site.arm("error_500", method="GET", path="inbounds/list", after=1, count=2)

    statuses = [(await site.http.get("/panel/api/inbounds/list")).status_code for _ in range(4)]

    assert [200, 500, 500, 200] == statuses
    assert [] == await site.control("/faults")


async def test_a_fault_without_count_stays_until_removed(open_site):
    site = await opened(open_site, V2)
    await site.arm("error_500", path=r"inbounds/(list|get)", count=None)

    first = [(await site.http.get("/panel/api/inbounds/list")).status_code for _ in range(3)]
    armed = await site.control("/faults")
    await site.control("/faults", method="DELETE")

    assert [500, 500, 500] == first
    assert ("error_500", 3) == (armed[0]["kind"], armed[0]["hits"])
    assert (await site.api("inbounds/list"))["success"]


async def test_without_a_path_logins_are_spared(open_site):
    site = await open_site(V2, logged_in=False)
    await site.arm("error_500")

    assert (await site.log_in())["success"]
    assert 500 == (await site.http.get("/panel/api/inbounds/list")).status_code


async def test_a_login_can_be_named(open_site):
    site = await open_site(V2, logged_in=False)
    await site.arm("error_500", path="/login")

    assert 500 == (await site.http.post("/login", data={})).status_code


async def test_a_pattern_that_is_no_expression_is_a_substring(open_site):
    site = await opened(open_site, V2)
    await site.arm("error_500", path="list(")

    assert (await site.api("inbounds/list"))["success"]


# -- answers that are lost or lie ------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("kind", "stored"),
    [("lost_request", False), ("lost_response", True), ("reset", True)],
)
async def test_a_cut_connection(open_site, version, kind, stored):
    site = await opened(open_site, version)
    await site.arm(kind)

    with pytest.raises(ConnectionResetError):
        await site.add("bob")

    assert stored == ("bob" in await site.emails())


@BOTH
@pytest.mark.parametrize(
    ("kind", "status", "stored"),
    [
        ("error_500", 500, False),
        ("error_500_applied", 500, True),
        ("empty_200", 200, False),
        ("empty_200_applied", 200, True),
        ("forbidden_403", 403, False),
        ("too_many_429", 429, False),
    ],
)
async def test_an_answer_without_body(open_site, version, kind, status, stored):
    site = await opened(open_site, version)
    await site.arm(kind)

    response = await site.http.post(
        f"/panel/api/{'inbounds/addClient' if version == V2 else 'clients/add'}",
        json={
            "id": 1,
            "settings": json.dumps({"clients": [{"id": "x", "email": "bob", "enable": True}]}),
            "client": {"email": "bob"},
            "inboundIds": [1],
        },
    )

    assert (status, b"") == (response.status_code, response.content)
    assert stored == ("bob" in await site.emails())


@BOTH
async def test_a_lie_answers_success_and_stores_nothing(open_site, version):
    site = await opened(open_site, version)
    await site.arm("lie")

    answer = await site.add("bob")

    assert answer["success"]
    assert [] == await site.emails()
    assert site.row("bob") is None


async def test_proxies_answer_html_and_redirects(open_site):
    site = await opened(open_site, V2)
    for kind in ("html_200", "bad_gateway_502", "redirect_307"):
        await site.arm(kind)

    answers = [await site.http.get("/panel/api/inbounds/list") for _ in range(3)]

    assert [200, 502, 307] == [answer.status_code for answer in answers]
    assert b"<html" in answers[0].content.lower()
    assert b"502 Bad Gateway" in answers[1].content
    assert "/" == answers[2].headers["location"]


async def test_a_truncated_answer_is_broken_json(open_site):
    site = await opened(open_site, V3, "bob")
    await site.arm("truncated")

    response = await site.http.get("/panel/api/clients/list")

    with pytest.raises(ValueError):
        response.json()
    assert len(response.content) == int(response.headers["content-length"])


async def test_slow_waits_and_answers(open_site, monkeypatch):
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("simulator.fault_kinds.asyncio.sleep", note)
    site = await opened(open_site, V2)
    await site.arm("slow", delay_s=2.5)

    assert (await site.api("inbounds/list"))["success"]
    assert [2.5] == waits


async def test_a_duplicate_is_executed_twice(open_site):
    site = await opened(open_site, V2)
    await site.arm("duplicate_request")
    refused = await site.add("bob")
    await site.arm("duplicate_request", answer="first")
    done = await site.add("eve")

    assert (False, True) == (refused["success"], done["success"])
    assert ["bob", "eve"] == await site.emails()


# -- lists -----------------------------------------------------------------------------------------


@BOTH
async def test_a_stale_list_shows_the_moment_of_arming(open_site, version):
    site = await opened(open_site, version, "old")
    await site.arm("stale_list")
    await site.add("new")

    stale, fresh = await site.emails(), await site.emails()

    assert (["old"], ["old", "new"]) == (stale, fresh)


async def test_lists_lose_their_rows(open_site):
    site = await opened(open_site, V3, "a", "b", "c", "d")
    for kind in ("empty_list", "null_obj", "half_list"):
        await site.arm(kind)

    answers = [(await site.api("clients/list"))["obj"] for _ in range(3)]

    assert [] == answers[0]
    assert answers[1] is None
    assert ["a", "b"] == [client["email"] for client in answers[2]]


@BOTH
async def test_half_of_the_inbounds_clients(open_site, version):
    site = await opened(open_site, version, "a", "b", "c", "d")
    await site.arm("half_list")

    assert ["a", "b"] == await site.emails()


# -- sessions --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "status"), [("2.3.15", 307), ("2.8.11", 404), ("3.0.2", 404), ("3.6.0", 404)]
)
async def test_an_expired_session_answers_as_to_a_stranger(open_site, version, status):
    site = await open_site(version, logged_in=False)
    await site.log_in()
    await site.arm("session_expired")

    answers = [await site.http.get("/panel/api/inbounds/list") for _ in range(2)]
    again = await site.log_in()

    assert [status, status] == [answer.status_code for answer in answers]
    assert again["success"]
    assert (await site.api("inbounds/list"))["success"]


# -- parts of batches ------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["success", "reject"])
async def test_a_partial_batch_of_addclient(open_site, answer):
    site = await opened(open_site, V2)
    await site.arm("partial_batch", keep=2, answer=answer)
    clients = [{"id": f"id-{n}", "email": f"c{n}", "enable": True} for n in range(4)]

    reply = await site.api(
        "inbounds/addClient", {"id": 1, "settings": json.dumps({"clients": clients})}
    )

    assert (answer == "success") == reply["success"]
    assert ["c0", "c1"] == await site.emails()


async def test_a_partial_batch_of_bulkcreate(open_site):
    site = await opened(open_site, V3)
    await site.arm("partial_batch", keep=1)
    promised = await site.api("clients/bulkCreate", bulk("a", "b", "c"))
    await site.arm("partial_batch", keep=1, answer="reset")
    with pytest.raises(ConnectionResetError):
        await site.api("clients/bulkCreate", bulk("x", "y"))

    assert {"created": 3} == promised["obj"]
    assert ["a", "x"] == await site.emails()


async def test_a_partial_bulk_delete(open_site):
    site = await opened(open_site, V3, "a", "b", "c")
    await site.arm("partial_batch", keep=2)

    reply = await site.api("clients/bulkDel", {"emails": ["a", "b", "c"]})

    assert {"deleted": 3} == reply["obj"]
    assert ["c"] == await site.emails()


async def test_members_are_skipped_with_a_reason(open_site):
    site = await opened(open_site, V3)
    await site.arm("skip_members", emails=["b"], reason="because")

    reply = await site.api("clients/bulkCreate", bulk("a", "b", "c"))

    assert {"created": 2, "skipped": [{"email": "b", "reason": "because"}]} == reply["obj"]
    assert ["a", "c"] == await site.emails()


@BOTH
async def test_deletes_of_some_are_refused(open_site, version):
    site = await opened(open_site, version, "a", "b", "c")
    await site.arm("refuse_delete", emails=["a"], count=None)

    refused, done = await site.delete("a"), await site.delete("b")

    assert (False, True) == (refused["success"], done["success"])
    assert ["a", "c"] == await site.emails()


async def test_bulk_deletes_of_some_are_refused(open_site):
    site = await opened(open_site, V3, "a", "b")
    await site.arm("refuse_delete", emails=["a"])

    reply = await site.api("clients/bulkDel", {"emails": ["a", "b"]})

    assert 1 == reply["obj"]["deleted"]
    assert ["a"] == [item["email"] for item in reply["obj"]["skipped"]]
    assert ["a"] == await site.emails()


# -- the database ----------------------------------------------------------------------------------


async def test_a_locked_database_of_v2_has_kept_the_row(open_site):
    site = await opened(open_site, V2)
    await site.arm("database_locked")

    reply = await site.add("bob")

    assert "Something went wrong (database is locked)" == reply["msg"]
    assert [] == await site.emails()
    assert site.row("bob") is not None


async def test_a_locked_database_of_v2_has_dropped_the_row_of_a_delete(open_site):
    site = await opened(open_site, V2, "a", "b")
    await site.arm("database_locked")

    first, again = await site.delete("a"), await site.delete("a")

    assert [False, False] == [first["success"], again["success"]]
    assert "record not found" in again["msg"]
    assert ["a", "b"] == await site.emails()


async def test_a_locked_database_of_v3_rolls_back(open_site):
    site = await opened(open_site, V3)
    await site.arm("database_locked")

    reply = await site.add("bob")

    assert not reply["success"]
    assert site.row("bob") is None


async def test_the_writer_queue_is_full(open_site):
    site = await opened(open_site, V3)
    await site.arm("traffic_writer_queue_full")

    assert "traffic writer queue full" in (await site.add("bob"))["msg"]


async def test_a_parallel_write_is_lost_but_its_row_stays(open_site):
    site = await opened(open_site, V2)
    await site.arm("lost_parallel_write")

    reply = await site.add("bob")

    assert reply["success"]
    assert [] == await site.emails()
    assert site.row("bob") is not None


@pytest.mark.parametrize(
    ("language", "text"),
    [("ru-RU", "Что-то пошло не так (record"), ("zh-CN", "出了点问题 (record")],
)
async def test_answers_come_in_another_language(open_site, language, text):
    site = await opened(open_site, V2)
    await site.arm("localised", language=language)

    reply = await site.add("bob", 99)

    assert reply["msg"].startswith(text)
    assert (await site.add("bob", 99))["msg"].startswith("Something went wrong (record")


def test_every_kind_is_tried_here():
    with open(__file__, encoding="utf-8") as file:  # noqa: PTH123 - its own text
        text = file.read()

    assert [] == [kind for kind in KINDS if f'"{kind}"' not in text]
