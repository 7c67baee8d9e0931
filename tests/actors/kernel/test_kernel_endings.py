"""Ends of actors that are easy to get wrong: found by breaking the kernel on purpose."""

import asyncio
import threading

import pytest
from kernel_specimens import BOUND_S, KINDS, Boom, OnLoop, OnThread, eventually, gone
from pykka.messages import _ActorStop

from henslowe.actors.kernel import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    Continue,
    LoopActor,
    Reply,
    StartFailed,
    Stop,
    is_clean,
    names,
    statistics,
)
from henslowe.actors.kernel._gauges import zombies
from henslowe.actors.kernel._lifecycle import DEFERRED_COMPACT_AT
from henslowe.errors import Conflict
from henslowe.testing import run_virtually

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
async def test_pykkas_stop_message_ends_an_actor(kind):
    ref = await kind.start_link()
    ref.tell(_ActorStop())
    assert await gone(ref) == NORMAL


@both_kinds
async def test_a_loop_is_never_blocked_by_a_stop(kind):
    ref = await kind.start_link()
    with pytest.raises(RuntimeError, match="runs an event loop"):
        ref.stop()
    assert await ref.call("log") == ["init"]
    ref.exit(KILL)


class Continuing:
    def init(self):
        return Continue("at once")

    def handle_continue(self, arg):
        raise Boom(arg)


@both_kinds
async def test_what_fails_right_after_init_ends_the_actor_but_not_its_start(kind):
    ref = await type("Failing", (Continuing, kind), {}).start_link()
    assert isinstance(await gone(ref) if ref.is_alive() else ref.reason, Boom)


class ContinuesLater(LoopActor):
    async def handle_call(self, message, sender):
        await asyncio.sleep(0)
        return Continue(message, "answered")

    def handle_continue(self, arg):
        raise Boom(arg)


async def test_what_fails_after_an_async_callback_ends_the_actor_but_not_its_answer():
    ref = await ContinuesLater.start_link()
    assert await ref.call("then") == "answered"
    assert isinstance(await gone(ref) if ref.is_alive() else ref.reason, Boom)


class FailsToStart(LoopActor):
    def init(self):
        raise Boom("no start")


async def test_a_starter_learns_of_a_failed_start_once():
    parent = await OnLoop.start_link(True)
    with pytest.raises(StartFailed):
        await FailsToStart.start_link(parent=parent)
    assert [entry for entry in await parent.call("log") if entry[0] == "Exit"] == []
    parent.exit(KILL)


async def test_a_crash_that_nobody_supervises_is_logged_with_its_traceback(caplog):
    ref = await OnLoop.start_link()
    ref.cast(Boom("logged"))
    await gone(ref)
    (record,) = caplog.records
    assert record.getMessage().startswith(f"actor_terminated actor={ref}")
    assert record.exc_info[0] is Boom


def test_the_timers_of_the_dead_do_not_fire():
    async def main():
        ref = await OnLoop.start_link()
        await ref.replace_state(lambda actor: actor.send_after(5.0, "late") and None)
        before = statistics().dead_letters
        ref.exit(KILL)
        await asyncio.sleep(10.0)
        assert statistics().dead_letters == before

    run_virtually(main())


class FailsToEnd(LoopActor):
    async def terminate(self, reason):
        raise Boom("at the end")

    def handle_cast(self, message):
        if isinstance(message, Exception):
            raise message
        return Stop(message)


async def test_an_async_terminate_that_fails_is_the_reason_unless_there_was_a_worse_one(caplog):
    clean, crashed = await FailsToEnd.start_link(), await FailsToEnd.start_link()
    clean.cast(NORMAL)
    assert isinstance(await gone(clean), Boom)
    error = ValueError("first")
    crashed.cast(error)
    assert await gone(crashed) is error


async def test_a_stopped_actor_that_is_stopped_again_says_that_it_was_dead():
    ref = await OnLoop.start_link()
    assert await ref.stop(block=False) is True
    assert await ref.stop(block=False) is False
    assert ref.stop() is False  # nothing to wait for, so nothing is blocked


@pytest.mark.parametrize("trap", [False, True])
@both_kinds
async def test_the_child_of_a_dead_parent_ends_as_if_it_had_just_died(kind, trap):
    parent = await OnLoop.start_link()
    parent.exit(KILL)
    child = await kind.start_link(trap, parent=parent)
    assert await gone(child) == NOPROC


