"""From the kernel's reading thread to the watcher's: a bounded hand-over that wakes once, however many events come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from henslowe.actors.watcher.inotify import Trouble

TROUBLES_MAX = 100
"""Reports kept between two looks; each kind and service counts once for people anyway."""


@dataclass(slots=True)
class HintBox:
    """What was reported since the last look.

    Runs in: any thread. `wake` is called once per look, and must not block.
    """

    wake: Callable[[], None]
    _hints: dict[str, float] = field(default_factory=dict)
    _troubles: list[tuple[str, Trouble, str]] = field(default_factory=list)
    _woken: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def hint(self, key: str, _path: str) -> None:
        """Something changed below the root of `key`."""
        with self._lock:
            self._hints[key] = time.monotonic()
            wake, self._woken = not self._woken, True
        if wake:
            self.wake()

    def trouble(self, key: str, what: Trouble, where: str) -> None:
        """Watching `key` does not work as it should."""
        with self._lock:
            if len(self._troubles) < TROUBLES_MAX:
                self._troubles.append((key, what, where))
            wake, self._woken = not self._woken, True
        if wake:
            self.wake()

    def take(self) -> tuple[dict[str, float], list[tuple[str, Trouble, str]]]:
        """Hints with the (monotonic) time of the last one per key, and troubles, since the last call."""
        with self._lock:
            hints, self._hints = self._hints, {}
            troubles, self._troubles = self._troubles, []
            self._woken = False
        return hints, troubles
