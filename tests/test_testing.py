"""What other tests rely on: the virtual clock, shuffled order, supervised actors, the probe and the leak check."""

import asyncio
import os
import threading
import time

import pytest

from henslowe.actors.kernel import Down, LoopActor, names
from henslowe.testing import (
    Probe,
    VirtualTimeLoop,
    assert_receive,
    no_leaks,
    refute_receive,
    run_virtually,
    supervised,
)


def test_sleeping_for_a_day_costs_no_time_and_turns_the_clock_exactly():
    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.sleep(86_400 * 3)
        return loop.time()

    began = time.monotonic()
    assert run_virtually(main()) == pytest.approx(86_400 * 3)
    assert time.monotonic() - began < 2


def test_timers_fire_in_the_order_of_their_times_also_past_cancelled_ones():
    fired = []

    async def main():
        loop = asyncio.get_running_loop()
        for delay_s in (50, 10, 30, 20, 40):
            handle = loop.call_later(delay_s, lambda d=delay_s: fired.append((d, round(loop.time(), 6))))
            if delay_s in (10, 30):
                handle.cancel()
        await asyncio.sleep(60)

    run_virtually(main())
    assert fired == [(20, 20.0), (40, 40.0), (50, 50.0)]


def test_a_thread_can_wake_the_loop():
    async def main():
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        threading.Thread(target=lambda: loop.call_soon_threadsafe(woken.set)).start()
        await woken.wait()
        return loop.time()

    assert run_virtually(main()) == 0.0


def test_the_clock_can_be_turned_by_hand():
    loop = VirtualTimeLoop()
    loop.advance(5)
    assert loop.time() == 5
    loop.close()


class Talker(LoopActor):
    def __init__(self, listener, diary=None):
        super().__init__()
        self.listener, self.diary = listener, diary

    def handle_cast(self, message):
        if message == "crash":
            raise RuntimeError("on purpose")
        self.listener.send(message)

    def terminate(self, reason):
        if self.diary is not None:
            self.diary.append((self.ref.name, reason))


def order_of_arrival(seed):
    async def main():
        probe = await Probe.open()
        talkers = [await Talker.start_link(probe.ref) for _ in range(5)]
        for number in range(3):
            for index, talker in enumerate(talkers):
                talker.cast((index, number))
        return [await assert_receive(probe, tuple) for _ in range(15)]

    return run_virtually(main(), seed=seed)


def test_a_seed_shuffles_the_actors_and_repeats_itself_but_keeps_the_order_between_two():
    orders = [order_of_arrival(seed) for seed in (1, 2, 3, 4, 1)]
    assert orders[0] == orders[4]
    assert len({tuple(order) for order in orders}) > 1
    for order in orders:
        for index in range(5):
            numbers = [number for who, number in order if who == index]
            assert numbers == sorted(numbers)


async def test_supervised_actors_are_restarted_during_the_test_and_stopped_in_reverse_after_it(caplog):
    diary = []
    async with supervised() as test:
        probe = await Probe.open()
        first = await test.start(Talker, probe.ref, diary, name="first")
        probe.monitor(first)
        second = await test.start(Talker, probe.ref, diary, name="second")
        first.cast("crash")
        await assert_receive(probe, Down)
        await names.via("first").up()
        names.via("first").cast("hello")
        assert await assert_receive(probe, "hello") == "hello"
        await test.stop(second)
        third = await test.start(Talker, probe.ref, diary, name="third")
        diary.clear()
    assert diary == [("third", "shutdown"), ("first", "shutdown")]
    assert not third.is_alive()
    probe.ref.exit("kill")


async def test_assert_receive_waits_takes_what_matches_and_says_what_came_instead():
    probe = await Probe.open()
    asyncio.get_running_loop().call_soon(probe.ref.cast, 1)
    assert await assert_receive(probe, int) == 1
    probe.ref.cast("other")
    with pytest.raises(AssertionError, match="got \\['other'\\]"):
        await assert_receive(probe, int, timeout_s=0.01)
    await refute_receive(probe, int, timeout_s=0.01)
    with pytest.raises(AssertionError, match="expected no message"):
        await refute_receive(probe, "other")
    call = probe.ref.call("question")
    await assert_receive(probe, "question")
    probe.senders.pop().set("answer")
    assert await call == "answer"
    probe.ref.exit("kill")


async def test_the_leak_check_passes_what_ends_in_time_and_names_what_does_not():
    async with no_leaks():
        asyncio.get_running_loop().create_task(asyncio.sleep(0))
    opened = []
    with pytest.raises(AssertionError, match=r"'names': {'leaked'}, 'actors': {Probe<"):
        async with no_leaks(settle_s=0.02):
            opened.append(await Probe.start_link(name="leaked"))
    opened[0].exit("kill")
    with pytest.raises(AssertionError, match="tasks"):
        async with no_leaks(settle_s=0.02):
            opened.append(asyncio.get_running_loop().create_task(asyncio.sleep(60)))
    opened[1].cancel()
    with pytest.raises(AssertionError, match="descriptors"):
        async with no_leaks(settle_s=0.02):
            opened.append(os.open(os.devnull, os.O_RDONLY))
    os.close(opened[2])
