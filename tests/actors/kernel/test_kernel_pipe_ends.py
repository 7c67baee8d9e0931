"""A child's pipes are closed once: a second close would hit whoever has the number by then, the loop included."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from henslowe.actors.kernel import OsProcess
from henslowe.testing import ended_processes

DESCRIPTORS = Path("/proc/self/fd")
LOOPS = [pytest.param(uvloop.new_event_loop, id="uvloop"), pytest.param(asyncio.new_event_loop, id="asyncio")]
SLEEPER = (sys.executable, "-S", "-c", "import sys; sys.stdin.read()")


async def closing_pipes_closes_them_once() -> None:
    process = await OsProcess.spawn(SLEEPER)
    child = process._child
    assert all(pipe is None or pipe.closed for pipe in (child.stdin, child.stdout, child.stderr)), "one owner each"
    ends = [transport.get_extra_info("pipe") for transport in process._transports]
    numbers = [end.fileno() for end in ends]
    process.close_pipes()
    await _until_closed(numbers)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(32)]
    try:
        assert set(numbers) <= set(others), "the numbers are somebody else's now"
        for end in ends:
            end.close()
        for number in others:
            os.fstat(number)
    finally:
        for number in others:
            os.close(number)
        await process.stop(0.0)


async def a_cancelled_start_closes_them_once() -> None:
    async with ended_processes():
        starting = asyncio.ensure_future(OsProcess.spawn(SLEEPER))
        before = set(DESCRIPTORS.iterdir())
        await asyncio.sleep(0)  # it has started, and connects its pipes
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        del starting
        async with asyncio.timeout(5):
            while len(set(DESCRIPTORS.iterdir()) - before) > 1:  # the descriptor of the listing itself
                await asyncio.sleep(0.01)


async def _until_closed(numbers: list[int]) -> None:
    async with asyncio.timeout(5):
        while any((DESCRIPTORS / str(number)).exists() for number in numbers):
            await asyncio.sleep(0)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("scenario", [closing_pipes_closes_them_once, a_cancelled_start_closes_them_once])
def test_a_descriptor_is_closed_once(
    scenario: Callable[[], object], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(scenario())  # type: ignore[arg-type]
