"""Names, and addresses by name that survive restarts."""

import asyncio

import pytest
from kernel_specimens import KINDS, Boom, OnLoop, gone

from henslowe.actors.kernel import (
    KILL,
    NOPROC,
    ActorExit,
    CallTimeout,
    LoopActor,
    Registry,
    StartFailed,
    names,
    statistics,
)
from henslowe.testing import run_virtually


@pytest.mark.parametrize("kind", KINDS)
async def test_a_name_is_registered_before_init_and_freed_at_death(kind):
    seen = []

    class Curious(kind):
        def init(self):
            seen.append(names.whereis("curious"))

    ref = await Curious.start_link(name="curious")
    assert seen == [ref]
    ref.exit(KILL)
    assert names.whereis("curious") is None
    assert "curious" not in names.registered()


async def test_a_taken_name_refuses_the_start_and_tells_the_holder():
    holder = await OnLoop.start_link(name="taken")
    with pytest.raises(StartFailed) as refused:
        await OnLoop.start_link(name="taken")
    assert refused.value.reason == ("already_started", holder)
    holder.exit(KILL)
    heir = await OnLoop.start_link(name="taken")
    heir.exit(KILL)


async def test_a_failed_init_frees_the_name_before_the_starter_hears():
    with pytest.raises(StartFailed):
        await OnLoop.start_link(name="stillborn", on_init=Boom("no"))
    ref = await OnLoop.start_link(name="stillborn")
    ref.exit(KILL)


async def test_an_actor_may_hold_several_names_and_give_one_up():
    registry = Registry()
    ref = await OnLoop.start_link()
    registry.register("one", ref)
    registry.register("two", ref)
    assert ref.name == "one"
    registry.unregister("two")
    assert registry.registered() == ["one"]
    ref.exit(KILL)
    assert registry.registered() == []
    with pytest.raises(ActorExit):
        registry.register("late", ref)


async def test_a_via_finds_the_next_incarnation():
    via = names.via("phoenix")
    first = await OnLoop.start_link(name="phoenix")
    assert await via.call("one") == "one"
    first.exit(KILL)
    second = await OnLoop.start_link(name="phoenix")
    via.cast("two")
    assert ("cast", "two") in await via.call("log")
    assert via.whereis() is second
    second.exit(KILL)


async def test_without_a_holder_calls_are_noproc_and_casts_are_dead_letters():
    via = names.via("nobody")
    before = statistics().dead_letters
    via.cast("lost")
    via.send("lost")
    assert statistics().dead_letters == before + 2
    assert not via.is_alive()
    assert via.info() is None
    with pytest.raises(ActorExit) as told:
        await via.call("anyone?")
    assert told.value.reason == NOPROC
    with pytest.raises(ActorExit):
        via.tell("anyone?")
    with pytest.raises(ActorExit):
        via.ask("anyone?", block=False)


async def test_up_waits_for_the_end_of_init():
    held = asyncio.Event()

    class Slow(LoopActor):
        async def init(self):
            await held.wait()

    via = names.via("slow")
    waiting = asyncio.ensure_future(via.up())
    starting = asyncio.ensure_future(Slow.start_link(name="slow"))
    await asyncio.sleep(0.01)
    assert via.is_alive()
    assert not waiting.done()
    held.set()
    ref = await starting
    assert await waiting is ref
    assert await via.up() is ref
    ref.exit(KILL)


@pytest.mark.parametrize("way", ["start", "start_link"])
async def test_up_waits_also_when_asked_during_init(way):
    held, entered = asyncio.Event(), asyncio.Event()

    class Slow(LoopActor):
        async def init(self):
            if way == "start":
                names.register("slow-too", self.ref)
            entered.set()
            await held.wait()

    starting = Slow.start() if way == "start" else asyncio.ensure_future(Slow.start_link(name="slow-too"))
    await entered.wait()
    waiting = asyncio.ensure_future(names.via("slow-too").up())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    held.set()
    ref = starting if way == "start" else await starting
    assert await waiting is ref
    ref.exit(KILL)


async def test_up_outlasts_an_incarnation_that_fails_to_start():
    waiting = asyncio.ensure_future(names.via("stubborn").up())
    await asyncio.sleep(0)
    with pytest.raises(StartFailed):
        await OnLoop.start_link(name="stubborn", on_init=Boom("first try"))
    assert not waiting.done()
    ref = await OnLoop.start_link(name="stubborn")
    assert await waiting is ref
    ref.exit(KILL)


def test_up_gives_up_after_its_time_and_forgets_the_waiter():
    registry = Registry()

    async def main():
        with pytest.raises(CallTimeout, match="godot"):
            await registry.via("godot").up(timeout_s=30)
        assert asyncio.get_running_loop().time() == pytest.approx(30)

    run_virtually(main())
    assert registry._waiting == {}


def test_vias_compare_by_name_and_registry():
    assert names.via("x") == names.via("x")
    assert names.via("x") != names.via("y")
    assert names.via("x") != Registry().via("x")
    assert len({names.via("x"), names.via("x")}) == 1


async def test_a_name_is_free_when_links_hear_of_the_death():
    found = []

    class Parent(OnLoop):
        def handle_info(self, message):
            found.append(names.whereis("short-lived"))

    parent = await Parent.start_link(True)
    child = await OnLoop.start_link(name="short-lived", parent=parent)
    child.cast(Boom("now"))
    await gone(child)
    await parent.get_state()
    assert found == [None]
    parent.exit(KILL)
