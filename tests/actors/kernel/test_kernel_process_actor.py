"""Actors in child processes: the same rules through a pipe, and the exact kill."""

import asyncio
import os

import pytest
from kernel_specimens import BOUND_S, Boom, Calculator, OnLoop, PlainDataCalculator, eventually, gone

from henslowe.actors.kernel import (
    KILL,
    KILLED,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    ChildFailure,
    ProcessActor,
    StartFailed,
    names,
)
from henslowe.actors.kernel._procfs import children_of, read_stat
from henslowe.errors import Conflict


def runs(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat.state != "Z"


async def test_callbacks_run_in_another_process_with_mailbox_order():
    ref = await Calculator.start_link(5, name="calculator")
    ref.cast(1)
    ref.cast(2)
    assert await ref.call("total") == 8
    child = await ref.call("pid")
    assert child != os.getpid()
    info = ref.info()
    assert (info.kind, info.actor_class, info.os_pid) == ("process", "Calculator", child)
    assert names.whereis("calculator") is ref
    assert await ref.stop(block=False) is True
    await eventually(lambda: read_stat(child) is None)
    assert ref.reason == NORMAL


async def test_continue_info_and_stop_with_reply_work_through_the_pipe():
    ref = await Calculator.start_link(100)
    assert await ref.call("total") == 101
    ref.send("anything")
    assert await ref.call("total") == 1101
    assert await ref.call("bye") == "goodbye"
    assert ref.reason == NORMAL


async def test_a_failing_init_is_raised_by_start_link_and_the_child_is_gone():
    before = set(children_of(os.getpid()))
    with pytest.raises(StartFailed) as failed:
        await Calculator.start_link(-1)
    assert isinstance(failed.value.reason, ValueError)
    assert "In the child process" in failed.value.reason.__notes__[0]
    await eventually(lambda: set(children_of(os.getpid())) <= before)


async def test_an_exception_comes_back_as_itself_and_ends_the_actor():
    ref = await Calculator.start_link()
    with pytest.raises(Boom, match="in the child"):
        await ref.call("boom")
    await gone(ref)
    assert isinstance(ref.reason, Boom)


async def test_an_operating_error_of_the_child_is_an_answer():
    ref = await Calculator.start_link()
    with pytest.raises(Conflict) as told:
        await ref.call("refuse")
    assert (told.value.hint, told.value.details) == ("subtract", {"reason": "full"})
    assert await ref.call("total") == 0
    await ref.stop(block=False)


async def test_on_the_plain_wire_errors_come_back_as_text_and_operating_errors_as_themselves():
    ref = await PlainDataCalculator.start_link(3)
    assert await ref.call("total") == 3
    with pytest.raises(Conflict) as told:
        await ref.call("refuse")
    assert told.value.hint == "subtract"
    with pytest.raises(ChildFailure, match="Boom: in the child") as failed:
        await ref.call("boom")
    assert "kernel_specimens" in failed.value.traceback_text


async def test_what_the_child_prints_does_not_disturb_the_pipe():
    ref = await Calculator.start_link()
    assert await ref.call("print") == "printed"
    assert await ref.call("total") == 0
    await ref.stop(block=False)


async def test_a_kill_ends_a_child_that_never_returns_and_answers_the_caller():
    ref = await Calculator.start_link()
    child = await ref.call("pid")
    answer = ref.call("spin", timeout_s=None)
    await asyncio.sleep(0)
    ref.exit(KILL)
    with pytest.raises(ActorExit) as told:
        await answer
    assert told.value.reason == KILLED
    await eventually(lambda: read_stat(child) is None)


async def test_a_kill_takes_grandchildren_in_other_sessions_along():
    ref = await Calculator.start_link()
    child = await ref.call("pid")
    grandchild = await ref.call(("fork", 600))
    assert runs(grandchild)
    ref.exit(KILL)
    await eventually(lambda: read_stat(child) is None and not runs(grandchild))


async def test_a_shutdown_of_a_busy_child_that_does_not_trap_ends_it_at_once():
    ref = await Calculator.start_link()
    child = await ref.call("pid")
    answer = ref.call("spin", timeout_s=None)
    await asyncio.sleep(0.01)
    ref.exit(SHUTDOWN)
    with pytest.raises(ActorExit):
        await answer
    assert ref.reason == SHUTDOWN
    await eventually(lambda: read_stat(child) is None)


async def test_a_child_that_dies_by_itself_ends_the_actor_with_its_status():
    parent = await OnLoop.start_link(True)
    ref = await Calculator.start_link(parent=parent)
    with pytest.raises(ActorExit) as told:
        await ref.call("die")
    assert told.value.reason == ("child_exited", 7)
    await gone(ref)
    assert (await parent.call("log"))[-1][0] == "Exit"
    parent.exit(KILL)


async def test_a_child_that_is_killed_from_outside_while_idle_ends_the_actor():
    ref = await Calculator.start_link()
    os.kill(await ref.call("pid"), 9)
    await gone(ref)
    assert ref.reason == ("child_exited", -9)


async def test_a_stop_result_of_a_cast_carries_its_reason():
    ref = await Calculator.start_link()
    ref.cast("stop")
    await gone(ref)
    assert ref.reason == "enough"


async def test_a_class_that_the_child_cannot_import_is_refused():
    class Local(ProcessActor):
        pass

    with pytest.raises(TypeError, match="importable"):
        await Local.start_link()


async def test_messages_wait_while_the_child_is_busy():
    ref = await Calculator.start_link()
    for number in range(50):
        ref.cast(number)
    assert ref.info().mailbox_depth > 0
    assert await asyncio.wait_for(ref.call("total"), BOUND_S) == sum(range(50))
    await ref.stop(block=False)
