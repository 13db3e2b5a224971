"""Running what blocks in a thread of its own, with an end to the waiting.

Callers: `commands.sync`. A daemon thread instead of the loop's own pool: a repository that hangs must not
keep the process from ending. Not here: ending what hangs; whoever blocks has time-outs of their own.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


class StillBusy(Exception):
    """The thread of an earlier call has not ended."""


class Apart:
    """One thread at a time."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._last: Future[Any] | None = None

    async def run(self, call: Callable[[], T], timeout_s: float) -> T:
        """Run a blocking call and wait for it.

        Args:
            call: what it raises is raised here.
            timeout_s: for how long; the call itself goes on.

        Raises:
            StillBusy: an earlier one goes on still.
            TimeoutError: it did not end in time.
        """
        if self._last is not None and not self._last.done():
            raise StillBusy
        answer: Future[T] = Future()
        self._last = answer
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        work = (call, answer, lambda: loop.call_soon_threadsafe(_tell, done, answer))
        Thread(target=_work, args=work, name=self._name, daemon=True).start()
        return await asyncio.wait_for(done, timeout_s)


def _work(call: Callable[[], T], answer: Future[T], tell: Callable[[], object]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised where the call was made
        answer.set_exception(error)
    # The loop may be gone: nobody waits any more then.
    with suppress(RuntimeError):
        tell()


def _tell(done: "asyncio.Future[T]", answer: Future[T]) -> None:
    if done.done():
        return
    error = answer.exception()
    if error is None:
        done.set_result(answer.result())
    else:
        done.set_exception(error)
