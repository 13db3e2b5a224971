"""The outcome table as faults: what a caller may see of a write, of a look, of a transaction, of itself.

Each row is done once, at one effect of one turn, to the real worker: by the simulated panel that answers
falsely, by the transport under httpx, by the store, or by the end of the process. Callers: the test beside
this file. Not here: what must hold afterwards.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from controller.core.effects import Verb, Verdict, Write
from controller.runtime.lease import SoleLease
from desired_state.store.errors import StoreBusy, StoreUnreachable
from simulator.app import Panel
from simulator.version import Version

Done = Callable[[], Awaitable[Any]]
APPLIED, REJECTED = Verdict.APPLIED, Verdict.REJECTED
UNKNOWN, NOT_SENT = Verdict.UNKNOWN, Verdict.NOT_SENT
TWICE_STORED = (Version(3, 0, 0), Version(3, 4, 2))
"""Versions that store a client twice when its create arrives twice."""


class Killed(BaseException):
    """The end of the process: nothing of ours may catch it."""


@dataclass(frozen=True)
class Row:
    """One row of the table. `verdicts`: what a write's outcome may be; empty where it is no write.

    `strike`: does the effect under the fault, and gives what comes of it.
    """

    name: str
    strike: Callable[[Panel, Done], Awaitable[Any]]
    verdicts: tuple[Verdict, ...] = ()


# -- by the panel ----------------------------------------------------------------------------------


def says(kind: str, *verdicts: Verdict, method: str = "POST", **fields: Any) -> Row:
    """A panel that answers so until the effect is over."""

    async def strike(panel: Panel, do: Done) -> Any:
        count = 1 if method == "POST" else None
        panel.faults.arm({"kind": kind, "method": method, "count": count, **fields})
        try:
            return await do()
        finally:
            panel.faults.clear()

    name = " ".join([kind, *map(str, fields.values())])
    return Row(name, strike, verdicts)


# -- by the transport ------------------------------------------------------------------------------


def raises(error: type[httpx.TransportError], *verdicts: Verdict, arrives: bool = False) -> Row:
    """A connection that fails so; `arrives`: the panel has done it by then."""

    async def strike(panel: Panel, do: Done) -> Any:
        del panel
        handle = httpx.AsyncHTTPTransport.handle_async_request

        async def fail(transport: Any, request: httpx.Request) -> httpx.Response:
            if arrives:
                answer = await handle(transport, request)
                await answer.aread()
            raise error("as the test wants it")

        httpx.AsyncHTTPTransport.handle_async_request = fail  # type: ignore[method-assign]
        try:
            return await do()
        finally:
            httpx.AsyncHTTPTransport.handle_async_request = handle  # type: ignore[method-assign]

    return Row(f"{error.__name__} {'after' if arrives else 'before'} it arrived", strike, verdicts)


# -- by ourselves ----------------------------------------------------------------------------------


def kills(*, done: bool) -> Row:
    """The process ends just before the effect, or just after it."""

    async def strike(panel: Panel, do: Done) -> Any:
        del panel
        if done:
            await do()
        raise Killed

    return Row(f"killed {'after' if done else 'before'} it", strike)


async def _without_lease(panel: Panel, do: Done) -> Any:
    del panel
    may_write = SoleLease.may_write
    SoleLease.may_write = lambda *_: False  # type: ignore[method-assign]
    try:
        return await do()
    finally:
        SoleLease.may_write = may_write  # type: ignore[method-assign]


async def _busy(panel: Panel, do: Done) -> Any:
    del panel, do
    raise StoreBusy("another writer held the database")


async def _commit_unknown(panel: Panel, do: Done) -> Any:
    """The transaction went through, and the answer to its commit was lost."""
    del panel
    await do()
    raise StoreUnreachable("the connection was lost")


WRITES = (
    says("lost_request", UNKNOWN), says("lost_response", UNKNOWN), says("reset", UNKNOWN),
    says("truncated", UNKNOWN), says("error_500", UNKNOWN), says("error_500_applied", UNKNOWN),
    says("empty_200", UNKNOWN), says("empty_200_applied", UNKNOWN), says("html_200", UNKNOWN),
    says("bad_gateway_502", UNKNOWN), says("too_many_429", UNKNOWN),
    says("forbidden_403", NOT_SENT), says("redirect_307", NOT_SENT),
    says("session_expired", NOT_SENT),
    says("database_locked", REJECTED), says("traffic_writer_queue_full", REJECTED),
    says("lie", APPLIED, REJECTED),
    says("partial_batch", APPLIED, REJECTED, keep=1, answer="success"),
    says("partial_batch", REJECTED, keep=1, answer="reject"),
    says("partial_batch", UNKNOWN, keep=1, answer="reset"),
    says("duplicate_request", APPLIED, REJECTED, answer="first"),
    says("duplicate_request", APPLIED, REJECTED, answer="last"),
    raises(httpx.ConnectError, NOT_SENT), raises(httpx.ConnectTimeout, NOT_SENT),
    raises(httpx.PoolTimeout, NOT_SENT),
    raises(httpx.WriteTimeout, UNKNOWN), raises(httpx.WriteError, UNKNOWN),
    raises(httpx.ReadTimeout, UNKNOWN), raises(httpx.ReadTimeout, UNKNOWN, arrives=True),
    raises(httpx.ReadError, UNKNOWN, arrives=True),
    raises(httpx.RemoteProtocolError, UNKNOWN, arrives=True),
    Row("the lease is over", _without_lease, (NOT_SENT,)),
    kills(done=False), kills(done=True),
)  # fmt: skip

LOOKS = (
    *(
        says(kind, method="GET")
        for kind in (
            "lost_request", "truncated", "error_500", "empty_200", "html_200", "bad_gateway_502",
            "too_many_429", "forbidden_403", "redirect_307", "session_expired", "null_obj",
            "empty_list", "half_list",
        )
    ),
    raises(httpx.ConnectError), raises(httpx.ReadTimeout),
    kills(done=False), kills(done=True),
)  # fmt: skip

TRANSACTIONS = (
    Row("the database is busy", _busy),
    Row("nobody knows whether it was committed", _commit_unknown),
    kills(done=False), kills(done=True),
)  # fmt: skip


def rows_for(effect: object, version: Version) -> tuple[Row, ...]:
    """Choose the rows that an effect can meet."""
    if not isinstance(effect, Write):
        return LOOKS if type(effect).__name__ == "Observe" else TRANSACTIONS
    stores_twice = TWICE_STORED[0] <= version <= TWICE_STORED[1] and effect.verb is Verb.CREATE
    return tuple(row for row in WRITES if not (stores_twice and "duplicate" in row.name))
