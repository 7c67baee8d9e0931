"""Exit signals, links and monitors: OTP's table, row by row, over all pairings of loop and thread actors."""

import asyncio
import itertools

import pytest
from kernel_specimens import BOUND_S, KINDS, Boom, OnLoop, OnThread, eventually, gone

from henslowe.actors.kernel import KILL, KILLED, NOPROC, NORMAL, SHUTDOWN, ActorExit, LoopActor, Stop, names

PAIRS = [(OnLoop, OnLoop), (OnThread, OnThread), (OnLoop, OnThread), (OnThread, OnLoop)]
both_kinds = pytest.mark.parametrize("kind", KINDS)

# (how the signal comes, does the target trap) -> {reason sent: exit reason, or the message it becomes, or survival}
SURVIVES = "survives"
TABLE = {
    ("stranger", False): {NORMAL: SURVIVES, SHUTDOWN: SHUTDOWN, KILL: KILLED, "odd": "odd"},
    ("stranger", True): {
        NORMAL: ("Exit", NORMAL),
        SHUTDOWN: ("Exit", SHUTDOWN),
        KILL: KILLED,
        "odd": ("Exit", "odd"),
    },
    ("link", False): {NORMAL: SURVIVES, SHUTDOWN: SHUTDOWN, KILL: KILLED, "odd": "odd"},
    ("link", True): {
        NORMAL: ("Exit", NORMAL),
        SHUTDOWN: ("Exit", SHUTDOWN),
        KILL: ("Exit", KILLED),
        "odd": ("Exit", "odd"),
    },
    ("self", False): {NORMAL: NORMAL, SHUTDOWN: SHUTDOWN, KILL: KILLED, "odd": "odd"},
    ("self", True): {NORMAL: ("Exit", NORMAL), SHUTDOWN: ("Exit", SHUTDOWN), KILL: KILLED, "odd": ("Exit", "odd")},
}
ROWS = [(how, trap, reason, want) for (how, trap), row in TABLE.items() for reason, want in row.items()]


@pytest.mark.parametrize(("how", "trap", "reason", "want"), ROWS)
@pytest.mark.parametrize(("kind", "other_kind"), PAIRS)
async def test_signals_act_as_in_otp(kind, other_kind, how, trap, reason, want):  # noqa: PLR0917
    other = await other_kind.start_link()
    ref = await kind.start_link(trap)
    if how == "stranger":
        ref.exit(reason, other)
    elif how == "self":
        ref.cast(lambda actor: actor.ref.exit(reason, actor.ref))
    else:
        ref.link(other)
        if reason == NORMAL:
            await other.stop(block=False)
        else:
            other.exit(reason)
            await gone(other)
    if isinstance(want, str) and want != SURVIVES:
        await gone(ref)
        assert ref.reason == want
    else:
        await ref.get_state()  # behind the cast; what it sent to itself is behind this
        if want != SURVIVES:  # a thread tells its watchers (us) before its links
            async with asyncio.timeout(BOUND_S):
                while len(await ref.call("log")) < 2:
                    await asyncio.sleep(0)
        seen = [entry for entry in await ref.call("log") if entry[0] == "Exit"]
        assert seen == ([] if want == SURVIVES else [want])
        ref.exit(KILL)
    other.exit(KILL)


@pytest.mark.parametrize(("kind", "other_kind"), PAIRS)
async def test_a_crash_travels_along_a_chain_of_links_with_its_reason(kind, other_kind):
    refs = [await (kind if n % 2 else other_kind).start_link() for n in range(4)]
    for left, right in itertools.pairwise(refs):
        left.link(right)
    error = Boom("first")
    refs[0].cast(error)
    for ref in refs:
        await gone(ref)
        assert ref.reason is error


@both_kinds
async def test_linking_to_the_dead_is_an_exit_with_noproc(kind):
    dead = await kind.start_link()
    await dead.stop(block=False)
    trapping = await kind.start_link(True)
    trapping.cast(lambda actor: actor.link(dead))
    await trapping.get_state()
    assert ("Exit", NOPROC) in await trapping.call("log")
    plain = await kind.start_link()
    plain.link(dead)
    await gone(plain)
    assert plain.reason == NOPROC
    trapping.exit(KILL)


@both_kinds
async def test_an_unlinked_actor_hears_nothing(kind):
    a, b = await kind.start_link(True), await kind.start_link()
    a.link(b)
    a.unlink(b)
    b.exit("odd")
    await gone(b)
    assert await a.call("log") == ["init"]
    a.exit(KILL)


@pytest.mark.parametrize(("kind", "other_kind"), PAIRS)
async def test_a_monitor_tells_of_the_end_once_with_the_reason(kind, other_kind):
    watched, watcher = await kind.start_link(), await other_kind.start_link()
    watcher.cast(lambda actor: actor.monitor(watched) and None)
    await watcher.get_state()
    watched.exit("odd")
    await eventually(lambda: not watcher._monitors)
    assert [entry for entry in await watcher.call("log") if entry[0] == "Down"] == [("Down", "odd")]
    watcher.exit(KILL)


@both_kinds
async def test_a_monitor_of_the_dead_is_down_with_noproc(kind):
    dead = await kind.start_link()
    await dead.stop(block=False)
    watcher = await kind.start_link()
    watcher.cast(lambda actor: actor.monitor(dead) and None)
    await watcher.get_state()
    assert ("Down", NOPROC) in await watcher.call("log")
    watcher.exit(KILL)


