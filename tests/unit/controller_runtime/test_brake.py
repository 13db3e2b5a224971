"""The brake: no write begins at the stop of a service, nor while its event loop lags."""

import asyncio

from controller.runtime.brake import Brake
from tests.fakes.loop import FastLoop, run_fast


def test_a_run_that_neither_stops_nor_watches_its_loop_is_never_braked():
    assert "" == Brake().cause()


def test_the_stop_of_a_service_lets_no_write_begin():
    brake = Brake()

    brake.stop()

    assert "the controller is stopping" == brake.cause()


def test_a_loop_that_stood_still_is_noticed_by_whoever_runs_first_after_it():
    """Not by the watch's own next beat, which may come after the write."""

    async def standstill(seconds):
        brake, lags = Brake(), []
        brake._lagged = lags.append
        watch = asyncio.create_task(brake.watch())
        await asyncio.sleep(10)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FastLoop)
        # Something holds the loop, and nothing else runs meanwhile.
        loop._impatient.passed_s += seconds
        at_once = brake.cause()
        await asyncio.sleep(1)
        after_the_next_beat = brake.cause()
        watch.cancel()
        return at_once, after_the_next_beat, max(lags)

    at_once, later, lag = run_fast(standstill(4))
    assert at_once.startswith("the event loop lags by ")
    assert "" == later
    assert 3 < lag <= 4
    assert ("", "") == run_fast(standstill(2.5))[:2]


def test_a_watch_that_ended_brakes_nobody():
    """A one-shot run after a service, in one process."""

    async def ended():
        brake = Brake()
        watch = asyncio.create_task(brake.watch())
        await asyncio.sleep(1)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await asyncio.sleep(100)
        return brake.cause()

    assert "" == run_fast(ended())
