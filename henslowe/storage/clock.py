"""A hybrid logical clock: one u64 that follows the wall clock and never goes backwards.

The upper 48 bits are milliseconds since 1970, the lower 16 a counter for events within one millisecond, or while the
wall clock stands still or is set back. Merging another node's reading orders cause before effect across nodes.

Source: Kulkarni et al., "Logical Physical Clocks" (2014). Touched by the loop alone: it has no lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_COUNTER_BITS = 16


class HybridClock:
    """Readings that only grow, whatever the wall clock does."""

    def __init__(self, latest: int = 0, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._latest = latest
        self._now_ns = now_ns

    def tick(self) -> tuple[int, int]:
        """The wall clock in nanoseconds, and a reading greater than all before."""
        now_ns = self._now_ns()
        self._latest = max(self._latest + 1, (now_ns // 1_000_000) << _COUNTER_BITS)
        return now_ns, self._latest

    def observe(self, reading: int) -> None:
        """Makes all later readings greater than `reading`, which came from another node."""
        self._latest = max(self._latest, reading)