@both_kinds
async def test_two_monitors_of_one_actor_are_two_messages(kind):
    def watch_twice(actor):
        actor.monitor(watched)
        actor.monitor(watched)

    watched, watcher = await kind.start_link(), await kind.start_link()
    watcher.cast(watch_twice)
    await watcher.get_state()
    watched.exit("odd")
    await eventually(lambda: not watcher._monitors)
    assert (await watcher.call("log")).count(("Down", "odd")) == 2
    watcher.exit(KILL)


async def test_demonitor_drops_a_down_that_waits_in_the_mailbox():
    class Fickle(OnLoop):
        async def handle_cast(self, message):
            mref = self.monitor(message)
            message.exit("odd")
            await gone(message)  # the Down is in our mailbox now
            self.demonitor(mref)

    watched, watcher = await OnLoop.start_link(), await Fickle.start_link()
    watcher.cast(watched)
    await watcher.get_state()  # answered after the cast; the Down is behind this
    assert await watcher.call("log") == ["init"]
    watcher.exit(KILL)


@both_kinds
async def test_the_dead_are_forgotten_by_those_they_were_linked_to(kind):
    survivor = await kind.start_link(True)
    for _ in range(3):
        ref = await kind.start_link()
        survivor.link(ref)
        ref.exit(KILL)
    assert survivor._links == set()
    survivor.exit(KILL)


async def test_a_dead_watcher_leaves_nothing_behind_in_what_it_watched():
    watched = await OnLoop.start_link()
    for _ in range(10):
        watcher = await OnLoop.start_link()
        watcher.cast(lambda actor: actor.monitor(watched) and None)
        await watcher.get_state()
        watcher.exit(KILL)
    assert not watched._watchers
    watched.exit(KILL)


async def test_the_parents_exit_ends_a_trapping_child_in_mailbox_order():
    log = []
    parent = await OnLoop.start_link()
    child = await OnLoop.start_link(True, log, parent=parent)
    child.cast("before")
    parent.exit(KILL)
    child.cast("after")
    await gone(child)
    assert log == ["init", ("cast", "before"), ("terminate", KILLED)]
    assert child.reason == KILLED


async def test_a_signal_to_an_actor_suspended_in_a_callback_cancels_it_and_runs_terminate():
    log = []

    class Waiting(LoopActor):
        async def handle_call(self, message, sender):
            try:
                await asyncio.Event().wait()
            finally:
                log.append("cancelled")

        def terminate(self, reason):
            log.append(("terminate", reason))

    ref = await Waiting.start_link()
    answer = ref.call("hang")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ref.exit(SHUTDOWN)
    with pytest.raises(ActorExit) as told:
        await answer
    assert told.value.reason == SHUTDOWN
    assert log == ["cancelled", ("terminate", SHUTDOWN)]


async def test_a_kill_skips_terminate_answers_callers_and_frees_the_name_before_watchers_hear():
    log = []
    ref = await OnLoop.start_link(True, log, name="victim")
    answer = ref.call("later")
    ref.watch(lambda _, reason: log.append((reason, names.whereis("victim"))))
    ref.exit(KILL)
    with pytest.raises(ActorExit) as told:
        await answer
    assert told.value.reason == KILLED
    assert log == ["init", (KILLED, None)]


async def test_killing_itself_inside_a_call_answers_the_caller_with_the_kill():
    ref = await OnLoop.start_link()
    with pytest.raises(ActorExit) as told:
        await ref.call(lambda actor: actor.ref.exit(KILL))
    assert told.value.reason == KILLED


async def test_a_stop_in_order_lets_earlier_messages_through_and_later_calls_fail():
    log = []
    ref = await OnLoop.start_link(log=log)
    ref.cast(1)
    stopped = ref.stop(block=False)
    ref.cast(2)
    assert await stopped is True
    assert log == ["init", ("cast", 1), ("terminate", NORMAL)]
    assert await ref.stop(block=False) is False


async def test_a_watchers_failure_does_not_keep_the_others_from_hearing(caplog):
    heard = []
    ref = await OnLoop.start_link()
    ref.watch(lambda *_: 1 / 0)
    ref.watch(lambda _, reason: heard.append(reason))
    ref.exit(KILL)
    assert heard == [KILLED]
    assert "watcher_failed" in caplog.text


async def test_a_cancelled_watch_is_silent():
    heard = []
    ref = await OnLoop.start_link()
    cancel = ref.watch(lambda *_: heard.append(1))
    cancel()
    ref.exit(KILL)
    assert heard == []


async def test_an_unsupervised_crash_is_logged_once_and_a_clean_exit_is_not(caplog):
    quiet, loud = await OnLoop.start_link(), await OnLoop.start_link()
    quiet.cast(Stop((SHUTDOWN, "done")))
    loud.cast(Boom("heard"))
    await gone(quiet)
    await gone(loud)
    assert [record.message.split()[0] for record in caplog.records] == ["actor_terminated"]
    assert "heard" in caplog.text


async def test_a_trapping_actor_in_an_async_init_is_not_cut_off():
    held = asyncio.Event()
    log = []

    class Careful(LoopActor):
        trap_exit = True

        async def init(self):
            await held.wait()
            log.append("opened")

        def terminate(self, reason):
            log.append(("closed", reason))

    parent = await OnLoop.start_link()
    starting = asyncio.ensure_future(Careful.start_link(parent=parent))
    await asyncio.sleep(0.01)
    parent.exit("odd")
    held.set()
    ref = await starting
    await gone(ref)
    assert log == ["opened", ("closed", "odd")]
