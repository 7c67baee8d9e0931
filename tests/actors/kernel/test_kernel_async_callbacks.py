"""Callbacks that wait: what holds the mailbox, what takes a turn of the loop, and what may not be async at all."""

import asyncio
import sys

import pytest
from kernel_specimens import BOUND_S, KINDS, OnLoop, OnThread, gone

from henslowe.actors.kernel import (
    KILL,
    SHUTDOWN,
    Continue,
    LoopActor,
    Scheduler,
    Stop,
)

both_kinds = pytest.mark.parametrize("kind", KINDS)


async def test_an_async_callback_holds_the_mailbox_until_it_is_done():
    release = asyncio.Event()

    class Slow(OnLoop):
        async def handle_cast(self, message):
            if message == "slow":
                await release.wait()
            self.log.append(message)

    ref = await Slow.start_link()
    ref.cast("slow")
    ref.cast("quick")
    answer = ref.call("log")
    await asyncio.sleep(0)
    assert not answer.done()
    release.set()
    assert await answer == ["init", "slow", "quick"]
    ref.exit(KILL)


async def test_all_callbacks_may_be_async():
    log = []

    class Async(LoopActor):
        async def init(self):
            await asyncio.sleep(0)
            return Continue("go")

        async def handle_continue(self, arg):
            await asyncio.sleep(0)
            log.append(arg)

        async def handle_call(self, message, sender):
            await asyncio.sleep(0)
            return message * 2

        async def handle_cast(self, message):
            await asyncio.sleep(0)
            log.append(message)
            return Continue("again")

        async def handle_info(self, message):
            await asyncio.sleep(0)
            log.append(message)
            return Stop(SHUTDOWN)

        async def terminate(self, reason):
            await asyncio.sleep(0)
            log.append(reason)

    ref = await Async.start_link()
    assert await ref.call(4) == 8
    ref.cast("cast")
    ref.send("info")
    await gone(ref)
    assert log == ["go", "cast", "again", "info", SHUTDOWN]


async def test_an_async_callback_that_does_not_suspend_leaves_the_actor_ready():
    class Async(LoopActor):
        async def handle_call(self, message, sender):
            return message

    ref = await Async.start_link()
    assert [await ref.call(n) for n in range(100)] == list(range(100))
    assert ref.info().state == "running"
    ref.exit(KILL)


async def test_a_caller_that_never_stops_leaves_the_loop_its_turns():
    ref = await OnLoop.start_link()
    turned = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, turned.set)
    async with asyncio.timeout(BOUND_S):
        while not turned.is_set():
            await ref.call("x")
    ref.exit(KILL)


async def test_calls_run_in_place_for_a_slice_and_then_take_their_turn():
    class Clockwork(Scheduler):
        def __init__(self):
            super().__init__(asyncio.get_running_loop())
            self.granted = []

        def grant_inline(self):
            self.granted.append(super().grant_inline())
            return self.granted[-1]

    scheduler = Clockwork()
    ref = await OnLoop.start_link()
    scheduler.inline, scheduler.inline_until = 0, float("inf")
    assert ref.call("in the slice").done()
    scheduler.inline, scheduler.inline_until = 0, 0.0
    late = ref.call("after the slice")
    assert not late.done()
    await late
    assert scheduler.granted == [True, False]
    ref.exit(KILL)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Python 3.12 brought eager tasks")
async def test_an_async_callback_that_does_not_suspend_takes_no_turn_of_the_loop():
    class Async(LoopActor):
        async def handle_call(self, message, sender):
            return message

    ref = await Async.start_link()
    assert ref.call("x").done()
    ref.exit(KILL)


async def test_a_thread_actor_refuses_async_callbacks():
    class Wrong(OnThread):
        async def handle_call(self, message, sender):
            return message

    ref = await Wrong.start_link()
    with pytest.raises(TypeError, match="async"):
        await ref.call("x")
