"""How many calls may be made again: a share of the calls of late, so that repeats never become most of the load.

A server that loses every call would otherwise get each of them several times, when it can do with it least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from henslowe.actors.health.breaker import Window

WINDOW_S: Final = 10.0
LEAST: Final = 50
"""Repeats that are always allowed: what a crash interrupts at once with little traffic around it."""
SERVICES_MAX: Final = 10_000


@dataclass(slots=True)
class RepeatBudget:
    """One per gateway. Runs in: the node's loop.

    Args:
        percent: Repeats per hundred calls of the window.
        now_s: Monotonic seconds.
        least: Repeats in the window that are always allowed.
    """

    percent: float
    now_s: Callable[[], float]
    least: int = LEAST
    _windows: dict[str, Window] = field(default_factory=dict)

    def called(self, service: str) -> None:
        """A call came in."""
        window = self._windows.get(service) or self._of(service)
        window.add(False, self.now_s())

    def take(self, service: str) -> bool:
        """Whether one more repeat of the service's calls is within the budget; then it is counted."""
        window, now_s = self._of(service), self.now_s()
        calls, repeats = window.seen(now_s)
        if repeats >= max(self.least, self.percent / 100 * (calls - repeats)):
            return False
        window.add(True, now_s)
        return True

    def _of(self, service: str) -> Window:
        window = self._windows.get(service)
        if window is None:
            if len(self._windows) >= SERVICES_MAX:
                self._windows.clear()
            window = self._windows[service] = Window(WINDOW_S / 2)
        return window
