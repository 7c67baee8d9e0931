"""Waits with a limit that share one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from henslowe.transport.mcp.deadlines import NEVER_S, Deadlines, Timed


async def test_a_wait_ends_with_what_it_waits_for() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    future: asyncio.Future[str] = asyncio.Future()
    waiting = asyncio.ensure_future(deadlines.wait(future, 5))
    await asyncio.sleep(0)
    assert len(deadlines) == 1
    future.set_result("answer")
    assert await waiting == "answer"
    assert len(deadlines) == 0
    deadlines.close()


async def test_waits_end_in_the_order_of_their_times_whatever_the_order_of_their_begin() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    ended: list[float] = []

    async def wait(timeout_s: float) -> None:
        with pytest.raises(TimeoutError):
            await deadlines.wait(asyncio.Future(), timeout_s)
        ended.append(timeout_s)

    await asyncio.wait_for(asyncio.gather(*map(wait, (0.03, 0.01, 0.05, 0.02))), 5)
    assert ended == [0.01, 0.02, 0.03, 0.05]
    assert len(deadlines) == 0


async def test_waits_that_are_over_together_end_in_the_order_of_their_times() -> None:
    loop = asyncio.get_running_loop()
    deadlines, ended = Deadlines(loop), list[float]()
    now_s = loop.time()
    for early_s in (0.1, 0.3, 0.0, 0.2):
        timed = Told(lambda early_s=early_s: ended.append(early_s))  # type: ignore[misc]
        deadlines.add(timed, now_s - early_s)
    await until(timed)
    assert ended == [0.3, 0.2, 0.1, 0.0]


async def test_a_wait_whose_time_is_over_already_ends_at_once() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(Deadlines(asyncio.get_running_loop()).wait(asyncio.Future(), -1.0), 5)


async def test_a_wait_that_is_cancelled_is_forgotten() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    waiting = asyncio.ensure_future(deadlines.wait(asyncio.Future(), 5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert len(deadlines) == 0
    deadlines.close()


async def test_a_wait_may_have_no_limit() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    future: asyncio.Future[int] = asyncio.Future()
    asyncio.get_running_loop().call_soon(future.set_result, 1)
    assert await deadlines.wait(future, NEVER_S) == 1


class Told:
    """What takes a failure by a function call, as a call without a task does, and acts on it at once."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.failed = 0
        self._then = then

    def done(self) -> bool:
        return self.failed > 0

    def set_exception(self, failure: Exception) -> None:
        assert isinstance(failure, TimeoutError)
        self.failed += 1
        self._then()


async def until(told: Told) -> None:
    async with asyncio.timeout(5):
        while not told.done():
            await asyncio.sleep(0)


async def test_whoever_is_told_may_end_its_wait_and_begin_another_one_at_once() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    later = Told()

    def again() -> None:
        deadlines.remove(first)
        deadlines.add(later, loop.time() + 0.01)

    first, second = Told(again), Told()
    for timed in (first, second):
        deadlines.add(timed, loop.time())
    await until(second)
    assert first.failed == 1
    await until(later)
    assert (first.failed, second.failed, later.failed) == (1, 1, 1)
    deadlines.close()


async def test_a_wait_that_is_ended_by_another_one_s_failure_does_not_fail() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop)
    spared = Told()
    first: Timed = Told(lambda: deadlines.remove(spared))
    last = Told()
    for timed in (first, spared, last):
        deadlines.add(timed, loop.time())
    await until(last)
    assert spared.failed == 0
    deadlines.close()
