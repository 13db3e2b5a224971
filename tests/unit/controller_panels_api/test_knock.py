"""A panel that did not answer lately is asked one cheap thing before anything else."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
import trustme

from controller.core.observed import NotObserved, NotSeen, Observation
from controller.panels.api.channel import Failure
from controller.panels.api.errors import PanelBusy, PanelUnreachable
from controller.panels.observe import Look, observe
from desired_state.model.node import Tls, TlsKind
from tests.unit.controller_panels_api.scripted import START, ScriptedPanel
from tests.unit.controller_panels_api.test_tls import (
    GET,
    channel,
    listening,
    pin_of,
    server_context,
)

STATUS = "panel/api/server/status"
VERSIONS = ("2.3.15", "2.8.3", "2.9.4", "3.0.1", "3.2.8")


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_panel_that_is_still_down_costs_one_request(version: str) -> None:
    def down(request: httpx.Request) -> Exception:
        return httpx.ConnectError("refused", request=request)

    panel = ScriptedPanel(version, answers={STATUS: down})
    async with panel.api() as api:
        seen = await observe(api, START, careful=True)

    assert isinstance(seen, NotObserved)
    assert NotSeen.UNREACHABLE is seen.reason
    assert [STATUS] == panel.paths


@pytest.mark.parametrize("version", ["2.8.3", "2.9.4", "3.0.1"])
async def test_one_that_is_back_is_looked_at_after_it(version: str) -> None:
    panel = ScriptedPanel(version)
    async with panel.api() as api:
        seen = await observe(api, START, careful=True)

    assert isinstance(seen, Look)
    assert isinstance(seen.observation, Observation)
    assert (STATUS, True) == (panel.paths[0], panel.logins == 1)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
async def test_a_filter_before_a_dead_panel_is_no_answer(status: int) -> None:
    panel = ScriptedPanel(answers={STATUS: httpx.Response(status)})
    async with panel.api() as api:
        with pytest.raises(PanelBusy):
            await api.knock()

    assert 1 == len(panel.requests)


async def test_a_knock_tells_nobody_who_we_are() -> None:
    """Another machine may answer under the address by now."""
    panel = ScriptedPanel("3.2.8")
    async with panel.api() as api:
        await api.connect()
        panel.requests.clear()
        await api.knock()

    (request,) = panel.requests
    assert {"authorization", "cookie"}.isdisjoint(request.headers.keys())


async def test_a_knock_is_not_repeated() -> None:
    panel = ScriptedPanel(answers={STATUS: lambda r: httpx.ReadError("broke", request=r)})
    async with panel.api() as api:
        with pytest.raises(PanelUnreachable):
            await api.knock()

    assert 1 == len(panel.requests)


# -- certificates ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["own authority", "pinned", "unchecked"])
async def test_the_end_of_a_certificate_is_read_from_the_connection(kind: str, tmp_path) -> None:  # type: ignore[no-untyped-def] # a fixture of pytest
    """Whether it is verified or not: a pinned one is replaced when it ends, too."""
    authority = trustme.CA()
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=5)
    certificate = authority.issue_cert("127.0.0.1", not_after=until)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = {
        "own authority": Tls(TlsKind.CA_FILE, str(tmp_path / "ca.pem")),
        "pinned": Tls(TlsKind.PIN, pin_of(certificate)),
        "unchecked": Tls(TlsKind.OFF),
    }[kind]
    async with (
        listening(server_context(certificate)) as listener,
        channel(listener.port, tls) as line,
    ):
        before = line.certificate_until
        result = await line.send(GET)
        again = await line.send(GET)

    assert not isinstance(result, Failure)
    assert not isinstance(again, Failure)
    assert (None, until) == (before, line.certificate_until)


async def test_without_tls_there_is_no_certificate() -> None:
    async with listening(None) as listener, channel(listener.port, Tls(), "http") as line:
        await line.send(GET)

    assert line.certificate_until is None
