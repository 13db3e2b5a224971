"""Writers of one process: who goes first, and that nobody who gives up is waited for."""

import asyncio

from desired_state.store.turnstile import MOST_WAITING, Turnstile, work_begun


class Writers:
    """Tasks that pass a turnstile and note that they did."""

    def __init__(self) -> None:
        self.turnstile = Turnstile()
        self.passed: list[str] = []

    async def write(self, name: str, begun_s: float | None) -> None:
        if begun_s is None:
            await self._pass(name)
            return
        with work_begun(begun_s):
            await self._pass(name)

    async def _pass(self, name: str) -> None:
        await self.turnstile.acquire()
        self.passed.append(name)
        await asyncio.sleep(0)
        self.turnstile.release()

    async def start(self, name: str, begun_s: float | None = None) -> "asyncio.Task[None]":
        """Have a writer come and wait."""
        task = asyncio.create_task(self.write(name, begun_s))
        await asyncio.sleep(0)
        return task


async def test_of_those_that_wait_the_oldest_work_goes_first_and_commands_before_all() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    tasks = [
        await writers.start("young", 30.0),
        await writers.start("old", 10.0),
        await writers.start("command"),
        await writers.start("of the same age", 30.0),
    ]

    writers.turnstile.release()
    await asyncio.gather(*tasks)

    assert ["command", "old", "young", "of the same age"] == writers.passed


async def test_one_that_gives_up_waiting_is_passed_over() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    gone, stays = await writers.start("gone", 1.0), await writers.start("stays", 2.0)

    gone.cancel()
    writers.turnstile.release()
    await stays

    assert ["stays"] == writers.passed
    assert gone.cancelled()


async def test_one_that_is_let_in_and_called_off_at_once_lets_the_next_one_in() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    gone, stays = await writers.start("gone", 1.0), await writers.start("stays", 2.0)

    writers.turnstile.release()
    gone.cancel()
    await stays

    assert ["stays"] == writers.passed


async def test_it_is_free_again_when_everybody_has_passed() -> None:
    writers = Writers()

    await writers.write("one", None)
    await writers.write("another", 5.0)

    assert ["one", "another"] == writers.passed


async def test_nobody_begins_while_many_wait_and_one_does_for_each_that_leaves() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    waiting = [await writers.start(str(number), float(number)) for number in range(MOST_WAITING)]
    beginning = [asyncio.create_task(writers.turnstile.room()) for _ in range(2)]
    await asyncio.sleep(0)

    assert [False, False] == [one.done() for one in beginning]
    writers.turnstile.release()
    await beginning[0]

    assert not beginning[1].done()
    await asyncio.gather(*waiting, beginning[1])


async def test_one_that_may_begin_and_is_called_off_lets_another_begin() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    waiting = [await writers.start(str(number), float(number)) for number in range(MOST_WAITING)]
    gone, begins = [asyncio.create_task(writers.turnstile.room()) for _ in range(2)]
    await asyncio.sleep(0)

    writers.turnstile.release()
    gone.cancel()
    await begins

    assert gone.cancelled()
    await asyncio.gather(*waiting)


async def test_there_is_room_at_once_where_few_wait() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    waiting = await writers.start("one", 1.0)

    await writers.turnstile.room()

    writers.turnstile.release()
    await waiting


async def test_everybody_may_begin_when_nobody_waits_any_more() -> None:
    writers = Writers()
    await writers.turnstile.acquire()
    waiting = [await writers.start(str(number), float(number)) for number in range(MOST_WAITING)]
    many = [asyncio.create_task(writers.turnstile.room()) for _ in range(3 * MOST_WAITING)]
    await asyncio.sleep(0)

    writers.turnstile.release()

    await asyncio.gather(*waiting, *many)
