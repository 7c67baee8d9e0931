"""Actors of plain pykka in our tree, and ours among pykka's."""

import asyncio
import threading

import pykka
import pytest

from henslowe.actors.kernel import (
    BRUTAL_KILL,
    ChildSpec,
    ForeignActor,
    LoopActor,
    Scheduler,
    StartChild,
    StartFailed,
    TerminateChild,
    ThreadActor,
    WhichChildren,
    names,
    statistics,
)
from henslowe.supervisors import Supervisor
from henslowe.testing import no_leaks

BOUND_S = 5.0


class Legacy(pykka.ThreadingActor):
    """Knows nothing of us."""

    def __init__(self, diary, fails_at_start=False, gate=None):
        super().__init__()
        self.diary, self.fails_at_start, self.gate = diary, fails_at_start, gate

    def on_start(self):
        self.diary.append("start")
        if self.fails_at_start:
            raise RuntimeError("no start")

    def on_stop(self):
        self.diary.append("stop")

    def on_failure(self, *_):
        self.diary.append("failure")

    def on_receive(self, message):
        if message == "leave":
            self.stop()
        elif message == "hold":
            entered, released = self.gate
            entered.set()
            released.wait(BOUND_S)
        elif isinstance(message, Exception):
            raise message
        return ("legacy", message)


async def tree(*specs, **options):
    return await Supervisor.start_link(list(specs), **options)


async def test_it_is_started_asked_and_stopped_like_any_child():
    await asyncio.to_thread(int)
    async with no_leaks():
        diary = []
        supervisor = await tree(ChildSpec("legacy", ForeignActor, (Legacy, diary), name="legacy"))
        legacy = names.via("legacy")
        assert await legacy.call("x") == ("legacy", "x")
        assert legacy.info().kind == "foreign"
        assert legacy.info().actor_class == "Legacy"
        with pytest.raises(ValueError, match="asked"):
            await legacy.call(ValueError("asked"))  # pykka's rule: the caller only
        assert await legacy.call("y") == ("legacy", "y")
        await supervisor.stop(block=False)
        assert diary == ["start", "stop"]


async def test_it_is_restarted_when_a_tell_crashes_it(caplog):
    diary = []
    supervisor = await tree(ChildSpec("legacy", ForeignActor, (Legacy, diary), name="legacy"))
    first = names.whereis("legacy")
    first.tell(KeyError("told"))
    await _gone(first)
    assert isinstance(first.reason, KeyError)
    await names.via("legacy").up()
    assert await names.via("legacy").call("x") == ("legacy", "x")
    assert diary == ["start", "failure", "start"]
    await supervisor.stop(block=False)


async def test_its_proxy_reaches_the_foreign_actor_itself():
    diary = []
    supervisor = await tree(ChildSpec("legacy", ForeignActor, (Legacy, diary), name="legacy"))
    ref = names.whereis("legacy")

    def through_the_proxy():
        proxy = ref.proxy()
        proxy.mood = "good"
        return proxy.diary.get(), proxy.mood.get(), proxy.on_receive("x").get(timeout=BOUND_S)

    assert await asyncio.to_thread(through_the_proxy) == (diary, "good", ("legacy", "x"))
    await supervisor.stop(block=False)
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()


async def test_one_that_has_not_started_has_no_proxy_yet():
    Scheduler.install()
    ref = ForeignActor.start(Legacy, [])
    with pytest.raises(pykka.ActorDeadError, match="not found"):
        ref.proxy()
    await ref.stop(block=False)


async def test_a_transient_one_that_leaves_by_itself_is_not_restarted():
    diary = []
    supervisor = await tree(ChildSpec("legacy", ForeignActor, (Legacy, diary), name="legacy", restart="transient"))
    ref = names.whereis("legacy")
    ref.send("leave")
    await _gone(ref)
    assert ref.reason == "normal"
    (child,) = await supervisor.call(WhichChildren())
    assert child.ref is None
    await supervisor.stop(block=False)


async def test_a_failing_on_start_fails_the_start():
    supervisor = await tree()
    with pytest.raises(StartFailed) as failed:
        await supervisor.call(StartChild(ChildSpec("legacy", ForeignActor, (Legacy, [], True))))
    assert isinstance(failed.value.reason, RuntimeError)
    await supervisor.stop(block=False)


async def no_zombies() -> None:
    async with asyncio.timeout(BOUND_S):
        while statistics().zombies:
            await asyncio.sleep(0.001)


async def test_a_kill_does_not_wait_for_its_thread_which_counts_as_a_zombie_until_it_ends():
    entered, released = threading.Event(), threading.Event()
    supervisor = await tree(
        ChildSpec(
            "legacy", ForeignActor, (Legacy, []), {"gate": (entered, released)}, name="legacy", shutdown_s=BRUTAL_KILL
        )
    )
    before = statistics().zombies
    names.via("legacy").tell("hold")
    assert await asyncio.to_thread(entered.wait, BOUND_S)
    await supervisor.call(TerminateChild("legacy"))
    assert statistics().zombies == before + 1
    released.set()
    async with asyncio.timeout(BOUND_S):
        while statistics().zombies > before:
            await asyncio.sleep(0.001)
    await supervisor.stop(block=False)


class Listed:
    in_pykkas_registry = True
    crash_on_call_error = False

    def on_receive(self, message):
        return ("ours", message)


class ListedLoop(Listed, LoopActor):
    pass


class ListedThread(Listed, ThreadActor):
    pass


class Parent(pykka.ThreadingActor):
    """Runs children of its own, ours, in pykka's way."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def on_start(self):
        self.child = self.kind.start()

    def on_receive(self, message):
        if not self.child.is_alive():
            self.child = self.kind.start()
        return self.child.ask(message, timeout=BOUND_S)

    def on_stop(self):
        self.child.stop(timeout=BOUND_S)


@pytest.mark.parametrize("kind", [ListedLoop, ListedThread])
async def test_ours_are_run_by_an_actor_of_theirs_and_found_in_their_registry(kind):
    def with_pykka():
        parent = Parent.start(kind)
        assert parent.ask("x", timeout=BOUND_S) == ("ours", "x")
        (child,) = pykka.ActorRegistry.get_by_class(kind)
        assert pykka.ActorRegistry.get_by_urn(child.actor_urn) is child
        assert repr(child) == f"<ActorRef for {kind.__name__} ({child.actor_urn})>"
        child.stop(timeout=BOUND_S)
        assert parent.ask("y", timeout=BOUND_S) == ("ours", "y")
        pykka.ActorRegistry.broadcast("all", target_class=kind)
        assert parent.stop(timeout=BOUND_S)
        assert pykka.ActorRegistry.get_by_class(kind) == []
        lone = kind.start()
        pykka.ActorRegistry.stop_all(timeout=BOUND_S)
        assert not lone.is_alive()

    Scheduler.install()
    await asyncio.to_thread(with_pykka)


async def _gone(ref):
    loop = asyncio.get_running_loop()
    heard = loop.create_future()
    ref.watch(lambda *_: loop.call_soon_threadsafe(lambda: heard.done() or heard.set_result(None)))
    await asyncio.wait_for(heard, BOUND_S)
