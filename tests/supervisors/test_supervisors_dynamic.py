"""DynamicSupervisor: what the recorded scenarios do not show: time, limits, ids, backoff."""

import asyncio

import pytest
from supervised_specimens import Hanging, LoopWorker, ThreadWorker, gone

from henslowe.actors.kernel import (
    IGNORE,
    SHUTDOWN,
    Backoff,
    ChildCount,
    ChildSpec,
    CountChildren,
    LoopActor,
    RestartType,
    StartChild,
    StartFailed,
    Stop,
    TerminateChild,
    WhichChildren,
    names,
)
from henslowe.errors import Conflict, LimitReached, NotFound
from henslowe.supervisors import DynamicSupervisor, Supervisor
from henslowe.testing import run_virtually


def test_all_children_stop_at_the_same_time():
    async def main():
        loop = asyncio.get_running_loop()
        supervisor = await DynamicSupervisor.start_link()
        for seconds in (3.0, 9.0, 6.0):
            await supervisor.call(StartChild(ChildSpec(None, Hanging, shutdown_s=seconds)))
        supervisor.exit(SHUTDOWN)
        await gone(supervisor)
        assert loop.time() == pytest.approx(9.0)

    run_virtually(main())


@pytest.mark.parametrize("actor", [LoopWorker, ThreadWorker])
async def test_a_child_is_restarted_alone_and_found_by_id(actor):
    diary = []
    supervisor = await DynamicSupervisor.start_link()
    for word in "ab":
        await supervisor.call(StartChild(ChildSpec(word, actor, (word, diary), name=f"dyn-{word}")))
    victim = names.whereis("dyn-a")
    victim.cast(ValueError("now"))
    await gone(victim)
    await names.via("dyn-a").up()
    infos = await supervisor.call(WhichChildren())
    assert [(info.id, info.restarts) for info in infos] == [("a", 1), ("b", 0)]
    assert diary == [("+", "a"), ("+", "b"), ("-", "a"), ("+", "a")]
    await supervisor.call(TerminateChild("a"))
    assert [info.id for info in await supervisor.call(WhichChildren())] == ["b"]
    with pytest.raises(NotFound):
        await supervisor.call(TerminateChild("a"))
    await supervisor.stop(block=False)


async def test_a_given_id_is_unique_and_may_be_used_again_after_the_end():
    supervisor = await DynamicSupervisor.start_link()
    spec = ChildSpec("x", LoopWorker, ("x", []), restart=RestartType.TEMPORARY)
    ref = await supervisor.call(StartChild(spec))
    with pytest.raises(Conflict) as told:
        await supervisor.call(StartChild(spec))
    assert told.value.details["reason"] == "already_started"
    ref.cast(Stop("normal"))
    await gone(ref)
    assert await supervisor.call(StartChild(spec)) is not ref
    await supervisor.stop(block=False)


async def test_the_number_of_children_is_limited():
    supervisor = await DynamicSupervisor.start_link(max_children=2)
    refs = [await supervisor.call(StartChild(ChildSpec(None, LoopActor))) for _ in range(2)]
    with pytest.raises(LimitReached) as told:
        await supervisor.call(StartChild(ChildSpec(None, LoopActor)))
    assert told.value.details == {"reason": "max_children", "limit": 2}
    await supervisor.call(TerminateChild(refs[0]))
    await supervisor.call(StartChild(ChildSpec(None, LoopActor)))
    assert await supervisor.call(CountChildren()) == ChildCount(specs=2, active=2, restarting=0)
    await supervisor.stop(block=False)


async def test_children_that_ignore_or_fail_leave_no_trace():
    class Ignoring(LoopActor):
        def init(self):
            return IGNORE

    class Failing(LoopActor):
        def init(self):
            raise ValueError("no luck")

    supervisor = await DynamicSupervisor.start_link()
    assert await supervisor.call(StartChild(ChildSpec("i", Ignoring))) is None
    with pytest.raises(StartFailed):
        await supervisor.call(StartChild(ChildSpec("f", Failing)))
    assert await supervisor.call(WhichChildren()) == ()
    assert supervisor.is_alive()
    await supervisor.stop(block=False)


def test_a_waiting_child_counts_and_can_be_terminated():
    async def main():
        supervisor = await DynamicSupervisor.start_link(max_children=1)
        spec = ChildSpec("a", LoopWorker, ("a", []), name="dyn-a", backoff=Backoff(first_s=10.0))
        await supervisor.call(StartChild(spec))
        names.via("dyn-a").cast(ValueError("now"))
        await asyncio.sleep(5)
        assert await supervisor.call(CountChildren()) == ChildCount(specs=1, active=0, restarting=1)
        (waiting,) = await supervisor.call(WhichChildren())
        assert (waiting.ref, waiting.restarting) == (None, True)
        with pytest.raises(LimitReached):
            await supervisor.call(StartChild(ChildSpec(None, LoopActor)))
        await supervisor.call(TerminateChild("a"))
        await asyncio.sleep(3600)
        assert names.whereis("dyn-a") is None
        assert await supervisor.call(WhichChildren()) == ()
        await supervisor.stop(block=False)

    run_virtually(main())


def test_a_crash_with_a_backoff_waits_and_counts_once():
    async def main():
        supervisor = await DynamicSupervisor.start_link(max_restarts=1)
        spec = ChildSpec("a", LoopWorker, ("a", []), name="dyn-a", backoff=Backoff(first_s=0.5))
        await supervisor.call(StartChild(spec))
        names.via("dyn-a").cast(ValueError("now"))
        await asyncio.sleep(0.4)
        assert names.whereis("dyn-a") is None
        await asyncio.sleep(0.2)
        assert names.whereis("dyn-a") is not None
        await supervisor.stop(block=False)

    run_virtually(main())


@pytest.mark.parametrize("starts", [Supervisor, DynamicSupervisor])
async def test_a_restart_without_a_backoff_comes_before_messages_that_wait(starts):
    supervisor = await starts.start_link()
    victim = await supervisor.call(StartChild(ChildSpec("a", LoopWorker, ("a", []))))
    supervisor.suspend()
    victim.cast(ValueError("now"))
    await gone(victim)
    answer = supervisor.call(WhichChildren())
    supervisor.resume()
    (child,) = await answer
    assert child.ref is not None
    assert child.ref is not victim
    assert not child.restarting
    await supervisor.stop(block=False)


async def test_a_child_that_was_terminated_is_unknown_by_its_ref():
    supervisor = await DynamicSupervisor.start_link()
    ref = await supervisor.call(StartChild(ChildSpec(None, LoopActor)))
    await supervisor.call(TerminateChild(ref))
    with pytest.raises(NotFound):
        await supervisor.call(TerminateChild(ref))
    await supervisor.stop(block=False)


def test_all_children_share_one_intensity():
    async def main():
        supervisor = await DynamicSupervisor.start_link(max_restarts=2, max_seconds=5.0)
        for word in "abc":
            await supervisor.call(StartChild(ChildSpec(word, LoopWorker, (word, []), name=f"dyn-{word}")))
        for word in "abc":
            names.via(f"dyn-{word}").cast(ValueError(word))
        assert await gone(supervisor) == SHUTDOWN

    run_virtually(main())