@pytest.mark.parametrize("trap", [False, True])
@both_kinds
async def test_a_suspended_child_ends_with_its_parent(kind, trap):
    parent = await OnLoop.start_link()
    child = await kind.start_link(trap, parent=parent)
    child.suspend()
    parent.exit(KILL)
    await gone(child)
    assert child.reason == KILLED


async def test_the_caller_of_an_actor_that_kills_itself_and_fails_gets_the_error():
    class Suicidal(LoopActor):
        def handle_call(self, message, sender):
            self.ref.exit(KILL)
            raise Boom(message)

    ref = await Suicidal.start_link()
    with pytest.raises(Boom, match="last words"):
        await ref.call("last words")
    assert ref.reason == KILLED


@both_kinds
async def test_what_waits_behind_an_operating_error_is_handled(kind):
    class Answering(kind):
        def handle_call(self, message, sender):
            if message == "conflict":
                raise Conflict("an answer")
            return message

    ref = await Answering.start_link()
    replies = [ref.ask(message, block=False) for message in ("conflict", "behind it")]
    async with asyncio.timeout(BOUND_S):
        conflict, behind = await asyncio.gather(*replies, return_exceptions=True)
    assert isinstance(conflict, Conflict)
    assert behind == "behind it"
    ref.exit(KILL)


async def test_an_actor_that_says_goodbye_takes_no_more_messages():
    goodbye = asyncio.Event()

    class Polite(LoopActor):
        async def terminate(self, reason):
            await goodbye.wait()

        def handle_call(self, message, sender):
            return message

    ref = await Polite.start_link()
    ref.exit(SHUTDOWN)
    await eventually(lambda: ref.info().state == "stopping")
    late = ref.call("late")
    await asyncio.sleep(0)
    assert not late.done()
    goodbye.set()
    with pytest.raises(ActorExit) as exited:
        await late
    assert exited.value.reason == SHUTDOWN


@pytest.mark.parametrize("error", [Boom("no goodbye"), KeyboardInterrupt()])
async def test_who_ends_a_suspended_actor_meets_no_error_of_its_terminate_but_an_interrupt(error):
    class Rude(LoopActor):
        def terminate(self, reason):
            raise error

    ref = await Rude.start_link()
    ref.suspend()
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            ref.exit(SHUTDOWN)
    else:
        ref.exit(SHUTDOWN)
    assert ref.reason is error


@pytest.mark.parametrize("by_itself", [False, True])
async def test_a_kill_cuts_an_async_goodbye_off(by_itself):
    cut_off = asyncio.Event()

    class Lingering(LoopActor):
        async def terminate(self, reason):
            if by_itself:
                self.ref.exit(KILL)
            try:
                await asyncio.Event().wait()
            finally:
                cut_off.set()

    ref = await Lingering.start_link()
    ref.exit(SHUTDOWN)
    if not by_itself:
        await eventually(lambda: ref.info().state == "stopping")
        await asyncio.sleep(0)
        ref.exit(KILL)
    async with asyncio.timeout(BOUND_S):
        await cut_off.wait()
    assert ref.reason == KILLED
    await eventually(lambda: not zombies)


async def test_an_exit_signal_ends_an_async_start():
    class Slow(LoopActor):
        async def init(self):
            await asyncio.Event().wait()

    starting = asyncio.ensure_future(Slow.start_link(name="slow-start"))
    await eventually(lambda: names.whereis("slow-start") is not None)
    names.whereis("slow-start").exit("changed our mind")
    with pytest.raises(StartFailed) as failed:
        async with asyncio.timeout(BOUND_S):
            await starting
    assert failed.value.reason == "changed our mind"


async def test_a_call_that_comes_back_during_handle_continue_waits_for_its_end():
    log, answers = [], []

    class Mirror(LoopActor):
        def handle_call(self, message, sender):
            answers.append(message.call("back"))

    class Beginner(LoopActor):
        def __init__(self, mirror):
            super().__init__()
            self.mirror = mirror

        def init(self):
            return Continue("go")

        def handle_continue(self, arg):
            log.append("begin")
            self.mirror.call(self.ref)
            log.append("end")

        def handle_call(self, message, sender):
            log.append(message)

    mirror = await Mirror.start_link()
    ref = await Beginner.start_link(mirror)
    await answers[0]
    assert log == ["begin", "end", "back"]
    for each in (ref, mirror):
        each.exit(KILL)


async def test_a_thread_actor_that_says_goodbye_is_stopping():
    goodbye = threading.Event()

    class Polite(OnThread):
        def terminate(self, reason):
            goodbye.wait(BOUND_S)

    ref = await Polite.start_link()
    ref.exit(SHUTDOWN)
    await eventually(lambda: ref.info().state == "stopping")
    goodbye.set()
    await gone(ref)
    assert ref.reason == SHUTDOWN


