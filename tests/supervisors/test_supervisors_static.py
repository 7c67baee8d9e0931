"""Supervisor: what the recorded scenarios do not show: time, backoff, other kinds of children, names, reports."""

import asyncio
import logging

import pytest
from supervised_specimens import Hanging, LoopWorker, SlowStarter, ThreadWorker, gone

from henslowe.actors.kernel import (
    BRUTAL_KILL,
    INFINITY,
    KILL,
    KILLED,
    SHUTDOWN,
    Backoff,
    ChildCount,
    ChildSpec,
    CountChildren,
    DeleteChild,
    LoopActor,
    ProcessActor,
    RestartChild,
    RestartType,
    StartChild,
    StartFailed,
    Stop,
    TerminateChild,
    WhichChildren,
    names,
)
from henslowe.errors import Conflict, NotFound
from henslowe.supervisors import AutoShutdown, Context, NextAction, Strategy, Supervisor, add_listener
from henslowe.testing import run_virtually


@pytest.fixture
def reports():
    heard = []
    remove = add_listener(heard.append)
    yield heard
    remove()


def specs(diary, words="abc", actor=LoopWorker, **changes):
    return [ChildSpec(word, actor, (word, diary), name=f"child-{word}", **changes) for word in words]


async def test_children_start_in_order_and_stop_in_reverse():
    diary = []
    supervisor = await Supervisor.start_link(specs(diary))
    await supervisor.stop(block=False)
    assert diary == [("+", "a"), ("+", "b"), ("+", "c"), ("-", "c"), ("-", "b"), ("-", "a")]


@pytest.mark.parametrize("actor", [LoopWorker, ThreadWorker])
@pytest.mark.parametrize(
    ("strategy", "story"),
    [
        (Strategy.ONE_FOR_ONE, "-b +b"),
        (Strategy.ONE_FOR_ALL, "-b -c -a +a +b +c"),
        (Strategy.REST_FOR_ONE, "-b -c +b +c"),
    ],
)
async def test_strategies_restart_their_groups_in_order(actor, strategy, story):
    diary = []
    supervisor = await Supervisor.start_link(specs(diary, actor=actor), strategy=strategy)
    del diary[:]
    victim = names.whereis("child-b")
    victim.cast(ValueError("now"))
    await gone(victim)
    assert (await names.via("child-b").up()) is not victim
    await supervisor.call(CountChildren())  # behind the restart of the whole group
    assert [sign + word for sign, word in diary] == story.split()
    await supervisor.stop(block=False)


def test_time_decides_whether_crashes_are_too_many():
    async def survives(gap_s, crashes):
        supervisor = await Supervisor.start_link(specs([]), max_restarts=3, max_seconds=5.0)
        for _ in range(crashes):
            names.via("child-a").cast(ValueError("again"))
            await asyncio.sleep(gap_s)
            if not supervisor.is_alive():
                return False
        await supervisor.stop(block=False)
        return True

    async def main():
        assert not await survives(1.0, 4)
        assert await survives(1.67, 200)
        assert await survives(1.0, 3)

    run_virtually(main())


def test_a_child_that_hangs_is_killed_after_its_time_and_reported(reports):
    async def main():
        loop = asyncio.get_running_loop()
        supervisor = await Supervisor.start_link(
            [ChildSpec("slow", Hanging, shutdown_s=7.5), ChildSpec("quick", Hanging, shutdown_s=BRUTAL_KILL)]
        )
        supervisor.exit(SHUTDOWN)
        await gone(supervisor)
        assert loop.time() == pytest.approx(7.5)

    run_virtually(main())
    assert [(r.child, r.context, r.reason) for r in reports] == [("slow", Context.SHUTDOWN_ERROR, KILLED)]


def test_infinity_waits_for_a_whole_subtree():
    async def main():
        loop = asyncio.get_running_loop()
        inner = ChildSpec(
            "inner", Supervisor, ([ChildSpec("slow", Hanging, shutdown_s=100.0)],), shutdown_s=INFINITY, name="inner"
        )
        outer = await Supervisor.start_link([inner])
        outer.exit(SHUTDOWN)
        await gone(outer)
        assert loop.time() == pytest.approx(100.0)
        assert names.whereis("inner") is None

    run_virtually(main())


