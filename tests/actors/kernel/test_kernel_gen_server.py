"""GenServer's callbacks, on the loop and on threads."""

import asyncio
import sys

import pytest
from kernel_specimens import BOUND_S, KINDS, Boom, OnLoop, OnThread, eventually, gone

from henslowe.actors.kernel import (
    IGNORE,
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    CallTimeout,
    Continue,
    LoopActor,
    Scheduler,
    StartFailed,
    Stop,
    names,
)
from henslowe.errors import Conflict
from henslowe.testing import run_virtually

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
async def test_start_link_returns_after_init(kind):
    log = []
    ref = await kind.start_link(log=log)
    assert log == ["init"]
    assert ref.is_alive()
    ref.exit(KILL)


async def test_a_start_for_a_supervisor_is_one_step_where_init_is():
    ref = OnLoop.begin_link((), {})
    assert ref.info().state == "running"
    ref.exit(KILL)


async def test_an_actor_whose_name_is_taken_is_not_even_made():
    made = []

    class Made(LoopActor):
        def __init__(self):
            super().__init__()
            made.append(self)

    ref = await Made.start_link(name="taken-before")
    with pytest.raises(StartFailed) as failed:
        await Made.start_link(name="taken-before")
    assert failed.value.reason == ("already_started", ref)
    assert len(made) == 1
    ref.exit(KILL)


@both_kinds
async def test_a_failing_init_is_raised_by_start_link_and_terminate_does_not_run(kind):
    log = []
    with pytest.raises(StartFailed) as failed:
        await kind.start_link(log=log, on_init=Boom("no"))
    assert isinstance(failed.value.reason, Boom)
    assert log == ["init"]


@both_kinds
async def test_init_can_refuse_with_a_reason(kind):
    with pytest.raises(StartFailed) as failed:
        await kind.start_link(on_init=Stop("not_today"))
    assert failed.value.reason == "not_today"


@both_kinds
async def test_init_can_ignore(kind):
    assert await kind.start_link(on_init=IGNORE) is None


@both_kinds
async def test_continue_from_init_runs_before_any_message(kind):
    ref = kind.start(on_init=Continue("first"))
    ref.cast("second")
    assert await ref.call("log") == ["init", ("continue", "first"), ("cast", "second")]
    ref.exit(KILL)


@both_kinds
async def test_a_chain_of_continues_runs_before_any_message(kind):
    ref = await kind.start_link()
    ref.cast(Continue(Continue("b")))
    ref.cast("c")
    log = await ref.call("log")
    assert [entry[0] for entry in log[1:]] == ["cast", "continue", "continue", "cast"]
    ref.exit(KILL)


@both_kinds
async def test_casts_are_handled_in_order_and_before_a_later_call(kind):
    ref = await kind.start_link()
    for number in range(200):
        ref.cast(number)
    assert await ref.call("log") == ["init", *(("cast", number) for number in range(200))]
    ref.exit(KILL)


@both_kinds
async def test_a_call_gives_what_the_callback_returns(kind):
    ref = await kind.start_link()
    assert await ref.call(41) == 41
    assert await ref.call(None) is None
    ref.exit(KILL)


@both_kinds
async def test_a_deferred_reply_arrives_later(kind):
    ref = await kind.start_link()
    answer = ref.call("later")
    ref.cast("pay")
    assert await answer == "paid"
    ref.exit(KILL)


@both_kinds
async def test_a_callback_that_answers_and_returns_something_has_answered(kind):
    class Eager(kind):
        def handle_call(self, message, sender):
            sender.set("first")
            return "second"

    ref = await Eager.start_link()
    assert await ref.call("x") == "first"
    assert await ref.ask("x", block=False) == "first"
    assert ref.is_alive()
    ref.exit(KILL)


@both_kinds
async def test_an_exception_in_handle_call_reaches_the_caller_and_ends_the_actor(kind):
    log = []
    ref = await kind.start_link(log=log)
    with pytest.raises(Boom):
        await ref.call(Boom("told"))
    assert not ref.is_alive()  # the caller hears when it is over
    assert log[-1][0] == "terminate"
    assert isinstance(ref.reason, Boom)


@both_kinds
async def test_an_operating_error_is_an_answer_and_no_crash(kind):
    ref = await kind.start_link()
    with pytest.raises(Conflict):
        await ref.call(Conflict("cannot do that: not now"))
    assert await ref.call("still here") == "still here"
    ref.exit(KILL)


@both_kinds
async def test_an_operating_error_in_a_cast_is_a_crash(kind):
    ref = await kind.start_link()
    ref.cast(Conflict("nobody asked"))
    await gone(ref)
    assert isinstance(ref.reason, Conflict)


@both_kinds
async def test_stop_with_a_reply_runs_terminate_before_the_caller_hears(kind):
    log = []
    ref = await kind.start_link(log=log)
    assert await ref.call(lambda _: Stop(NORMAL, "bye")) == "bye"
    assert log[-1] == ("terminate", NORMAL)
    assert not ref.is_alive()


