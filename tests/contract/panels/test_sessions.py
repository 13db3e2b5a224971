"""Sessions with simulated panels of every era: log in, lose it, be refused, be upgraded."""

from pathlib import Path

import pytest
import trustme

from controller.core.effects import Verdict
from controller.core.features import Family
from controller.core.observed import XrayState
from controller.panels.api.clock import SystemClock
from controller.panels.api.envelope import parse_envelope
from controller.panels.api.errors import (
    NotAPanel,
    PanelBusy,
    PanelChanged,
    PanelContractBroken,
    PanelCredentialsRefused,
    PanelTlsMismatch,
    PanelUnreachable,
    PanelUnsupported,
)
from controller.panels.api.session import PanelApi
from desired_state.model.node import Tls, TlsKind
from simulator.server import RunningPanel

V2 = ["2.3.15", "2.6.6", "2.8.3", "2.8.11", "2.9.4"]
V3 = ["3.0.2", "3.1.0", "3.2.8", "3.6.0"]
ALL = V2 + V3
WAYS = [(version, "form") for version in ALL] + [(version, "token") for version in V3]
LIST = "panel/api/inbounds/list"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEH"

every_way = pytest.mark.parametrize(("version", "by"), WAYS)
every_version = pytest.mark.parametrize("version", ALL)


class PatientClock(SystemClock):
    """Moves the panel's clock instead of waiting."""

    def __init__(self, running: RunningPanel) -> None:
        self.panel = running.panel
        self.slept_s = 0.0

    async def sleep(self, seconds: float) -> None:
        self.panel.clock.advance(seconds)
        self.slept_s += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self.slept_s


def asked(running: RunningPanel, path: str) -> int:
    """How often the panel was asked for a path."""
    return sum(line.path == path for line in running.panel.log)


# -- connecting ------------------------------------------------------------------------------------


@every_way
async def test_connect_finds_out_which_panel_it_is(start_panel, target_of, version, by) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, by=by), clock=PatientClock(running)) as api:
        info = await api.connect()
        answer = await api.read("GET", LIST, gzip=True)

    family = Family.V2 if version < "3" else Family.V30 if version < "3.1" else Family.V31
    assert (version, family, False) == (
        info.version_text,
        info.features.family,
        info.unverified_version,
    )
    assert (info.guid is not None) is (version >= "3.3")
    assert (XrayState.UNKNOWN if version < "3" else XrayState.RUNNING) is info.xray
    assert [] == (parse_envelope(answer, list[object]).obj or [])


@every_way
async def test_write_reaches_the_panel_once(start_panel, target_of, version, by) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, by=by), clock=PatientClock(running)) as api:
        result = await api.write("panel/api/inbounds/del/4711")

    assert result.verdict in (Verdict.REJECTED, Verdict.APPLIED)
    assert 1 == asked(running, "/panel/api/inbounds/del/4711")


@every_version
async def test_many_reads_are_one_login(start_panel, target_of, version) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        for _ in range(3):
            await api.read("GET", LIST)

    assert 1 == asked(running, "/login")


# -- second factors --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.6.6", "2.9.4", "3.6.0"])
@pytest.mark.parametrize("second", [0, 23, 27])
async def test_one_time_code_is_taken_whenever_it_is_asked_for(
    start_panel, target_of, version, second
) -> None:
    """The panel's clock is a day ahead of ours and anywhere in its step."""
    step_ms = 1_800_000_000_000 // 30_000 * 30_000
    running = await start_panel(version, totp_secret=SECRET, start_ms=step_ms + second * 1000)

    target = target_of(running, totp_secret=SECRET)
    async with PanelApi(target, clock=PatientClock(running)) as api:
        await api.connect()

    assert 1 == asked(running, "/login")


async def test_login_secret_is_sent_up_to_2_5_8(start_panel, target_of) -> None:
    running = await start_panel("2.3.15", login_secret="ls-1")

    async with PanelApi(target_of(running, login_secret="ls-1")) as api:
        await api.read("GET", LIST)

    assert 1 == asked(running, "/login")


@pytest.mark.parametrize(
    ("version", "option"),
    [("2.3.15", "login_secret"), ("2.9.4", "totp_secret"), ("3.6.0", "totp_secret")],
)
async def test_missing_second_factor_costs_no_attempt(
    start_panel, target_of, version, option
) -> None:
    running = await start_panel(version, **{option: SECRET})

    async with PanelApi(target_of(running)) as api:
        with pytest.raises(PanelCredentialsRefused, match="none is declared"):
            await api.connect()

    assert 0 == asked(running, "/login")