async def test_a_failed_first_start_stops_those_before_it_and_says_who_failed(reports):
    diary = []

    class Failing(LoopActor):
        def init(self):
            raise ValueError("no luck")

    with pytest.raises(StartFailed) as failed:
        await Supervisor.start_link([*specs(diary, "ab"), ChildSpec("c", Failing)], name="doomed")
    kind, (what, who, why) = failed.value.reason
    assert (kind, what, who, type(why)) == (SHUTDOWN, "failed_to_start_child", "c", ValueError)
    assert diary == [("+", "a"), ("+", "b"), ("-", "b"), ("-", "a")]
    assert names.whereis("doomed") is None
    assert [r.context for r in reports] == [Context.START_ERROR]


async def test_a_nested_supervisor_that_gives_up_is_restarted_by_its_own():
    diary = []
    inner = ChildSpec("inner", Supervisor, (specs(diary, "a"),), {"max_restarts": 0}, name="inner", shutdown_s=INFINITY)
    outer = await Supervisor.start_link([inner])
    first = names.whereis("inner")
    names.via("child-a").cast(ValueError("once"))
    assert await gone(first) == SHUTDOWN
    assert await names.via("inner").up() is not first
    (info,) = await outer.call(WhichChildren())
    assert info.restarts == 1
    await outer.stop(block=False)


def test_backoff_waits_longer_each_time_and_starts_over_after_a_long_life(reports):
    backoff = Backoff(first_s=1.0, factor=2.0, max_s=5.0, reset_after_s=60.0)

    async def main():
        loop = asyncio.get_running_loop()
        supervisor = await Supervisor.start_link(specs([], "a", backoff=backoff), max_restarts=100)
        waits = []
        for life_s in (0, 0, 0, 0, 60, 0):
            await asyncio.sleep(life_s)
            names.via("child-a").cast(ValueError("again"))
            crashed_at = loop.time()
            await asyncio.sleep(0)
            await names.via("child-a").up(timeout_s=60)
            waits.append(loop.time() - crashed_at)
        assert waits == pytest.approx([1, 2, 4, 5, 1, 2])
        (info,) = await supervisor.call(WhichChildren())
        assert info.restarts == 6
        await supervisor.stop(block=False)

    run_virtually(main())
    assert [r.delay_s for r in reports] == [1, 2, 4, 5, 1, 2]


def test_a_crash_with_a_backoff_counts_once():
    async def main():
        specs_ = specs([], "a", backoff=Backoff(first_s=1.0))
        supervisor = await Supervisor.start_link(specs_, max_restarts=1, max_seconds=1000.0)
        names.via("child-a").cast(ValueError("now"))
        await asyncio.sleep(10)
        assert names.whereis("child-a") is not None
        names.via("child-a").cast(ValueError("again"))
        assert await gone(supervisor) == SHUTDOWN

    run_virtually(main())


def test_a_child_that_was_terminated_between_two_tries_stays_down():
    async def main():
        lives, answers = [], []

        class Failing(LoopActor):
            def init(self):
                lives.append(len(lives) + 1)
                if len(lives) == 2:  # the supervisor is in the middle of restarting us: this waits behind
                    answers.append(supervisor.call(TerminateChild("a")))
                    raise ValueError("cannot start")

            def handle_cast(self, message):
                raise ValueError(message)

        supervisor = await Supervisor.start_link([ChildSpec("a", Failing, name="child-a")])
        names.via("child-a").cast("now")
        await asyncio.sleep(60)
        await answers[0]
        assert lives == [1, 2]
        (info,) = await supervisor.call(WhichChildren())
        assert (info.ref, info.restarting) == (None, False)
        await supervisor.stop(block=False)

    run_virtually(main())


