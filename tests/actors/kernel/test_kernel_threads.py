"""Threads: asking from outside the loop, races with the end, and what a kill of a thread can and cannot do."""

import asyncio
import threading
import time

import pytest
from kernel_specimens import BOUND_S, KINDS, Boom, Gate, OnLoop, OnThread, eventually, gone
from pykka._envelope import Envelope

from henslowe.actors.kernel import KILL, KILLED, SHUTDOWN, ActorExit, CallTimeout, Reply, Stop, statistics
from henslowe.actors.kernel._thread_actor import WAKE

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
async def test_a_thread_may_ask_and_tell(kind):
    ref = await kind.start_link()

    def from_a_thread():
        for number in range(100):
            ref.tell(number)
        return ref.ask("log", timeout=BOUND_S)

    assert await asyncio.to_thread(from_a_thread) == ["init", *(("cast", n) for n in range(100))]
    ref.exit(KILL)


@both_kinds
async def test_an_ask_that_blocks_times_out(kind):
    ref = await kind.start_link()
    with pytest.raises(CallTimeout):
        await asyncio.to_thread(lambda: ref.ask("later", timeout=0.01))
    ref.exit(KILL)


@both_kinds
async def test_blocking_on_the_loop_is_refused_instead_of_stalling_it(kind):
    ref = await kind.start_link()
    with pytest.raises(RuntimeError, match="await"):
        ref.ask("x")
    with pytest.raises(RuntimeError, match="await"):
        ref.stop()
    reply = ref.ask("later", block=False)
    with pytest.raises(RuntimeError, match="await"):
        reply.get()
    assert ref.is_alive()
    ref.exit(KILL)
    with pytest.raises(ActorExit):
        await reply


@both_kinds
async def test_an_ask_that_races_with_the_end_is_always_answered(kind):
    """Each thread asks until the actor has ended under it; an ask without an answer would hang it."""

    def hammer(ref, answers):
        for _ in range(10_000):
            try:
                answers.append(ref.ask("x", timeout=BOUND_S))
            except ActorExit:
                if not ref.is_alive():
                    return
        raise AssertionError("the actor did not end")

    for way in ("stop", "kill", "crash", "exit"):
        ref = await kind.start_link()
        answers: list[object] = []
        hammers = [asyncio.create_task(asyncio.to_thread(hammer, ref, answers)) for _ in range(3)]
        await eventually(lambda answers=answers: len(answers) > 20)
        if way == "stop":
            ref.stop(block=False)
        elif way == "kill":
            ref.exit(KILL)
        elif way == "crash":
            ref.cast(Boom("mid-air"))
        else:
            ref.exit(SHUTDOWN)
        await asyncio.gather(*hammers)


@both_kinds
async def test_an_ask_that_arrives_after_the_end_is_answered(kind):
    ref = await kind.start_link()
    await ref.stop(block=False)
    reply = Reply()
    ref.put(Envelope("late", reply))  # what an asker does that saw the actor alive a moment ago
    with pytest.raises(ActorExit):
        await asyncio.wait_for(asyncio.ensure_future(_awaited(reply)), BOUND_S)


async def _awaited(reply):
    return await reply


def test_a_late_ask_does_not_take_the_wake_up_that_a_killed_thread_waits_for():
    ref = OnThread()._actor_ref  # its thread is not started: we look at the queue in its place
    ref._die(KILLED)
    ref._q.put(WAKE)
    ref.put("late")
    assert ref._q.get_nowait() is WAKE


async def test_a_killed_thread_releases_callers_at_once_and_counts_as_a_zombie_until_it_is_back():
    gate = Gate()
    ref = await OnThread.start_link()
    answer = ref.call(lambda _: gate.pass_through(), timeout_s=None)
    await eventually(gate.entered.is_set)
    before = statistics().zombies
    ref.exit(KILL)
    with pytest.raises(ActorExit) as told:
        await answer
    assert told.value.reason == KILLED
    assert statistics().zombies == before + 1
    gate.open.set()
    await eventually(lambda: statistics().zombies == before)


