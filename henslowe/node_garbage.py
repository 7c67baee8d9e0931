"""When the node looks for garbage in circles: while it has nothing else to do, or when there may be very much of it.

A full collection stops the loop for a time that grows with what lives: 0.4 s with ten thousand calls that wait. Python
would begin it in the middle of the load that made those objects. Here its own trigger is moved far away (a bound of
memory, no more), and a quiet moment is used instead. Young objects are collected less often than Python would, and
still in a millisecond or less.

A quiet moment may still have much that lives: thousands of calls that wait for a slow server use no processor. So full
collections are also far apart in proportion to what they cost, and whoever calls another server hardly meets one.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Final

LOOK_S: Final = 1.0
QUIET_SHARE: Final = 0.05
"""Of one core's time since the last look, below which nobody waits for the loop."""
GEN0_THRESHOLD: Final = 5_000
"""New objects from which on the young are collected: Python's own 700 are those of a dozen calls, which are then in the
middle of their lives, and looking at them again and again was a twentieth of what a call costs."""
GEN1_THRESHOLD: Final = 1
"""Collections of the young, beyond which those that lived through them are collected, too: what there is to look at is
bounded by it. With 5 it was 30,000 objects, and 3 to 5 ms in the middle of ten thousand calls that wait."""
GEN1_DUE: Final = 8
"""Collections of the middle generation since the last full one, from which on one is worth it: some 75,000 objects."""
OBJECT_S: Final = 0.2e-6
"""What a full collection takes per living object; measured 0.07 to 0.3 us, warm and cold."""
REST: Final = 1_000
"""So many times what the next collection takes lie between it and the one before."""
GEN2_THRESHOLD: Final = 700
"""The same, from which on Python collects even under load: some seven million objects more than are gone."""


def due(gen1_since: int, busy_share: float) -> bool:
    """Whether now is the time for a full collection."""
    return gen1_since >= GEN1_DUE and busy_share < QUIET_SHARE


def rest_s(living: int) -> float:
    """How long after the last full collection the next one may be, with so many objects to look at."""
    return REST * OBJECT_S * living


def put_off() -> None:
    """Move Python's own trigger of full collections away: a start makes much and drops little."""
    gc.set_threshold(GEN0_THRESHOLD, GEN1_THRESHOLD, GEN2_THRESHOLD)


def settle() -> None:
    """Collect once, and set aside for good what lives now: what a start made is used to the end."""
    gc.collect()
    gc.freeze()


async def collect_in_quiet() -> None:
    """Collect whenever it is due, until cancelled. Runs in: the node's loop."""
    collected_s = time.monotonic()
    next_s = 0.0
    while True:
        busy_s, began_s = time.process_time(), time.monotonic()
        await asyncio.sleep(LOOK_S)
        now_s = time.monotonic()
        share = (time.process_time() - busy_s) / (now_s - began_s)
        if now_s < next_s or not due(gc.get_count()[2], share):
            continue
        next_s = collected_s + rest_s(len(gc.get_objects(generation=2)))  # counting takes a while, too
        if now_s >= next_s:
            gc.collect()
            collected_s = now_s