def test_while_a_child_waits_its_group_is_down_and_can_be_told_to_stay_down():
    diary = []

    async def main():
        waiting = specs(diary, "b", backoff=Backoff(first_s=10.0))
        supervisor = await Supervisor.start_link(
            [*specs(diary, "a"), *waiting, *specs(diary, "c")], strategy=Strategy.REST_FOR_ONE
        )
        names.via("child-b").cast(ValueError("now"))
        await asyncio.sleep(5)
        infos = await supervisor.call(WhichChildren())
        assert [(i.id, i.ref is not None, i.restarting) for i in infos] == [
            ("a", True, False),
            ("b", False, True),
            ("c", False, False),
        ]
        assert await supervisor.call(CountChildren()) == ChildCount(specs=3, active=1, restarting=1)
        with pytest.raises(Conflict, match="restarting"):
            await supervisor.call(RestartChild("b"))
        await asyncio.sleep(6)
        assert [entry for entry in diary if entry[0] == "+"][3:] == [("+", "b"), ("+", "c")]
        names.via("child-b").cast(ValueError("again"))
        await asyncio.sleep(1)
        await supervisor.call(TerminateChild("b"))
        await asyncio.sleep(3600)
        assert names.whereis("child-b") is None
        await supervisor.call(RestartChild("b"))
        assert names.whereis("child-b") is not None
        await supervisor.stop(block=False)

    run_virtually(main())


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL])
@pytest.mark.parametrize("actor", [LoopWorker, SlowStarter])
def test_a_failing_restart_is_tried_again_with_other_messages_in_between(reports, actor, strategy):
    diary = []

    async def main():
        spec = ChildSpec("a", actor, ("a", diary), {"fails": 3}, name="child-a")
        supervisor = await Supervisor.start_link([spec], strategy=strategy, max_restarts=10)
        victim = names.whereis("child-a")
        victim.cast(ValueError("first"))
        await gone(victim)
        await names.via("child-a").up()
        assert supervisor.is_alive()
        await supervisor.stop(block=False)

    run_virtually(main())
    assert [entry[0] for entry in diary] == ["+", "-", "!", "!", "!", "+", "-"]
    alone = strategy is Strategy.ONE_FOR_ONE
    first = NextAction.RESTART if alone else NextAction.RESTART_GROUP
    assert [r.next_action for r in reports] == [first, *[NextAction.RETRY] * 3]
    assert [r.restarts for r in reports] == [1, 1, 2, 3]


def test_failing_restarts_use_up_the_intensity(reports):
    diary = []

    async def main():
        spec = ChildSpec("a", LoopWorker, ("a", diary), {"fails": 99}, name="child-a")
        supervisor = await Supervisor.start_link([spec], max_restarts=3)
        names.via("child-a").cast(ValueError("first"))
        assert await gone(supervisor) == SHUTDOWN

    run_virtually(main())
    assert diary.count(("!", "a")) == 3
    assert reports[-1].context is Context.REACHED_MAX_RESTART_INTENSITY
    assert reports[-1].next_action is NextAction.GIVE_UP


async def test_a_crash_is_one_report_with_fields_and_one_line(reports, caplog):
    supervisor = await Supervisor.start_link(specs([], "a"), name="reporting", strategy=Strategy.ONE_FOR_ALL)
    victim = names.whereis("child-a")
    victim.cast(ValueError("bad value"))
    await gone(victim)
    await supervisor.call(CountChildren())
    (report,) = reports
    assert (report.supervisor, report.child, report.restarts, report.max_restarts) == ("reporting", "a", 1, 3)
    assert isinstance(report.reason, ValueError)
    assert report.as_dict()["reason"] == "ValueError: bad value"
    (record,) = caplog.records
    assert (record.name, record.levelno, record.report) == ("henslowe.supervisor", logging.ERROR, report)
    assert record.getMessage() == (
        "child_terminated supervisor=reporting child=a reason='ValueError: bad value' restart=1/3 in=5s "
        "next=restart_group"
    )
    await supervisor.stop(block=False)


async def test_a_listener_that_fails_is_logged_and_harms_nobody(caplog):
    remove = add_listener(lambda _: 1 / 0)
    supervisor = await Supervisor.start_link(specs([], "a"))
    victim = names.whereis("child-a")
    victim.cast(ValueError("bad"))
    await gone(victim)
    await supervisor.call(CountChildren())
    remove()
    assert "report_listener_failed" in caplog.text
    assert supervisor.is_alive()
    await supervisor.stop(block=False)


async def test_messages_that_cannot_be_obeyed_are_errors_for_the_caller_only():
    supervisor = await Supervisor.start_link(specs([], "a"))
    with pytest.raises(Conflict) as told:
        await supervisor.call(StartChild(specs([], "a")[0]))
    assert told.value.details["reason"] == "already_started"
    with pytest.raises(NotFound):
        await supervisor.call(TerminateChild("nobody"))
    with pytest.raises(Conflict, match="running"):
        await supervisor.call(DeleteChild("a"))
    with pytest.raises(TypeError, match="expected a message for supervisors"):
        await supervisor.call("do something")
    with pytest.raises(ValueError, match="expected an id"):
        await supervisor.call(StartChild(ChildSpec(None, LoopActor)))
    await supervisor.call(TerminateChild("a"))
    with pytest.raises(Conflict, match="already_present"):
        await supervisor.call(StartChild(specs([], "a")[0]))
    await supervisor.call(DeleteChild("a"))
    assert await supervisor.call(WhichChildren()) == ()
    assert supervisor.is_alive()
    await supervisor.stop(block=False)