# -- refused ---------------------------------------------------------------------------------------


@every_version
async def test_wrong_password_is_one_attempt_for_good(start_panel, target_of, version) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, password="wrong-1")) as api:
        for _ in range(6):
            with pytest.raises(PanelCredentialsRefused):
                await api.connect()
            await api.write("panel/api/inbounds/del/1")

    assert 1 == asked(running, "/login")
    assert 0 == asked(running, "/panel/api/inbounds/del/1")


@pytest.mark.parametrize("version", V3)
async def test_wrong_password_does_not_lock_the_operator_out(
    start_panel, target_of, version
) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, password="wrong-1")) as wrong:
        for _ in range(6):
            with pytest.raises(PanelCredentialsRefused):
                await wrong.read("GET", LIST)
    async with PanelApi(target_of(running), clock=PatientClock(running)) as right:
        await right.connect()


@pytest.mark.parametrize("version", V3)
async def test_wrong_token_is_named(start_panel, target_of, version) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, by="token", token="Wr" * 24)) as api:
        with pytest.raises(PanelCredentialsRefused, match="token was refused, or the base path"):
            await api.connect()

    assert 0 == asked(running, "/login")


@pytest.mark.parametrize("version", V2)
async def test_token_for_2x_is_refused_before_any_login(start_panel, target_of, version) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, by="token")) as api:
        with pytest.raises(PanelUnsupported, match=f"this panel is {version}"):
            await api.connect()

    assert 0 == asked(running, "/login")


@every_way
async def test_wrong_base_path_is_no_panel_and_no_login(
    start_panel, target_of, version, by
) -> None:
    running = await start_panel(version)
    wrong = running.url.replace("hidden-9f2c", "hidden-0000")

    async with PanelApi(target_of(running, by=by, url=wrong)) as api:
        with pytest.raises(NotAPanel, match="no 3x-ui answers under this base path"):
            await api.connect()

    assert 0 == sum(line.path.endswith("/login") for line in running.panel.log)


# -- lost sessions ---------------------------------------------------------------------------------


@every_version
async def test_expired_session_is_one_login_and_one_repetition(
    start_panel, target_of, version
) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        await api.connect()
        running.panel.auth.drop_sessions()
        before = asked(running, f"/{LIST}")
        await api.read("GET", LIST)

    assert (2, 2) == (asked(running, "/login"), asked(running, f"/{LIST}") - before)


@every_version
async def test_write_without_a_session_is_not_sent_again(start_panel, target_of, version) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        await api.connect()
        running.panel.auth.drop_sessions()
        first = await api.write("panel/api/inbounds/del/1")
        await api.read("GET", LIST)
        second = await api.write("panel/api/inbounds/del/1")

    assert Verdict.NOT_SENT is first.verdict
    assert second.verdict in (Verdict.APPLIED, Verdict.REJECTED)
    assert (2, 2) == (asked(running, "/login"), asked(running, "/panel/api/inbounds/del/1"))


@every_way
async def test_path_that_a_version_lacks_is_no_absence(start_panel, target_of, version, by) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running, by=by), clock=PatientClock(running)) as api:
        with pytest.raises(PanelContractBroken, match="this version has no such path"):
            await api.read("GET", "panel/api/nonsense")


# -- faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.9.4", "3.2.8"])
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("lost_request", Verdict.UNKNOWN),
        ("lost_response", Verdict.UNKNOWN),
        ("reset", Verdict.UNKNOWN),
        ("truncated", Verdict.UNKNOWN),
        ("error_500", Verdict.UNKNOWN),
        ("error_500_applied", Verdict.UNKNOWN),
        ("empty_200", Verdict.UNKNOWN),
        ("empty_200_applied", Verdict.UNKNOWN),
        ("html_200", Verdict.UNKNOWN),
        ("bad_gateway_502", Verdict.UNKNOWN),
        ("too_many_429", Verdict.UNKNOWN),
        ("session_expired", Verdict.NOT_SENT),
        ("redirect_307", Verdict.NOT_SENT),
        ("forbidden_403", Verdict.NOT_SENT),
        ("database_locked", Verdict.REJECTED),
        ("traffic_writer_queue_full", Verdict.REJECTED),
    ],
)
async def test_write_under_a_fault_is_judged_and_never_resent(
    start_panel, target_of, version, kind, verdict
) -> None:
    running = await start_panel(version)
    path = "panel/api/inbounds/del/1"
    running.panel.faults.arm({"kind": kind, "path": path, "method": "POST"})

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        result = await api.write(path)

    assert verdict is result.verdict
    assert 1 == asked(running, f"/{path}")


