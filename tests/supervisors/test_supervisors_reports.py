"""What supervisors report: once per event, with what they do about it."""

import asyncio

import pytest
from supervised_specimens import Hanging, LoopWorker, gone

from henslowe.actors.kernel import (
    KILLED,
    SHUTDOWN,
    ChildSpec,
    CountChildren,
    LoopActor,
    RestartType,
    StartChild,
    Stop,
    names,
)
from henslowe.supervisors import (
    AutoShutdown,
    Context,
    DynamicSupervisor,
    NextAction,
    PartitionSupervisor,
    Supervisor,
    add_listener,
)
from henslowe.testing import run_virtually


@pytest.fixture
def reports():
    heard = []
    remove = add_listener(heard.append)
    yield heard
    remove()


def child(word="a", restart=RestartType.PERMANENT, **changes):
    return ChildSpec(word, LoopWorker, (word, []), name="reported", restart=restart, **changes)


async def end(message):
    ref = names.whereis("reported")
    ref.cast(message)
    await gone(ref)
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("restart", [RestartType.TEMPORARY, RestartType.TRANSIENT])
async def test_a_clean_end_of_a_child_that_is_not_restarted_is_no_news(reports, restart):
    for supervisor in (await Supervisor.start_link([child(restart=restart)]), await DynamicSupervisor.start_link()):
        if names.whereis("reported") is None:
            await supervisor.call(StartChild(child(restart=restart)))
        await end(Stop((SHUTDOWN, "done")))
        await supervisor.stop(block=False)
    assert reports == []


async def test_a_crash_without_a_restart_is_reported_as_such(reports):
    static = await Supervisor.start_link([child(restart=RestartType.TEMPORARY)])
    await end(ValueError("once"))
    dynamic = await DynamicSupervisor.start_link()
    await dynamic.call(StartChild(child(restart=RestartType.TEMPORARY)))
    await end(ValueError("once"))
    assert [(r.context, r.next_action, r.delay_s) for r in reports] == [
        (Context.CHILD_TERMINATED, NextAction.LEAVE_STOPPED, 0.0)
    ] * 2
    for supervisor in (static, dynamic):
        await supervisor.stop(block=False)


async def test_the_crash_of_a_significant_child_says_that_the_supervisor_shuts_down(reports):
    spec = child(restart=RestartType.TEMPORARY, significant=True)
    supervisor = await Supervisor.start_link([spec], auto_shutdown=AutoShutdown.ANY_SIGNIFICANT)
    await end(ValueError("the one that mattered"))
    assert not supervisor.is_alive()
    assert [r.next_action for r in reports] == [NextAction.SHUT_DOWN]


@pytest.mark.parametrize("kind", [Supervisor, DynamicSupervisor])
async def test_the_last_straw_is_two_reports_that_both_give_up(reports, kind):
    supervisor = await kind.start_link(max_restarts=0)
    await supervisor.call(StartChild(child()))
    await end(ValueError("too many"))
    assert supervisor.reason == SHUTDOWN
    assert [(r.context, r.next_action, r.delay_s) for r in reports] == [
        (Context.CHILD_TERMINATED, NextAction.GIVE_UP, 0.0),
        (Context.REACHED_MAX_RESTART_INTENSITY, NextAction.GIVE_UP, 0.0),
    ]


async def test_without_other_words_three_restarts_in_five_seconds_are_tolerated(reports):
    starts = (
        Supervisor.start_link,
        DynamicSupervisor.start_link,
        lambda: PartitionSupervisor.start_link(ChildSpec("cell", LoopActor), name="cells"),
    )
    for start in starts:
        supervisor = await start()
        await supervisor.call(StartChild(child()))
        await end(ValueError("first"))
        assert (reports[-1].max_restarts, reports[-1].max_seconds) == (3, 5.0)
        await supervisor.stop(block=False)


async def test_a_child_without_an_id_is_called_by_its_address(reports):
    supervisor = await DynamicSupervisor.start_link()
    ref = await supervisor.call(StartChild(child(None)))
    await end(ValueError("nameless"))
    assert reports[0].child == str(ref)
    await supervisor.stop(block=False)


def test_less_than_a_second_is_time_enough_to_end(reports):
    async def main():
        loop = asyncio.get_running_loop()
        supervisor = await Supervisor.start_link([ChildSpec("slow", Hanging, shutdown_s=0.5)])
        supervisor.exit(SHUTDOWN)
        await gone(supervisor)
        assert loop.time() == pytest.approx(0.5)

    run_virtually(main())
    assert [(r.context, r.reason) for r in reports] == [(Context.SHUTDOWN_ERROR, KILLED)]


async def test_a_supervisor_asked_for_nonsense_says_so_and_lives():
    for kind in (Supervisor, DynamicSupervisor):
        supervisor = await kind.start_link()
        with pytest.raises(TypeError, match="expected a message for supervisors"):
            await supervisor.call("nonsense")
        supervisor.send("nonsense")
        assert (await supervisor.call(CountChildren())).specs == 0
        await supervisor.stop(block=False)


async def test_who_has_stopped_listening_hears_nothing_and_may_stop_twice():
    heard, others = [], []
    remove, remove_other = add_listener(heard.append), add_listener(others.append)
    supervisor = await Supervisor.start_link([child()])
    await end(ValueError("first"))
    remove()
    remove()
    await end(ValueError("second"))
    remove_other()
    assert [str(report.reason) for report in heard] == ["first"]
    assert [str(report.reason) for report in others] == ["first", "second"]
    await supervisor.stop(block=False)


async def test_a_report_is_logged_where_nobody_listens_with_a_traceback_where_there_is_one(caplog):
    supervisor = await Supervisor.start_link([child()])
    error = ValueError("with a traceback")
    await end(error)
    await end(Stop("a word"))
    assert [record.exc_info and record.exc_info[1] for record in caplog.records] == [error, None]
    await supervisor.stop(block=False)


@pytest.mark.parametrize(
    ("reason", "text"), [(KILLED, "killed"), (("odd", 1), "('odd', 1)"), (ValueError("bad"), "ValueError: bad")]
)
async def test_the_reason_as_plain_data_is_what_people_would_call_it(reports, reason, text):
    supervisor = await Supervisor.start_link([child()])
    await end(reason if isinstance(reason, Exception) else Stop(reason))
    assert reports[0].reason == reason
    assert reports[0].as_dict()["reason"] == text
    await supervisor.stop(block=False)
