"""Ends waits whose time is over: one timer for all waits of a connection.

`asyncio.timeout` costs each call more than sending it does. Here a wait is a future with a time beside it; most are
over long before it, so the timer is set for the earliest and looks around when it rings. What is given up beside the
wait itself is the waiter's business.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

NEVER_S: Final = float("inf")
"""As a time: no limit."""
EARLY_S: Final = 0.001
"""A loop's timers may ring so much too early."""


class Timed(Protocol):
    """A future, or what takes a failure as one does."""

    def done(self) -> bool:
        """Whether it is over."""
        ...

    def set_exception(self, failure: Exception, /) -> None:
        """Fail it."""
        ...


class Deadlines:
    """Fails futures with `TimeoutError`. Runs in: one loop.

    Args:
        loop: Whose clock and timer are used.
    """

    __slots__ = ("_loop", "_rings_s", "_timer", "_until_s")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._until_s: dict[Timed, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = 0.0

    def __len__(self) -> int:
        return len(self._until_s)

    async def wait(self, future: asyncio.Future[Any], timeout_s: float) -> Any:
        """The future's result.

        Raises:
            TimeoutError: There was none within `timeout_s`.
        """
        until_s = self._loop.time() + timeout_s
        if until_s == NEVER_S:
            return await future
        self.add(future, until_s)
        try:
            return await future
        finally:
            self.remove(future)

    def add(self, timed: Timed, until_s: float) -> None:
        """Fail it with `TimeoutError` at this loop time, unless it is done or removed before."""
        self._until_s[timed] = until_s
        if self._timer is None or until_s < self._rings_s:
            self._set(until_s)

    def remove(self, timed: Timed) -> None:
        """Leave it alone. Idempotent."""
        self._until_s.pop(timed, None)

    def close(self) -> None:
        """Ring no more: whoever still waits does so without a limit. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self, until_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_s = until_s
        self._timer = self._loop.call_at(until_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now_s = self._loop.time() + EARLY_S
        over = [timed for timed, until_s in self._until_s.items() if until_s <= now_s]
        for timed in sorted(over, key=self._until_s.__getitem__):
            # Who is told may begin and end others' waits at once.
            if timed in self._until_s and not timed.done():
                timed.set_exception(TimeoutError())
        left = [until_s for until_s in self._until_s.values() if until_s > now_s]
        if left:
            self._set(min(left))
