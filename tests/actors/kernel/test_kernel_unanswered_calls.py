"""Calls that are not answered in time, by nobody, or by oneself; and callers that are cancelled."""

import asyncio
import threading

import pytest
from kernel_specimens import KINDS, OnLoop, OnThread

from henslowe.actors.kernel import (
    KILL,
    KILLED,
    ActorExit,
    CallTimeout,
    LoopActor,
    Scheduler,
    ThreadActor,
)
from henslowe.errors import NotFound
from henslowe.testing import run_virtually

both_kinds = pytest.mark.parametrize("kind", KINDS)


async def test_calling_oneself_from_a_plain_or_async_callback_raises_at_once():
    class Narcissus(LoopActor):
        async def handle_call(self, message, sender):
            await asyncio.sleep(0)
            return await self.ref.call("mirror")

        async def handle_cast(self, message):
            try:
                await self.ref.call("mirror")
            except ActorExit as error:
                message.append(error.reason)

    ref = await Narcissus.start_link()
    with pytest.raises(ActorExit, match="wait for ever"):
        await ref.call("look")
    other = await Narcissus.start_link()
    seen = []
    other.cast(seen)
    await other.get_state()
    assert seen == ["calling_self"]
    other.exit(KILL)


async def test_a_thread_actor_that_asks_itself_gets_an_error():
    ref = await OnThread.start_link()
    with pytest.raises(ActorExit, match="wait for ever"):
        await ref.call(lambda actor: actor.ref.ask("mirror"))


def test_a_call_times_out_after_its_time_and_the_late_reply_is_dropped():
    async def main():
        loop = asyncio.get_running_loop()
        ref = await OnLoop.start_link()
        with pytest.raises(CallTimeout):
            await ref.call("later", timeout_s=60.0)
        assert loop.time() == pytest.approx(60.0)
        ref.cast("pay")  # nobody waits any more
        assert await ref.call("fine") == "fine"

    run_virtually(main())


def test_calls_with_different_timeouts_expire_in_their_own_order():
    async def main():
        loop = asyncio.get_running_loop()
        ref = await OnLoop.start_link()
        expired = []

        async def call(timeout_s):
            with pytest.raises(CallTimeout):
                await ref.call("later", timeout_s)
            expired.append((timeout_s, round(loop.time(), 6)))

        await asyncio.gather(*(call(t) for t in (5.0, 0.25, 30.0, 1.0, 5.0)))
        assert expired == [(0.25, 0.25), (1.0, 1.0), (5.0, 5.0), (5.0, 5.0), (30.0, 30.0)]

    run_virtually(main())


def test_answered_calls_behind_a_hanging_one_are_not_kept():
    async def main():
        ref = await OnLoop.start_link()
        hanging = ref.call("later")
        deadlines = Scheduler.here().deadlines
        for _ in range(5000):
            answer = ref.call("later")
            ref.cast(lambda actor: actor.owed.pop().set(1) and None)
            await answer
        assert len(deadlines._queues[5.0]) < 2048
        ref.cast("pay")
        assert await hanging == "paid"

    run_virtually(main())


async def test_a_cancelled_caller_leaves_the_actor_alone():
    ref = await OnLoop.start_link()
    caller = asyncio.ensure_future(_call(ref))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    ref.cast("pay")
    assert await ref.call("fine") == "fine"
    ref.exit(KILL)


class Refusing(LoopActor):
    """Refuses a call when it is told to; everything else it answers at once."""

    def __init__(self, error, entered, go_on):
        super().__init__()
        self.error, self.entered, self.go_on = error, entered, go_on

    async def handle_call(self, message, sender):
        if message != "refuse":
            return message
        self.entered.set()
        await self.go_on.wait()
        raise self.error


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
@pytest.mark.parametrize(
    ("error", "lives"), [(NotFound("cannot find it"), True), (ValueError("a bug"), False)], ids=["answer", "bug"]
)
async def test_an_error_that_nobody_waits_for_ends_the_actor_if_it_is_no_answer(how, error, lives):
    entered, go_on = asyncio.Event(), asyncio.Event()
    ref = Refusing.start(error, entered, go_on)
    calling = asyncio.ensure_future(_refused(ref, None if how == "cancelled" else 0.01))
    await asyncio.wait_for(entered.wait(), 5)
    if how == "cancelled":
        calling.cancel()
    with pytest.raises(asyncio.CancelledError if how == "cancelled" else CallTimeout):
        await calling
    go_on.set()
    if lives:
        assert await ref.call("fine") == "fine"
        ref.exit(KILL)
    else:
        with pytest.raises(ActorExit) as ended:
            await ref.call("fine")
        assert ended.value.reason is error


async def test_a_thread_actor_whose_answer_nobody_waits_for_goes_on_as_well():
    entered, go_on = threading.Event(), threading.Event()

    class Slow(ThreadActor):
        def handle_call(self, message, sender):
            if message != "refuse":
                return message
            entered.set()
            assert go_on.wait(5)
            raise NotFound("cannot find it")

    ref = await Slow.start_link()
    calling = asyncio.ensure_future(_refused(ref, None))
    assert await asyncio.to_thread(entered.wait, 5)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    go_on.set()
    assert await ref.call("fine") == "fine"
    ref.exit(KILL)


async def _refused(ref, timeout_s):
    return await ref.call("refuse", timeout_s)


async def _call(ref):
    return await ref.call("later")


async def test_a_cancelled_start_link_ends_the_actor_that_nobody_would_know():
    held = asyncio.Event()
    refs = []

    class Slow(LoopActor):
        async def init(self):
            refs.append(self.ref)
            await held.wait()

    starting = asyncio.ensure_future(Slow.start_link())
    await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert refs[0].reason == KILLED
