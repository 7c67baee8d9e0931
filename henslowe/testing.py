"""What tests of Henslowe, and of actors written for it, need: a clock that does not wait.

`VirtualTimeLoop` runs timers in order without sleeping: minutes of time-outs, backoffs and intensity windows pass in
milliseconds, and always in the same order. Not for code that talks to processes, threads or sockets: virtual time
does not wait for the real world. With pytest-asyncio, use `run_virtually` inside a plain test function.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from henslowe.actors.kernel import Scheduler

__all__ = ["VirtualTimeLoop", "run_virtually"]

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Turns the clock instead of waiting. Without a timer to wait for it waits really, for threads that will call."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
            return ready
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer whenever nothing is ready.

    `loop.time()` starts at 0 and is the only clock that is turned; `time.monotonic()` is not.
    """

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def advance(self, seconds: float) -> None:
        """Turns the clock by hand, for code that reads it without awaiting."""
        self._virtual.now += seconds


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on a new `VirtualTimeLoop` with a scheduler for actors, and gives its result.

    Tasks that are left over are cancelled, and the loop is closed. Runs in: a thread without a running loop.
    """

    async def with_scheduler() -> T:
        Scheduler.install()
        return await main

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(with_scheduler())
