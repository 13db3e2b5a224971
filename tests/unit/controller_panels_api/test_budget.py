"""Repeated reads are paid from one budget: a storm of failures is not made three times as large."""

from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.effects import Verdict
from controller.panels.api.budget import RetryBudget
from controller.panels.api.errors import PanelTimeout, PanelUnreachable
from tests.unit.controller_panels_api.scripted import ScriptedPanel, envelope

LIST = "panel/api/inbounds/list"


@dataclass
class Meter:
    """Remembers what it was told."""

    left: list[int] = field(default_factory=list)
    exhausted: int = 0

    def budget_left(self, tokens: int) -> None:
        self.left.append(tokens)

    def budget_exhausted(self) -> None:
        self.exhausted += 1


def test_a_full_budget_pays_a_hundred_repetitions() -> None:
    meter = Meter()
    budget = RetryBudget(meter)

    paid = sum(budget.take(timed_out=False) for _ in range(150))

    assert (100, 50, 0) == (paid, meter.exhausted, budget.tokens)
    assert (500, 0) == (meter.left[0], meter.left[-1])


@pytest.mark.parametrize(("timed_out", "cost"), [(False, 5), (True, 10)])
def test_a_repetition_after_a_time_out_costs_twice_as_much(timed_out: bool, cost: int) -> None:
    budget = RetryBudget()

    assert budget.take(timed_out=timed_out)
    assert 500 - cost == budget.tokens


def test_too_few_tokens_pay_nothing_and_stay() -> None:
    budget = RetryBudget(capacity=9)

    assert (False, 9) == (budget.take(timed_out=True), budget.tokens)
    assert (True, 4) == (budget.take(timed_out=False), budget.tokens)


@given(st.lists(st.sampled_from(["repeat", "timed out", "answered"]), max_size=300))
def test_a_budget_never_leaves_its_bounds(steps: list[str]) -> None:
    budget = RetryBudget(capacity=50)
    for step in steps:
        before = budget.tokens
        if step == "answered":
            budget.succeeded()
            assert min(before + 1, 50) == budget.tokens
        else:
            cost = 10 if step == "timed out" else 5
            paid = budget.take(timed_out=step == "timed out")
            assert (before >= cost) is paid
            assert before - cost * paid == budget.tokens


# -- at the channel ----------------------------------------------------------------------------------


def failing(error: type[httpx.TransportError]) -> Callable[[httpx.Request], Exception]:
    return lambda request: error("it broke", request=request)


@pytest.mark.parametrize(
    ("tokens", "tries", "left"),
    [(500, 3, 490), (10, 3, 0), (9, 2, 4), (4, 1, 4), (0, 1, 0)],
    ids=["full", "for two", "for one", "for none", "empty"],
)
async def test_a_read_is_repeated_as_often_as_is_paid_for(
    tokens: int, tries: int, left: int
) -> None:
    """An empty budget is an error at once."""
    panel = ScriptedPanel("2.9.4", answers={LIST: failing(httpx.ReadError)})
    meter = Meter()
    budget = RetryBudget(meter, capacity=tokens)
    async with panel.api(budget=budget) as api:
        await api.connect()
        panel.requests.clear()

        with pytest.raises(PanelUnreachable):
            await api.read("GET", LIST)

    assert [LIST] * tries == panel.paths
    assert (left, int(tries < 3)) == (budget.tokens, meter.exhausted)


async def test_time_outs_cost_more() -> None:
    panel = ScriptedPanel("2.9.4", answers={LIST: failing(httpx.ReadTimeout)})
    budget = RetryBudget()
    async with panel.api(budget=budget) as api:
        await api.connect()
        with pytest.raises(PanelTimeout):
            await api.read("GET", LIST)

    assert 480 == budget.tokens


async def test_what_is_answered_refills_it() -> None:
    panel = ScriptedPanel("2.9.4")
    budget = RetryBudget()
    budget.take(timed_out=True)
    async with panel.api(budget=budget) as api:
        await api.connect()
        before = budget.tokens
        await api.read("GET", LIST)

    assert (before + 1) == budget.tokens


async def test_writes_neither_pay_nor_refill() -> None:
    panel = ScriptedPanel("2.9.4", answers={"x": failing(httpx.ReadError), "y": envelope()})
    budget = RetryBudget(capacity=400)
    async with panel.api(budget=budget) as api:
        await api.connect()
        budget.take(timed_out=True)
        lost = await api.write("x", json={})
        done = await api.write("y", json={})

    assert (Verdict.UNKNOWN, Verdict.APPLIED) == (lost.verdict, done.verdict)
    assert 390 == budget.tokens


async def test_one_budget_serves_all_panels() -> None:
    first = ScriptedPanel("2.9.4", answers={LIST: failing(httpx.ReadError)})
    second = ScriptedPanel("2.9.4", answers={LIST: failing(httpx.ReadError)})
    budget = RetryBudget(capacity=10)
    for panel in (first, second):
        async with panel.api(budget=budget) as api:
            await api.connect()
            panel.requests.clear()
            with pytest.raises(PanelUnreachable):
                await api.read("GET", LIST)

    assert (3, 1) == (len(first.paths), len(second.paths))