@pytest.mark.parametrize("version", ["2.9.4", "3.2.8"])
@pytest.mark.parametrize("kind", ["lost_request", "reset", "session_expired", "redirect_307"])
async def test_read_under_a_passing_fault_succeeds(start_panel, target_of, version, kind) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        await api.connect()
        running.panel.faults.arm({"kind": kind, "path": LIST})
        answer = await api.read("GET", LIST)

    assert 200 == answer.status


@pytest.mark.parametrize("version", ["2.9.4", "3.2.8"])
@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("error_500", PanelBusy),
        ("empty_200", PanelBusy),
        ("bad_gateway_502", PanelBusy),
        ("too_many_429", PanelBusy),
        ("html_200", PanelContractBroken),
        ("lost_request", PanelUnreachable),
    ],
)
async def test_read_under_a_lasting_fault_says_why(
    start_panel, target_of, version, kind, error
) -> None:
    running = await start_panel(version)

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        await api.connect()
        running.panel.faults.arm({"kind": kind, "path": LIST, "count": None})
        with pytest.raises(error):
            await api.read("GET", LIST)


@pytest.mark.parametrize("version", ["2.6.6", "2.8.3"])
async def test_absent_path_is_asked_for_without_compression(
    start_panel, target_of, version
) -> None:
    """With compression allowed these versions would answer 200, and a 2.x would pass for a 3.x."""
    running = await start_panel(version)

    async with PanelApi(target_of(running)) as api:
        info = await api.connect()

    assert Family.V2 is info.features.family
    assert [404] == [line.status for line in running.panel.log if line.path == "/csrf-token"]


# -- upgraded under us -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "by"),
    [("2.9.4", "3.6.0", "form"), ("3.0.2", "3.2.8", "form"), ("3.0.2", "3.2.8", "token")],
)
async def test_upgrade_is_noticed_once_asked_for(start_panel, target_of, old, new, by) -> None:
    running = await start_panel(old)

    async with PanelApi(target_of(running, by=by), clock=PatientClock(running)) as api:
        before = await api.connect()
        running.panel.upgrade(new)
        api.forget()
        after = await api.connect()

    assert (old, new) == (before.version_text, after.version_text)


async def test_upgrade_that_ends_the_session_stops_the_look(start_panel, target_of) -> None:
    running = await start_panel("2.9.4")

    async with PanelApi(target_of(running), clock=PatientClock(running)) as api:
        await api.connect()
        running.panel.upgrade("3.6.0")
        running.panel.auth.drop_sessions()
        with pytest.raises(PanelChanged):
            await api.read("GET", LIST)
        await api.connect()
        await api.read("GET", LIST)


# -- TLS and several nodes -------------------------------------------------------------------------


async def test_panel_with_its_own_certificate(start_panel, target_of, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    running = await start_panel("3.6.0", tls=files)
    trusted = target_of(running, tls=Tls(TlsKind.CA_FILE, str(tmp_path / "ca.pem")))

    async with PanelApi(trusted, clock=PatientClock(running)) as api:
        await api.connect()
    seen = len(running.panel.log)
    async with PanelApi(target_of(running)) as api:
        with pytest.raises(PanelTlsMismatch):
            await api.connect()

    assert seen == len(running.panel.log)


async def test_what_is_meant_for_one_node_reaches_no_other(start_panel, target_of) -> None:
    apis, panels = [], []
    for version in ("2.9.4", "3.2.8", "3.6.0"):
        password = f"pw-{version}"
        running = await start_panel(version, base_path=f"/p{version}/", password=password)
        target = target_of(running, name=f"n-{version}", password=password)
        apis.append(PanelApi(target, clock=PatientClock(running)))
        panels.append(running)

    for number, api in enumerate(apis):
        async with api:
            await api.write(f"panel/api/inbounds/del/{number}")

    for number, running in enumerate(panels):
        seen = {line.path for line in running.panel.log if "/del/" in line.path}
        assert {f"/panel/api/inbounds/del/{number}"} == seen
        assert 1 == asked(running, "/login")
