"""`Watchdog`: notices that the loop stands still, and says in which actor.

One callback that never returns stops every loop actor of the node; nobody on the loop can notice that, so a thread
does: it asks the loop for a sign of life and, when none comes in time, takes the loop thread's stack. Interrupting is
opt-in: it raises `Stalled` inside the running callback, which ends that actor only, but Python may deliver it a few
instructions later, outside of the callback; there it ends one turn of the loop and is logged.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from ._scheduler import Scheduler

log = logging.getLogger("henslowe.kernel")


class Stalled(Exception):
    """Raised by the watchdog inside a callback that held the loop for too long."""


@dataclass(frozen=True, slots=True)
class Stall:
    """One stand-still of the loop.

    Attributes:
        actor: The actor whose plain callback is running; None when other code holds the loop.
        stack: Where the loop's thread is.
        limit_s: For how long it gave no sign, at least.
    """

    actor: str | None
    stack: str
    limit_s: float


class Watchdog:
    """Watches one scheduler until stopped. One report per stand-still.

    Args:
        scheduler: The loop's.
        limit_s: Seconds without a sign of life that count as a stand-still.
        interrupt: Raise `Stalled` in the callback that is running.
        on_stall: Called with each report in the watchdog's thread, after logging it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        limit_s: float = 1.0,
        interrupt: bool = False,
        on_stall: Callable[[Stall], None] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._limit_s = limit_s
        self._interrupt = interrupt
        self._on_stall = on_stall
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self.stalls = 0

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Ends it within `limit_s`."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(self._limit_s / 2):
            sign = threading.Event()
            try:
                self._scheduler.loop.call_soon_threadsafe(sign.set)
            except RuntimeError:  # the loop is closed
                return
            if not sign.wait(self._limit_s) and not self._stopping.is_set():
                self._report()
                while not sign.wait(self._limit_s):
                    if self._stopping.is_set() or self._scheduler.loop.is_closed():
                        return

    def _report(self) -> None:
        ident = self._scheduler.ident
        frame = sys._current_frames().get(ident)
        ref = self._scheduler.current
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        stall = Stall(str(ref) if ref is not None else None, stack, self._limit_s)
        self.stalls += 1
        log.error("loop_stalled actor=%s limit_s=%s\n%s", stall.actor, self._limit_s, stack)
        if self._interrupt and ref is not None and self._scheduler.current is ref:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Stalled))
        if self._on_stall is not None:
            self._on_stall(stall)
