"""Work that nobody waits for, a little in each turn of the loop, so that whoever is served is not held up by it.

Clients that hang up or talk rubbish come in crowds: a process of thousands of connections ends, and all of them are
there to be closed at once. See `connections` for what is done this way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

AT_ONCE: Final = 4
"""Connections that are closed in one turn of the loop: some 50 us each, with all that belonged to them."""


class Paced:
    """Calls functions in the order in which they came, at most `at_once` in a turn. Runs in: the node's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, at_once: int = AT_ONCE) -> None:
        self._loop = loop
        self._at_once = at_once
        self._waiting: deque[Callable[[], None]] = deque()
        self._going = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: Callable[[], None]) -> None:
        """Have something done soon."""
        self._waiting.append(work)
        if not self._going:
            self._going = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        try:
            for _ in range(min(self._at_once, len(self._waiting))):
                work = self._waiting.popleft()
                work()
        finally:
            self._going = bool(self._waiting)
            if self._going:
                self._loop.call_soon(self._turn)
