"""The kernel's actors through pykka's API, and pykka's actors from the kernel."""

import asyncio
import threading

import pykka
import pytest
from kernel_specimens import BOUND_S, OnLoop
from pykka._envelope import Envelope

from henslowe.actors.kernel import KILL, ActorExit, LoopActor, Ref, ThreadActor, ask_async


class Hooks:
    """Written for pykka: only the base class is new."""

    crash_on_call_error = False

    def __init__(self, diary):
        super().__init__()
        self.diary = diary
        self.number = 1

    def on_start(self):
        self.diary.append("start")

    def on_stop(self):
        self.diary.append("stop")

    def on_failure(self, exception_type, exception_value, traceback):
        self.diary.append(exception_type)

    def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        return message

    def add(self, more):
        self.number += more
        return self.number

    def fail(self):
        raise ValueError("by proxy")


class LoopHooks(Hooks, LoopActor):
    pass


class ThreadHooks(Hooks, ThreadActor):
    pass


class Foreign(pykka.ThreadingActor):
    """Knows nothing of us."""

    def on_receive(self, message):
        if isinstance(message, threading.Event):
            assert message.wait(BOUND_S)
            return "held"
        if isinstance(message, Ref):
            return message.ask("from pykka", timeout=BOUND_S)
        return message


both = pytest.mark.parametrize("kind", [LoopHooks, ThreadHooks])


@both
async def test_pykkas_hooks_and_proxy_work_unchanged(kind):
    diary = []
    ref = kind.start(diary)

    def with_pykkas_api():
        proxy = ref.proxy()
        assert proxy.add(2).get(timeout=BOUND_S) == 3
        assert proxy.number.get(timeout=BOUND_S) == 3
        proxy.number = 10
        with pytest.raises(ValueError, match="by proxy"):
            proxy.fail().get(timeout=BOUND_S)
        assert ref.ask("x", timeout=BOUND_S) == "x"
        with pytest.raises(KeyError):
            ref.ask(KeyError("told"), timeout=BOUND_S)
        assert pykka.get_all([proxy.add(1), proxy.add(1)], timeout=BOUND_S) == [11, 12]
        assert ref.ask("y", block=False).map(lambda y: y * 2).get(timeout=BOUND_S) == "yy"
        return ref.stop(timeout=BOUND_S), ref.stop(timeout=BOUND_S)

    assert isinstance(ref, pykka.ActorRef)
    assert isinstance(kind, type(pykka.Actor))
    assert await asyncio.to_thread(with_pykkas_api) == (True, False)
    assert diary == ["start", "stop"]


@both
async def test_an_envelope_that_expects_no_answer_is_a_cast(kind):
    class Remembers(kind):
        def on_receive(self, message):
            self.diary.append(message)
            return len(self.diary)

    diary = []
    ref = await Remembers.start_link(diary)
    ref.actor_inbox.put(Envelope("told"))
    assert await ref.call("asked") == 3
    assert diary == ["start", "told", "asked"]
    ref.exit(KILL)


@both
async def test_a_failing_tell_runs_on_failure_and_ends_the_actor(kind):
    diary = []
    ref = kind.start(diary)
    ref.tell(ZeroDivisionError("tell"))
    assert await asyncio.to_thread(ref.actor_stopped.wait, BOUND_S)
    assert diary == ["start", ZeroDivisionError]
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("anyone?")
    with pytest.raises(pykka.ActorDeadError):
        await asyncio.to_thread(ref.ask, "anyone?")


@both
async def test_replies_can_be_awaited_without_stalling_the_loop(kind):
    ref = kind.start([])
    reply = ref.ask("x", block=False)
    assert await reply == "x"
    assert await reply == "x"
    assert await ref.proxy().add(1) == 2
    assert await ref.ask("y", block=False).map(str.upper) == "Y"
    ref.exit(KILL)


@both
async def test_waiting_for_the_end_in_vain_leaves_nothing_behind(kind):
    ref = await kind.start_link([])
    assert not await asyncio.to_thread(ref.actor_stopped.wait, 0.001)
    assert not ref._watchers
    await ref.stop(block=False)
    assert await asyncio.to_thread(ref.actor_stopped.wait, BOUND_S)


async def test_a_foreign_actor_is_awaited_without_stalling_the_loop():
    ref = Foreign.start()
    hold = threading.Event()
    reply = ask_async(ref, hold)
    turns = 0
    for _ in range(10):
        await asyncio.sleep(0)
        turns += 1
    assert not reply.done()
    hold.set()
    assert await reply == "held"
    assert turns == 10
    await asyncio.to_thread(ref.stop)
    with pytest.raises(ActorExit):
        await ask_async(ref, "anyone?")


async def test_a_foreign_actor_may_ask_ours():
    ours = await OnLoop.start_link()
    ref = Foreign.start()
    assert await ask_async(ref, ours) == "from pykka"
    await asyncio.to_thread(ref.stop)
    ours.exit(KILL)


async def test_urns_are_unique_and_stable_and_the_registry_of_pykka_is_not_used():
    a, b = OnLoop.start(), OnLoop.start()
    assert a.actor_urn.startswith("urn:uuid:")
    assert a.actor_urn == a.actor_urn != b.actor_urn
    assert a not in pykka.ActorRegistry.get_all()
    for ref in (a, b):
        ref.exit(KILL)
