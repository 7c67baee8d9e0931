"""What may be asked of an actor beside its callbacks: its state, its rest, and what it is."""

import asyncio

import pytest
from kernel_specimens import KINDS, OnLoop, gone

from henslowe.actors.kernel import (
    KILL,
    KILLED,
    SHUTDOWN,
    CallTimeout,
    names,
)
from henslowe.testing import run_virtually

both_kinds = pytest.mark.parametrize("kind", KINDS)


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
