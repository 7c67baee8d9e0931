"""Counters of the kernel that no single actor owns: dead letters and zombies.

They are process-wide because a dead actor has nobody left to count for it. Read them with `statistics()`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

zombies: Final[set[Any]] = set()
"""Tasks and threads of killed actors that have not ended yet (they swallowed the cancellation, or block)."""


@dataclass(frozen=True, slots=True)
class KernelStatistics:
    """Process-wide figures.

    Attributes:
        dead_letters: Casts and infos dropped so far because the actor was dead, unknown, or its mailbox full.
        zombies: Killed tasks and threads that still run. Anything but 0 for long is a defect in a handler.
    """

    dead_letters: int
    zombies: int


class _Counter:
    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self.value += 1


_dead_letters: Final = _Counter()
count_dead_letter: Final = _dead_letters.add
"""Counts one dropped message. Runs in: any thread."""


def statistics() -> KernelStatistics:
    """The figures now. Runs in: any thread."""
    return KernelStatistics(dead_letters=_dead_letters.value, zombies=len(zombies))
