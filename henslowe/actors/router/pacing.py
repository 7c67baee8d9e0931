"""When what the router knows is written, and how much of it in one turn of the loop.

Not here: what is written and how (`keeping`).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Mapping
from typing import Final

from henslowe.actors.ids import ServiceName
from henslowe.actors.router.keeping import Keeping
from henslowe.actors.router.watched import Watched

SAVE_S: Final = 5.0
"""How often at most evidence is written: with the time to pack it, what a crash of the node may cost."""
PACKED_MAX: Final = 512
"""Units of evidence that are packed in one turn, give or take a piece: half a millisecond, or one where the loop is
busy. A trial has at most 19,000, counting what is as long to pack, and ten turns a second."""
ROW: Final = 64
"""Units that could be packed in the time that it takes to begin the write of a row, however small."""
SAVE_TRAFFIC_S: Final = 30.0
"""How often at most a service's traffic is written, but for one fact, which is written at once: that it came to have
enough units for a canary, or not to have them."""
TRAFFIC_SAVES_MAX: Final = 4
"""Services whose traffic is written before others are looked for: who needs it most may be another by then."""


class Pacing:
    """Goes on with what is to be written, a little each turn. Runs in: the loop.

    Args:
        kept: Writes it.
        watched: All services.
        busy_units: From how many units on a service is busy enough for a canary.
    """

    def __init__(self, kept: Keeping, watched: Mapping[ServiceName, Watched], *, busy_units: int) -> None:
        self._kept = kept
        self._watched = watched
        self._busy_units = busy_units
        self._begun_s = 0.0
        self._saves: deque[Generator[int, None, None]] = deque()
        """What is being written, one after another."""

    @property
    def under_way(self) -> bool:
        """Whether something is being written, so that the next turn should be soon."""
        return bool(self._saves)

    def turn(self, now_s: float) -> None:
        """One turn's worth: everything that was begun before anything is begun anew."""
        if not self._saves:
            if due(now_s, self._begun_s, SAVE_S):
                self._begin(now_s)
            late = (
                (watched.traffic_saved_s, service)
                for service, watched in self._watched.items()
                if watched.traffic_unsaved
                and (self._busy(watched) != watched.saved_busy or due(now_s, watched.traffic_saved_s, SAVE_TRAFFIC_S))
            )
            for _, service in heapq.nsmallest(TRAFFIC_SAVES_MAX, late):
                self._begin_traffic(service, now_s)
        self._pack(PACKED_MAX)

    def finish(self, now_s: float) -> None:
        """Everything, however long it takes."""
        self._pack(None)
        self._begin(now_s)
        for service, watched in self._watched.items():
            if watched.traffic_unsaved:
                self._begin_traffic(service, now_s)
        self._pack(None)

    def _begin(self, now_s: float) -> None:
        self._begun_s = now_s
        for watched in self._watched.values():
            if watched.evidence is not None and watched.unsaved:
                watched.unsaved = False
                watched.saving = self._kept.save_evidence(watched.evidence, watched.copies, now_s)
                self._saves.append(watched.saving)

    def _begin_traffic(self, service: ServiceName, now_s: float) -> None:
        watched = self._watched[service]
        watched.traffic_unsaved, watched.traffic_saved_s, watched.saved_busy = False, now_s, self._busy(watched)
        self._saves.append(self._kept.save_traffic(service, watched.counter, watched.windows, now_s))

    def _pack(self, entries_max: int | None) -> None:
        entries = 0
        while self._saves and (entries_max is None or entries < entries_max):
            packed = next(self._saves[0], None)
            if packed is None:
                self._saves.popleft()
            entries += ROW if packed is None else packed

    def _busy(self, watched: Watched) -> bool:
        return watched.counter.units >= self._busy_units


def due(now_s: float, last_s: float, every_s: float) -> bool:
    """Whether it is time again; also when the clock was set back, or nothing would happen until it has caught up."""
    return not 0 <= now_s - last_s < every_s
