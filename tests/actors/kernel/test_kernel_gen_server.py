"""GenServer's callbacks, on the loop and on threads."""

import asyncio

import pytest
from kernel_specimens import BOUND_S, KINDS, Boom, OnLoop, eventually, gone

from henslowe.actors.kernel import (
    IGNORE,
    KILL,
    NOPROC,
    NORMAL,
    ActorExit,
    Continue,
    LoopActor,
    Scheduler,
    StartFailed,
    Stop,
)
from henslowe.errors import Conflict

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
