"""Calls that wait and go: many at once, in the moment in which one of them is woken."""

from __future__ import annotations

import asyncio

from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.routes import RouteTable
from henslowe.transport.gateway.waiting import Waiting


async def waiting_calls(waiting: Waiting, count: int) -> list[asyncio.Task[bool]]:
    calls = [asyncio.ensure_future(waiting.changed("hello", 5.0, 1)) for _ in range(count)]
    while len(waiting) < count:
        await asyncio.sleep(0)
    return calls


async def test_calls_that_leave_together_leave_nothing_behind_and_break_nothing() -> None:
    waiting = Waiting(RouteTable(), EndpointDirectory(), 10_000)
    calls = await waiting_calls(waiting, 1_000)
    for call in calls[:-1]:
        call.cancel()
    waiting.wake_one("hello")  # meets the ones that are leaving first
    ended = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended[:-1])
    assert ended[-1] is True, "the one that stayed was woken"
    assert len(waiting) == 0
    waiting.close()
