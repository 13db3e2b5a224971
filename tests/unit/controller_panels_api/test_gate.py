"""The last question before a write leaves: asked when everything else is ready, and only of writes."""

import pytest

from controller.core.effects import Verdict
from controller.panels.api.gate import forbidden, gated
from controller.panels.api.outcomes import WriteAnswer
from tests.unit.controller_panels_api.scripted import ScriptedPanel

LIST = "panel/api/inbounds/list"
WRITE = "panel/api/clients/add"


@pytest.mark.promise("S7")
async def test_a_write_whose_right_ended_during_its_login_is_not_sent() -> None:
    panel = ScriptedPanel()

    def over() -> str:
        return "the lease is over" if panel.logins else ""

    async with panel.api() as api:
        with gated(over):
            answer = await api.write(WRITE, json={})

    assert WriteAnswer(Verdict.NOT_SENT, "the lease is over") == answer
    assert (1, 0) == (panel.logins, panel.paths.count(WRITE))


async def test_a_write_that_may_be_sent_is_sent() -> None:
    panel = ScriptedPanel()

    async with panel.api() as api:
        with gated(lambda: ""):
            await api.write(WRITE, json={})

    assert 1 == panel.paths.count(WRITE)


async def test_reads_are_never_held_back() -> None:
    panel = ScriptedPanel()

    async with panel.api() as api:
        with gated(lambda: "the lease is over"):
            await api.read("GET", LIST)

    assert 1 == panel.paths.count(LIST)


def test_a_gate_stands_for_the_length_of_its_block() -> None:
    seen = [forbidden()]
    with gated(lambda: "no"):
        seen.append(forbidden())
    seen.append(forbidden())

    assert ["", "no", ""] == seen
