"""Time-outs of calls: one first-in-first-out queue per distinct time-out, one loop timer for all.

A timer handle per call would double the cost of a call; calls with equal time-outs expire in the order in which
they were made, so a queue needs no sorting.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Final

from ._exits import CallTimeout
from ._reply import CallFuture

COMPACT_AT: Final = 1024
"""Queue length from which answered calls behind a hanging one are thrown out."""


class Deadlines:
    """Fails futures that are not answered in time. Runs in: the loop."""

    __slots__ = ("_compact_at", "_handle", "_loop", "_queues", "_wake_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queues: dict[float, deque[tuple[float, CallFuture]]] = {}
        self._compact_at: dict[float, int] = {}
        self._wake_at = math.inf
        self._handle: asyncio.TimerHandle | None = None

    def add(self, future: CallFuture, timeout_s: float) -> None:
        """Fails `future` with `CallTimeout` after `timeout_s` unless it is done by then."""
        queue = self._queues.get(timeout_s)
        if queue is None:
            queue = self._queues[timeout_s] = deque()
        while queue and queue[0][1].done():
            queue.popleft()
        when = self._loop.time() + timeout_s
        queue.append((when, future))
        if len(queue) >= self._compact_at.get(timeout_s, COMPACT_AT):
            self._compact(timeout_s, queue)
        if when < self._wake_at:
            self._wake(when)

    def _compact(self, timeout_s: float, queue: deque[tuple[float, CallFuture]]) -> None:
        waiting = [entry for entry in queue if not entry[1].done()]
        queue.clear()
        queue.extend(waiting)
        self._compact_at[timeout_s] = max(COMPACT_AT, 2 * len(waiting))

    def _wake(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._wake_at = when
        self._handle = self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        now = self._loop.time()
        next_at = math.inf
        for timeout_s, queue in list(self._queues.items()):
            while queue and (queue[0][1].done() or queue[0][0] <= now):
                future = queue.popleft()[1]
                if not future.done():
                    future.set_exception(CallTimeout(f"expected a reply within {timeout_s} s, got none"))
            if queue:
                next_at = min(next_at, queue[0][0])
            else:
                del self._queues[timeout_s]
                self._compact_at.pop(timeout_s, None)
        self._handle, self._wake_at = None, math.inf
        if next_at < math.inf:
            self._wake(next_at)
