"""Which sessions have to go: pure functions of when each was last used.

Nothing here knows of rows or clocks; times are Unix seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping

CROWDED_IDLE_S = 60.0
"""At the limit, a session that was used within this time is never closed for another: its client is still there."""


def expired(last_seen_s: Mapping[str, float], *, now_s: float, idle_s: float) -> list[str]:
    """Sessions that were not used for `idle_s`, oldest first."""
    return sorted(
        (name for name, seen_s in last_seen_s.items() if now_s - seen_s >= idle_s), key=last_seen_s.__getitem__
    )


def crowded_out(last_seen_s: Mapping[str, float], *, now_s: float, sessions_max: int) -> list[str] | None:
    """Which sessions to close so that one more fits: the ones idle longest; None when all are in use.

    More than one only after the limit was lowered.
    """
    excess = len(last_seen_s) + 1 - sessions_max
    if excess <= 0:
        return []
    oldest = heapq.nsmallest(excess, last_seen_s, key=last_seen_s.__getitem__)
    if now_s - last_seen_s[oldest[-1]] < CROWDED_IDLE_S:
        return None
    return oldest
