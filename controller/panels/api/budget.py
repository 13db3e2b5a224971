"""How many repetitions of failed reads a whole process may make: none of a storm's.

When many panels fail at once, each read that is tried three times makes the trouble three times as
large. One bucket for all panels of a process bounds that: a retry costs tokens, a success brings one
back. Callers: `channel` before each repetition. Not here: writes (never repeated), back-off of nodes.
"""

from typing import Protocol

CAPACITY = 500
COST = 5
COST_AFTER_TIMEOUT = 10
"""A repetition after a time-out holds a worker for as long again."""
REFUND = 1


class BudgetMeter(Protocol):
    """Is told how a budget fares; telemetry has one."""

    def budget_left(self, tokens: int) -> None:
        """So many are left."""

    def budget_exhausted(self) -> None:
        """A read was not repeated since too few were left."""


class RetryBudget:
    """One bucket of tokens, full at first.

    Args:
        meter: told of every change.
        capacity: the most that it holds.
    """

    def __init__(self, meter: BudgetMeter | None = None, capacity: int = CAPACITY) -> None:
        self._meter = meter
        self._capacity = capacity
        self._tokens = capacity
        self._tell()

    @property
    def tokens(self) -> int:
        """How many are left."""
        return self._tokens

    def take(self, *, timed_out: bool) -> bool:
        """Pay for one repetition; False when it must not be made.

        Args:
            timed_out: what it repeats ended by a time-out.
        """
        cost = COST_AFTER_TIMEOUT if timed_out else COST
        if self._tokens < cost:
            if self._meter is not None:
                self._meter.budget_exhausted()
            return False
        self._tokens -= cost
        self._tell()
        return True

    def succeeded(self) -> None:
        """Something that may be repeated was answered."""
        if self._tokens < self._capacity:
            self._tokens = min(self._tokens + REFUND, self._capacity)
            self._tell()

    def _tell(self) -> None:
        if self._meter is not None:
            self._meter.budget_left(self._tokens)