@both_kinds
async def test_a_caller_is_answered_before_what_continues(kind):
    class Continuing(kind):
        def handle_call(self, message, sender):
            return Continue(message, "soon") if message == "work" else super().handle_call(message, sender)

    ref = await Continuing.start_link()
    async with asyncio.timeout(BOUND_S):
        assert await ref.call("work") == "soon"
        assert await ref.call("log") == ["init", ("continue", "work")]
    ref.exit(KILL)


@both_kinds
async def test_a_suspended_actor_that_holds_a_message_back_ends_by_a_signal(kind):
    ref = await kind.start_link()
    ref.suspend()
    ref.cast("held back")
    if kind is not OnLoop:
        await eventually(lambda: ref.info().mailbox_depth == 0)  # the thread has it in hand
    ref.exit(SHUTDOWN)
    await gone(ref)
    assert ref.reason == SHUTDOWN


async def test_the_reply_of_a_stop_comes_after_an_async_goodbye():
    said = []

    class Polite(LoopActor):
        def handle_call(self, message, sender):
            return Stop(NORMAL, "farewell")

        async def terminate(self, reason):
            await asyncio.sleep(0)
            said.append(reason)

    ref = await Polite.start_link()
    assert await ref.call("leave") == "farewell"
    assert said == [NORMAL]


async def test_an_async_callback_may_end_its_actor_before_it_first_suspends():
    class Ending(LoopActor):
        steps_first = True

        async def handle_cast(self, message):
            self.ref.exit(message)
            await asyncio.sleep(0)

    ref = await Ending.start_link()
    ref.cast("enough")
    assert await gone(ref) == "enough"


@both_kinds
async def test_casts_that_an_ending_actor_has_not_handled_are_dead_letters(kind):
    ref = await kind.start_link()
    ref.suspend()
    for number in range(3):
        ref.cast(number)
    before = statistics().dead_letters
    ref.exit(KILL)
    await eventually(lambda: statistics().dead_letters >= before + 3)


@both_kinds
async def test_callers_that_were_answered_late_are_not_kept(kind):
    ref = await kind.start_link()
    owed = ref._actor.owed
    for _ in range(200):
        reply = ref.ask("later", block=False)
        await eventually(lambda: owed)
        owed.pop().set("now")
        assert await reply == "now"
        assert len(ref._deferred) <= DEFERRED_COMPACT_AT
    ref.exit(KILL)


@both_kinds
async def test_a_reply_that_is_deferred_in_the_moment_of_a_kill_is_answered(kind):
    ref = await kind.start_link()
    ref.exit(KILL)
    reply = Reply()
    ref._defer(reply)  # what a thread does that was just coming back from its callback
    with pytest.raises(ActorExit):
        await reply


@both_kinds
async def test_many_callers_that_still_wait_hear_of_the_end_although_others_were_answered(kind):
    ref = await kind.start_link()
    owed = ref._actor.owed
    replies = [ref.ask("later", block=False) for _ in range(DEFERRED_COMPACT_AT)]
    await eventually(lambda: len(owed) == DEFERRED_COMPACT_AT)
    for sender in owed[::2]:
        sender.set("now")
    replies += [ref.ask("later", block=False) for _ in range(DEFERRED_COMPACT_AT)]
    await eventually(lambda: len(owed) == 2 * DEFERRED_COMPACT_AT)
    ref.exit(KILL)
    async with asyncio.timeout(BOUND_S):
        ends = await asyncio.gather(*replies, return_exceptions=True)
    assert ends.count("now") == DEFERRED_COMPACT_AT / 2
    assert sum(isinstance(end, ActorExit) for end in ends) == 1.5 * DEFERRED_COMPACT_AT


def test_clean_is_normal_shutdown_and_any_tuple_that_begins_with_it():
    for reason in (NORMAL, SHUTDOWN, (SHUTDOWN,), (SHUTDOWN, "detail")):
        assert is_clean(reason)
    for reason in ((), ("odd",), ("odd", SHUTDOWN), "odd", None, Boom()):
        assert not is_clean(reason)


def test_the_exit_of_a_crashed_actor_carries_its_error_as_the_cause():
    error = Boom("why")
    assert ActorExit(error).__cause__ is error
    assert ActorExit("odd").__cause__ is None


def test_an_exit_reads_as_its_text_or_else_as_its_reason():
    assert str(ActorExit("odd")) == "actor exited: 'odd'"
    assert str(ActorExit("odd", "it was odd")) == "it was odd"
