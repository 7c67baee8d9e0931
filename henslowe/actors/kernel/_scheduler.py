"""The run queue that all loop actors of one event loop share.

One callback of the loop serves many actors: rounds over the ready ones until a time slice is used up, so that
sockets and timers get their turn. Other threads hand work over through `inbound`. What an actor does with its
turn is `LoopRef._drain`; deadlines of calls are in `_deadlines`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, ClassVar, Final

from ._deadlines import Deadlines

SLICE_S: Final = 0.001
"""Longest turn of the loop spent on actors: 1 ms gave 3.4 times the ping-pong rate of one round per turn."""
BATCH: Final = 64
"""Messages per turn of one actor; more lets one actor starve the others."""
INLINE_CALLS: Final = 32
"""Calls to idle actors that run in place before the clock is looked at: after a slice without a turn of the loop,
more would starve sockets."""

_running_loop = asyncio._get_running_loop


class Scheduler:
    """Runs the ready actors of one loop. `put` from the loop's thread takes no lock.

    Make one with `install()`, inside the running loop, before the first actor.
    """

    by_thread: ClassVar[dict[int, Scheduler]] = {}
    default: ClassVar[Scheduler | None] = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.ident = get_ident()
        self.ready: deque[Any] = deque()
        self.inbound: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.armed = False
        self.current: Any = None
        self.batch = BATCH
        self.inline = INLINE_CALLS
        self.inline_until = 0.0
        self.deadlines = Deadlines(loop)
        Scheduler.by_thread[self.ident] = self
        Scheduler.default = self

    @classmethod
    def install(cls) -> Scheduler:
        """The scheduler of the running loop, made if there is none. Runs in: the loop."""
        loop = asyncio.get_running_loop()
        scheduler = cls.by_thread.get(get_ident())
        return scheduler if scheduler is not None and scheduler.loop is loop else cls(loop)

    @classmethod
    def here(cls) -> Scheduler:
        """The scheduler of this thread's loop, else the one installed last. Runs in: any thread.

        Raises:
            RuntimeError: There is no loop here and none was installed.
        """
        loop = _running_loop()
        if loop is not None:
            scheduler = cls.by_thread.get(get_ident())
            return scheduler if scheduler is not None and scheduler.loop is loop else cls(loop)
        if cls.default is None:
            raise RuntimeError("cannot start a loop actor: no scheduler; call Scheduler.install() in the loop first")
        return cls.default

    def arm(self) -> None:
        """Makes sure that `run` will be called. Runs in: the loop."""
        if not self.armed:
            self.armed = True
            self.loop.call_soon(self.run)

    def grant_inline(self) -> bool:
        """Whether more calls may run in place, now that `inline` is used up: not after the slice. Runs in: the loop."""
        if time.perf_counter() > self.inline_until:
            return False
        self.inline = INLINE_CALLS
        return True

    def post(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls `function(*args)` in the loop's thread, soon. Runs in: any thread.

        Raises:
            RuntimeError: The loop is closed.
        """
        self.inbound.append((function, args))
        if not self.armed:
            self.armed = True
            self.loop.call_soon_threadsafe(self.run)

    def run(self) -> None:
        """Serves ready actors for one slice. Runs in: the loop."""
        ready, inbound, clock = self.ready, self.inbound, time.perf_counter
        slice_end = self.inline_until = clock() + SLICE_S
        self.inline = INLINE_CALLS
        try:
            while ready or inbound:
                while inbound:
                    function, args = inbound.popleft()
                    function(*args)
                for _ in range(len(ready)):
                    ref = self.current = ready.popleft()
                    ref._drain()
                self.current = None
                if clock() > slice_end:
                    break
        finally:  # also when KeyboardInterrupt passes through
            self.current = None
            self.armed = False
            # Looked at after clearing `armed`: a thread that saw it set has posted already.
            if ready or inbound:
                self.arm()