@both_kinds
async def test_a_failing_terminate_turns_the_promised_reply_into_an_exit(kind):
    class Clumsy(kind):
        def terminate(self, reason):
            raise Boom("while leaving")

    ref = await Clumsy.start_link()
    with pytest.raises(ActorExit) as told:
        await ref.call(lambda _: Stop(NORMAL, "bye"))
    assert isinstance(told.value.reason, Boom)


@both_kinds
async def test_callers_with_deferred_replies_hear_the_reason_when_the_actor_ends(kind):
    ref = await kind.start_link()
    answer = ref.call("later")
    ref.cast(Stop("closing_time"))
    with pytest.raises(ActorExit) as told:
        await answer
    assert told.value.reason == "closing_time"


@both_kinds
async def test_calls_that_wait_in_the_mailbox_of_an_ending_actor_are_answered(kind):
    ref = await kind.start_link()
    ref.cast(Stop("closing_time"))
    answers = [ref.call("too late") for _ in range(5)]
    told = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(error) for error in told] == [ActorExit] * 5
    assert {error.reason for error in told} <= {"closing_time", NOPROC}


@both_kinds
async def test_a_call_to_a_dead_actor_is_noproc_and_a_cast_is_lost_silently(kind):
    ref = await kind.start_link()
    await ref.stop(block=False)
    ref.cast("nobody")
    ref.send("nobody")
    with pytest.raises(ActorExit) as told:
        await ref.call("nobody")
    assert told.value.reason == NOPROC


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("stray")])
@both_kinds
async def test_a_base_exception_ends_only_the_actor_that_raised_it(kind, error):
    bystander = await kind.start_link()
    ref = await kind.start_link()
    ref.cast(error)
    await gone(ref)
    assert ref.reason is error
    assert await bystander.call("fine") == "fine"
    bystander.exit(KILL)


@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError("stray")])
async def test_a_base_exception_in_an_async_callback_ends_only_that_actor(error):
    class Async(OnLoop):
        async def handle_cast(self, message):
            await asyncio.sleep(0)
            raise message

    ref = await Async.start_link()
    ref.cast(error)
    await gone(ref)
    assert isinstance(ref.reason, type(error))


def test_keyboard_interrupt_in_a_callback_leaves_the_loop():
    ended = []

    async def main():
        Scheduler.install()
        ref = await OnLoop.start_link()
        ref.watch(lambda _, reason: ended.append(reason))
        ref.cast(KeyboardInterrupt())
        await asyncio.sleep(BOUND_S)

    loop = asyncio.new_event_loop()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
    assert isinstance(ended[0], KeyboardInterrupt)


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


@both_kinds
async def test_get_state_copies_attributes_and_suspend_holds_messages_back(kind):
    ref = await kind.start_link()
    ref.suspend()
    ref.cast("waits")
    answer = ref.call("waits too", timeout_s=None)
    assert ref.info().state == "suspended"
    ref.resume()
    assert await answer == "waits too"
    state = await ref.get_state()
    assert state["log"][1:] == [("cast", "waits"), ("call", "waits too")]
    assert "_actor_ref" not in state
    ref.exit(KILL)


def test_calls_to_a_suspended_actor_time_out():
    async def main():
        ref = await OnLoop.start_link()
        ref.suspend()
        with pytest.raises(CallTimeout):
            await ref.call("held back")
        state = await ref.get_state()
        assert state["log"] == ["init"]

    run_virtually(main())


async def test_an_actor_that_suspends_itself_takes_no_further_message():
    ref = await OnLoop.start_link()
    ref.cast(lambda actor: actor.ref.suspend())
    ref.cast("waits")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len((await ref.get_state())["log"]) == 2
    ref.resume()
    assert (await ref.call("log"))[-1] == ("cast", "waits")
    ref.exit(KILL)


@both_kinds
async def test_a_suspended_actor_still_obeys_exit_signals(kind):
    ref = await kind.start_link()
    ref.suspend()
    ref.exit(SHUTDOWN)
    await gone(ref)
    assert ref.reason == SHUTDOWN


@both_kinds
async def test_info_describes_the_actor_without_asking_it(kind):
    ref = await kind.start_link(name=f"specimen-{kind.__name__}")
    info = ref.info()
    assert (info.name, info.actor_class, info.state) == (f"specimen-{kind.__name__}", kind.__name__, "running")
    assert info.kind == ("loop" if kind is OnLoop else "thread")
    assert names.whereis(info.name) is ref
    ref.exit(KILL)
    assert (ref.info().state, ref.info().reason) == ("dead", KILLED)


async def test_more_messages_to_itself_during_a_call_than_one_turn_takes_are_all_handled():
    ref = await OnLoop.start_link()
    many = 200

    def flood(actor):
        for number in range(many):
            actor.ref.cast(number)
        return "flooded"

    assert await ref.call(flood) == "flooded"
    await eventually(lambda: ref.info().mailbox_depth == 0)
    assert len(await ref.call("log")) == many + 2
    ref.exit(KILL)
