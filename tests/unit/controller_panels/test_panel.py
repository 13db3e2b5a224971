"""A node's configuration becomes the right request, or is refused by its field before any request."""

from collections.abc import Callable

import httpx
import pytest

from controller.core.effects import ClientRecord, Verb, Verdict, Write
from controller.core.observed import NotObserved, NotSeen, Observation
from controller.panels.panel import Panel, PanelPool
from desired_state.model.ids import Email, InboundId, NodeName
from desired_state.model.node import Credentials, Mode, NodeTarget, Tls, TlsKind

TOKEN = Credentials(token="t" * 48)
LOGIN = Credentials(username="admin", password="secret")
NOBODY = ClientRecord(Email("a"), (InboundId(1),), protocol="vless")


class Listening:
    """Answers as a 2.9.4 panel without inbounds, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[httpx.URL] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        name = request.url.path.rpartition("/")[2]
        if name in ("login", "getTwoFactorEnable"):
            return httpx.Response(200, json={"success": True, "msg": "", "obj": False})
        if name == "list" and "x-requested-with" in request.headers:
            return httpx.Response(200, json={"success": True, "msg": "", "obj": []})
        return httpx.Response(404)


def make_panel(
    url: str, credentials: Credentials, tls: Tls, handler: Callable[[httpx.Request], httpx.Response]
) -> Panel:
    target = NodeTarget(NodeName("nl-1"), url, credentials, tls, Mode.ENFORCE)
    return Panel(target, transport=httpx.MockTransport(handler))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://nl1.example.net:2053/", "https://nl1.example.net:2053/panel/api/inbounds/list"),
        ("https://nl1.example.net/x/", "https://nl1.example.net/x/panel/api/inbounds/list"),
        ("http://nl1.example.net:80/x/y/", "http://nl1.example.net/x/y/panel/api/inbounds/list"),
        ("https://[2001:db8::1]:2053/", "https://[2001:db8::1]:2053/panel/api/inbounds/list"),
        ("http://127.0.0.1:2053/a-b_c/", "http://127.0.0.1:2053/a-b_c/panel/api/inbounds/list"),
    ],
)
async def test_every_request_goes_below_the_nodes_own_address(url: str, expected: str) -> None:
    listening = Listening()
    panel = make_panel(url, LOGIN, Tls(), listening)

    look = await panel.observe()
    await panel.close()

    assert isinstance(look, Observation), look
    assert expected == str(listening.asked[-1])
    base = expected.removesuffix("panel/api/inbounds/list")
    assert all(str(asked).startswith(base) for asked in listening.asked)


@pytest.mark.parametrize(
    ("url", "credentials", "tls", "field"),
    [
        ("", LOGIN, Tls(), "panel.url"),
        ("nl1.example.net:2053/", LOGIN, Tls(), "panel.url"),
        ("ftp://nl1.example.net/", LOGIN, Tls(), "panel.url"),
        ("https:///path/", LOGIN, Tls(), "panel.url"),
        ("https://nl1.example.net:99999/", LOGIN, Tls(), "panel.url"),
        ("https://[2001:db8::1/", LOGIN, Tls(), "panel.url"),
        ("https://nl1.example.net/x", LOGIN, Tls(), "panel.url"),
        ("https://nl1.example.net/?a=b", LOGIN, Tls(), "panel.url"),
        ("https://me:pw@nl1.example.net/", LOGIN, Tls(), "panel.url"),
        ("http://nl1.example.net/", LOGIN, Tls(TlsKind.PIN, "ab" * 32), "panel.url"),
        ("https://nl1.example.net/", Credentials(), Tls(), "panel.auth"),
        ("https://nl1.example.net/", Credentials(token=""), Tls(), "panel.auth.token"),
        ("https://nl1.example.net/", Credentials(token="a b"), Tls(), "panel.auth.token"),
        ("https://nl1.example.net/", Credentials(username="a"), Tls(), "panel.auth.password"),
        ("https://nl1.example.net/", Credentials("", "a", ""), Tls(), "panel.auth.token"),
    ],
)
async def test_a_configuration_that_cannot_work_is_refused_by_its_field(
    url: str, credentials: Credentials, tls: Tls, field: str
) -> None:
    listening = Listening()
    panel = make_panel(url, credentials, tls, listening)

    look = await panel.observe()
    outcome = await panel.act(Write(panel.target, Verb.DELETE, (NOBODY,)))
    await panel.close()

    assert isinstance(look, NotObserved)
    assert NotSeen.NOT_CONFIGURED is look.reason
    assert look.message.startswith(f"{field}:")
    assert Verdict.NOT_SENT is outcome.verdict
    assert [] == listening.asked


async def test_a_write_before_any_look_finds_out_the_dialect_by_itself() -> None:
    listening = Listening()
    panel = make_panel("http://127.0.0.1:2053/", LOGIN, Tls(), listening)

    await panel.act(Write(panel.target, Verb.CREATE, (NOBODY,)))
    await panel.close()

    assert "/panel/api/inbounds/addClient" == listening.asked[-1].path


async def test_a_write_to_a_panel_that_does_not_answer_is_not_sent() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    panel = make_panel("http://127.0.0.1:2053/", LOGIN, Tls(), refuse)

    outcome = await panel.act(Write(panel.target, Verb.CREATE, (NOBODY,)))
    await panel.close()

    assert Verdict.NOT_SENT is outcome.verdict
    assert "secret" not in outcome.cause


async def test_a_list_of_another_shape_is_looked_at_anew_once_and_then_named() -> None:
    listening = Listening()

    def odd(request: httpx.Request) -> httpx.Response:
        answer = listening(request)
        if answer.status_code == 200 and request.url.path.endswith("/list"):
            return httpx.Response(200, json={"success": True, "msg": "", "obj": [{"id": "x"}]})
        return answer

    panel = make_panel("http://127.0.0.1:2053/", LOGIN, Tls(), odd)

    look = await panel.observe()
    await panel.close()

    assert isinstance(look, NotObserved)
    assert NotSeen.CONTRACT_BROKEN is look.reason
    assert "obj.0.id" in look.message


def make_target(node: str, **changes: object) -> NodeTarget:
    values = {
        "node": NodeName(node),
        "url": "http://127.0.0.1:2053/",
        "credentials": TOKEN,
        "tls": Tls(),
        "mode": Mode.ENFORCE,
    }
    return NodeTarget(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({}, True),
        ({"mode": Mode.OBSERVE}, True),
        ({"url": "http://127.0.0.1:2054/"}, False),
        ({"credentials": LOGIN}, False),
        ({"tls": Tls(TlsKind.OFF)}, False),
    ],
    ids=["same", "mode", "address", "credentials", "tls"],
)
async def test_the_pool_makes_a_new_panel_when_it_is_reached_otherwise(
    changes: dict[str, object], *, is_kept: bool
) -> None:
    pool = PanelPool()
    first = await pool.panel(make_target("nl-1"))

    second = await pool.panel(make_target("nl-1", **changes))
    other = await pool.panel(make_target("de-1"))
    await pool.close()

    assert is_kept is (second is first)
    assert other is not first


async def test_a_dropped_panel_is_made_anew() -> None:
    """So that credentials which were refused are tried again when a person asks for it."""
    pool = PanelPool()
    first = await pool.panel(make_target("nl-1"))
    await pool.drop(NodeName("nl-1"))
    await pool.drop(NodeName("nobody"))

    again = await pool.panel(make_target("nl-1"))
    await pool.close()

    assert again is not first
