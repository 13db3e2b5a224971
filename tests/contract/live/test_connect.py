"""Reaching a panel: which one it is, how often it is logged in to, what a mistake in its address costs.

Over simulated panels on real ports and, given an address, over a real one. On a real panel one login with a
wrong password is made, or one request with a wrong token.
"""

import uuid
from dataclasses import replace

import httpx
import pytest

from controller.core.features import Family
from controller.core.observed import NotObserved, NotSeen, Observation
from controller.panels.panel import Panel
from desired_state.model.node import NodeTarget
from tests.contract.live.address import LIVE
from tests.contract.panels.stage import Recorder, Stage, params, stage, versions

SOME = ("2.3.15", "2.9.4", "3.0.2", "3.2.8", "3.6.0", *LIVE[:1])

every_panel = pytest.mark.parametrize("version", params(SOME))


async def look_with(scene: Stage, target: NodeTarget) -> tuple[object, list[str]]:
    """Look once as somebody with another target; what was seen, and what was asked."""
    recorder = Recorder(httpx.AsyncHTTPTransport(), httpx.URL(target.url).path)
    panel = Panel(target, transport=recorder)
    try:
        return await panel.observe(), recorder.asked
    finally:
        await panel.close()


@every_panel
async def test_a_look_tells_which_panel_it_is(version: str) -> None:
    async with stage(version, served=True) as scene:
        look = await scene.look()

        family = (
            Family.V2
            if scene.number < (3, 0, 0)
            else Family.V30
            if scene.number < (3, 1, 0)
            else Family.V31
        )
        oldest, _, newest = look.version.partition(" to ")
        assert version in (oldest, newest) or (oldest < version < newest)
        assert (family, False) == (look.features.family, look.unverified_version)
        assert look.clock_skew is not None
        assert abs(look.clock_skew.total_seconds()) < 600


@every_panel
async def test_many_looks_are_one_login_at_most(version: str) -> None:
    async with stage(version, served=True) as scene:
        for _ in range(3):
            await scene.look()

        by_form = scene.target.credentials.token is None
        assert int(by_form) == scene.recorder.asked.count("POST /login")


@every_panel
async def test_a_wrong_base_path_is_said_and_costs_no_login(version: str) -> None:
    async with stage(version, served=True) as scene:
        wrong = replace(scene.target, url=f"{scene.target.url}{uuid.uuid4().hex}/")

        look, asked = await look_with(scene, wrong)

        assert isinstance(look, NotObserved)
        assert NotSeen.NOT_A_PANEL is look.reason
        assert "POST /login" not in asked


@every_panel
async def test_refused_credentials_are_tried_once_and_lock_nobody_out(version: str) -> None:
    async with stage(version, served=True) as scene:
        given = scene.target.credentials
        wrong = (
            replace(given, password="certainly-not-this-one")
            if given.token is None
            else replace(given, token="Wr" * 24)
        )
        recorder = Recorder(httpx.AsyncHTTPTransport(), httpx.URL(scene.target.url).path)
        panel = Panel(replace(scene.target, credentials=wrong), transport=recorder)

        first = await panel.observe()
        asked = [*recorder.asked]
        looks = [first, *[await panel.observe() for _ in range(5)]]
        await panel.close()

        refused = [look.reason for look in looks if isinstance(look, NotObserved)]
        assert [NotSeen.CREDENTIALS_REFUSED] * 6 == refused
        assert asked == recorder.asked
        assert int(given.token is None) == asked.count("POST /login")
        assert isinstance(await scene.panel.observe(), Observation)


@pytest.mark.parametrize("version", params(versions("3.1.0")))
async def test_a_panel_from_3_1_0_on_tells_its_xray(version: str) -> None:
    async with stage(version) as scene:
        look = await scene.look()

        told = (await scene.hand.get("panel/api/server/status"))["xray"]["state"]
        assert told == look.xray
