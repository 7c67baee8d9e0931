"""Timers belong to their actor and deliver to handle_info."""

import asyncio

import pytest
from kernel_specimens import BOUND_S, OnLoop, OnThread, eventually

from henslowe.actors.kernel import KILL
from henslowe.testing import run_virtually


def test_a_timer_delivers_after_its_delay():
    async def main():
        ref = await OnLoop.start_link()
        ref.cast(lambda actor: actor.send_after(90.0, "tick") and None)
        ref.cast(lambda actor: actor.send_after(30.0, "tock") and None)
        await asyncio.sleep(29.9)
        assert ("info", "tock") not in await ref.call("log")
        await asyncio.sleep(0.2)
        assert (await ref.call("log"))[-1] == ("info", "tock")
        await asyncio.sleep(60)
        assert (await ref.call("log"))[-1] == ("info", "tick")
        assert not ref._timers

    run_virtually(main())


def test_a_cancelled_timer_is_silent_and_says_whether_it_was_in_time():
    async def main():
        timers = []
        ref = await OnLoop.start_link()
        ref.cast(lambda actor: timers.append(actor.send_after(5.0, "tick")))
        await ref.get_state()
        assert timers[0].is_pending()
        assert timers[0].cancel() is True
        assert timers[0].cancel() is False
        await asyncio.sleep(10)
        assert ("info", "tick") not in await ref.call("log")

    run_virtually(main())


def test_timers_end_with_their_actor():
    async def main():
        timers = []
        ref = await OnLoop.start_link()
        ref.cast(lambda actor: timers.append(actor.send_after(3600.0, "never")))
        await ref.get_state()
        ref.exit(KILL)
        assert not timers[0].is_pending()

    run_virtually(main())


async def test_a_thread_actors_timers_fire_in_order_and_can_be_cancelled():
    ref = await OnThread.start_link()
    timers = []
    for delay_s, word in ((0.03, "third"), (0.01, "first"), (0.02, "second"), (0.015, "cancelled")):
        await ref.call(lambda actor, d=delay_s, w=word: timers.append(actor.send_after(d, w)))
    timers[3].cancel()
    await eventually(lambda: not ref._timers)
    async with asyncio.timeout(BOUND_S):
        while ("info", "third") not in (log := await ref.call("log")):
            pass
    assert [word for kind, *word in log[1:] if kind == "info"] == [["first"], ["second"], ["third"]]
    ref.exit(KILL)


def test_an_actor_may_set_timers_in_init():
    class Clock(OnLoop):
        def init(self):
            self.send_after(1.0, "tick")

        def handle_info(self, message):
            self.log.append(asyncio.get_running_loop().time())
            self.send_after(1.0, message)

    async def main():
        ref = await Clock.start_link()
        await asyncio.sleep(3.5)
        assert await ref.call("log") == pytest.approx([1.0, 2.0, 3.0])

    run_virtually(main())