async def test_a_kill_interrupts_python_code_in_a_thread():
    entered = threading.Event()

    def spin(_):
        entered.set()
        while True:
            time.sleep(0)

    ref = await OnThread.start_link()
    thread = ref._thread
    ref.cast(spin)
    await eventually(entered.is_set)
    ref.exit(KILL)
    await eventually(lambda: not thread.is_alive())


async def test_a_kill_ends_an_idle_thread():
    ref = await OnThread.start_link()
    thread = ref._thread
    ref.exit(KILL)
    await eventually(lambda: not thread.is_alive())


async def test_a_coroutine_that_swallows_its_cancellation_is_a_zombie_until_it_ends():
    release = asyncio.Event()

    class Stubborn(OnLoop):
        async def handle_cast(self, message):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await release.wait()

    ref = await Stubborn.start_link()
    before = statistics().zombies
    ref.cast("hang")
    await asyncio.sleep(0.01)
    ref.exit(KILL)
    await asyncio.sleep(0.01)
    assert not ref.is_alive()
    assert statistics().zombies == before + 1
    release.set()
    await eventually(lambda: statistics().zombies == before)


@both_kinds
async def test_a_deferred_reply_may_be_given_by_another_thread(kind):
    ref = await kind.start_link()
    answer = ref.call("later")
    await ref.get_state()
    senders = (await ref.get_state())["owed"]
    await asyncio.to_thread(senders[0].set, "from afar")
    assert await answer == "from afar"
    ref.exit(KILL)


@both_kinds
async def test_a_second_answer_is_dropped_after_an_exit_or_a_time_out(kind):
    ref = await kind.start_link()
    answer = ref.call("later")
    sender = (await ref.get_state())["owed"][0]
    ref.exit(KILL)
    with pytest.raises(ActorExit):
        await answer
    sender.set("too late")


async def test_a_thread_may_start_a_loop_actor_and_wait_for_its_end():
    def in_a_thread():
        ref = OnLoop.start()
        assert ref.ask("hello", timeout=BOUND_S) == "hello"
        return ref.stop(timeout=BOUND_S), ref.wait(BOUND_S), ref.is_alive()

    await OnLoop.start_link()  # a scheduler for this loop
    assert await asyncio.to_thread(in_a_thread) == (True, True, False)


async def test_an_actor_whose_loop_is_closed_answers_that_it_is_not_there():
    refs = []

    async def other_loop():
        refs.append(await OnLoop.start_link())

    await asyncio.to_thread(lambda: asyncio.run(other_loop()))
    with pytest.raises(ActorExit):
        await refs[0].call("anyone?")
    refs[0].cast("lost")


async def test_actors_of_two_loops_can_call_each_other():
    box = {}
    ready, done = threading.Event(), threading.Event()

    async def other_loop():
        box["far"] = await OnLoop.start_link()
        ready.set()
        while not done.is_set():
            await asyncio.sleep(0.001)
        box["answer"] = await box["near"].call("from the other loop")
        box["far"].exit(KILL)

    box["near"] = await OnLoop.start_link()
    thread = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(other_loop())))
    await eventually(ready.is_set)
    assert await box["far"].call("from here") == "from here"
    done.set()
    await thread
    assert box["answer"] == "from the other loop"
    box["near"].exit(KILL)


@both_kinds
async def test_messages_to_the_dead_and_left_behind_are_counted(kind):
    ref = await kind.start_link()
    before = statistics().dead_letters
    ref.cast(Stop("normal"))
    await gone(ref)
    ref.cast("lost")
    ref.send("lost")
    assert statistics().dead_letters == before + 2


def test_a_reply_can_be_used_without_any_actor():
    reply = Reply()
    threading.Timer(0.01, reply.set, ["value"]).start()
    assert reply.get(timeout=BOUND_S) == "value"
    assert reply.done()
