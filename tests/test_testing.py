"""The virtual clock that other tests rely on."""

import asyncio
import threading
import time

import pytest

from henslowe.testing import VirtualTimeLoop, run_virtually


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