async def test_a_child_that_cannot_start_is_an_error_for_the_caller_and_leaves_no_trace():
    class Failing(LoopActor):
        def init(self):
            raise ValueError("no luck")

    supervisor = await Supervisor.start_link([])
    with pytest.raises(StartFailed) as failed:
        await supervisor.call(StartChild(ChildSpec("x", Failing)))
    assert isinstance(failed.value.reason, ValueError)
    assert await supervisor.call(WhichChildren()) == ()
    await supervisor.stop(block=False)


async def test_children_can_be_addressed_by_ref():
    supervisor = await Supervisor.start_link([])
    ref = await supervisor.call(StartChild(ChildSpec("x", LoopActor)))
    await supervisor.call(TerminateChild(ref))
    assert not ref.is_alive()
    await supervisor.stop(block=False)


async def test_duplicate_ids_are_refused():
    with pytest.raises(ValueError, match="unique child ids"):
        await Supervisor.start_link(specs([], "aa"))


async def test_a_significant_child_ends_its_supervisor():
    children = [
        ChildSpec("main", LoopWorker, ("main", []), name="main", restart=RestartType.TRANSIENT, significant=True),
        ChildSpec("helper", LoopWorker, ("helper", []), name="helper"),
    ]
    supervisor = await Supervisor.start_link(children, auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    names.via("main").cast(Stop("normal"))
    assert await gone(supervisor) == SHUTDOWN
    assert names.whereis("helper") is None


async def test_a_killed_supervisor_takes_its_children_along():
    diary = []
    supervisor = await Supervisor.start_link(specs(diary))
    refs = [names.whereis(f"child-{word}") for word in "abc"]
    supervisor.exit(KILL)
    for ref in refs:
        await gone(ref)
        assert ref.reason == KILLED


class Echo(ProcessActor):
    """A child in a process of its own."""

    def handle_call(self, message, sender):
        import os

        if message == "die":
            os._exit(1)
        return os.getpid()


async def test_a_process_child_is_restarted_in_a_new_process_and_stopped_in_order():
    supervisor = await Supervisor.start_link([ChildSpec("echo", Echo, name="echo")])
    first = await names.via("echo").call("pid")
    victim = names.whereis("echo")
    victim.exit(KILL)
    second = await (await names.via("echo").up()).call("pid")
    assert first != second
    await supervisor.stop(block=False)
    assert names.whereis("echo") is None


class SlowToEnd(LoopActor):
    """Ends when it is told to, after a while."""

    trap_exit = True

    async def terminate(self, _reason):
        await asyncio.sleep(2.0)


def plane(child: ChildSpec) -> ChildSpec:
    return ChildSpec("plane", Supervisor, args=([child],), name="plane", shutdown_s=INFINITY)


async def killed_plane(child: ChildSpec, reports: list) -> tuple[float, list]:
    """Kills the supervisor of a named child; how long until its successor has a new one, and what was reported."""
    top = await Supervisor.start_link([plane(child)])
    first = names.whereis("child")
    began_s = asyncio.get_running_loop().time()
    names.whereis("plane").exit(KILL)
    while names.whereis("child") in (first, None):
        await asyncio.sleep(0.1)
    took_s = asyncio.get_running_loop().time() - began_s
    assert not first.is_alive()
    contexts = [report.context for report in reports]
    await top.stop(block=False)
    return took_s, contexts


def test_a_killed_supervisors_successor_waits_for_the_names_of_its_orphans(reports):
    took_s, contexts = run_virtually(killed_plane(ChildSpec("child", SlowToEnd, name="child"), reports))
    assert took_s == pytest.approx(2.0, abs=0.3)
    assert contexts == [Context.CHILD_TERMINATED], "one crash, and no start that failed"


def test_an_orphan_that_does_not_end_is_killed_in_the_end(reports):
    took_s, contexts = run_virtually(killed_plane(ChildSpec("child", Hanging, name="child"), reports))
    assert took_s == pytest.approx(30.0, abs=0.3)
    assert contexts == [Context.CHILD_TERMINATED]
