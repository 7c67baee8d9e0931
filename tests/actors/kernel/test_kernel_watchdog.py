"""The watchdog: a stand-still is noticed, named once, and interrupted when that was asked for."""

import asyncio
import threading
import time

import pytest
from kernel_specimens import BOUND_S, OnLoop, eventually

from henslowe.actors.kernel import KILL, Scheduler, Stall, Stalled, Watchdog


@pytest.fixture
async def watched():
    """Makes watchdogs of this loop with a limit of 50 ms."""
    dogs = []

    def make(**options):
        stalls: list[Stall] = []
        seen = threading.Event()

        def on_stall(stall):
            stalls.append(stall)
            seen.set()

        dog = Watchdog(Scheduler.install(), limit_s=0.05, on_stall=on_stall, **options)
        dog.start()
        dogs.append(dog)
        return stalls, seen

    yield make
    for dog in dogs:
        dog.stop()


async def test_a_callback_that_holds_the_loop_is_named_once_with_its_stack(watched, caplog):
    stalls, seen = watched()

    def hold_the_loop(_):
        assert seen.wait(BOUND_S)
        time.sleep(0)

    ref = await OnLoop.start_link()
    ref.cast(hold_the_loop)
    await ref.get_state()
    assert len(stalls) == 1
    assert stalls[0].actor == str(ref)
    assert "hold_the_loop" in stalls[0].stack
    assert "loop_stalled" in caplog.text
    assert ref.is_alive()
    ref.exit(KILL)


async def test_other_code_that_holds_the_loop_is_reported_without_an_actor(watched):
    stalls, seen = watched()
    await asyncio.sleep(0)
    assert seen.wait(BOUND_S)  # this very test holds it
    assert stalls[0].actor is None
    assert "test_other_code_that_holds_the_loop" in stalls[0].stack


async def test_an_interrupted_callback_ends_its_actor_and_nobody_else(watched):
    stalls, _ = watched(interrupt=True)

    def spin(_):
        while True:
            time.sleep(0)

    bystander, ref = await OnLoop.start_link(), await OnLoop.start_link()
    ref.cast(spin)
    await eventually(lambda: not ref.is_alive())
    assert isinstance(ref.reason, Stalled)
    assert stalls[0].actor == str(ref)
    assert await bystander.call("fine") == "fine"
    bystander.exit(KILL)
