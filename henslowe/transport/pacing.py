"""Work that others need not wait for, a little in each turn of the loop, so that whoever is served is not held up.

Clients come in crowds, and hang up or talk rubbish in crowds: a process of thousands of connections ends, and all of
them are there to be closed at once. See `connections` for what is done this way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

CLOSED_AT_ONCE: Final = 4
"""Connections that are closed in one turn of the loop: some 50 us each, with all that belonged to them."""
NEW_AT_ONCE: Final = 1
"""First requests of connections: 0.2 to 0.5 ms each, most of it in a task of the turn after."""


class Paced:
    """Calls functions in the order in which they came, at most `at_once` in a turn. Runs in: the node's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, at_once: int) -> None:
        self._loop = loop
        self._at_once = at_once
        self._waiting: deque[Callable[[], None]] = deque()
        self._done = 0
        """In this turn already, at once."""
        self._going = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Callable[[], None]) -> None:
        """Have something done soon."""
        self._waiting.append(work)
        self._go_on()

    def may_now(self) -> bool:
        """Whether something may be done at once instead of being added; then it counts."""
        if self._waiting or self._done >= self._at_once:
            return False
        self._done += 1
        self._go_on()
        return True

    def _go_on(self) -> None:
        if not self._going:
            self._going = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._going = False
        self._done = 0
        try:
            for _ in range(min(self._at_once, len(self._waiting))):
                work = self._waiting.popleft()
                work()
        finally:
            if self._waiting:
                self._go_on()
