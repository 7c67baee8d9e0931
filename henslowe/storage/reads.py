"""Which read transactions are open, since when, and who opened them: a forgotten one keeps the file growing.

LMDB cannot reuse a page that some reader may still see: 200 small commits beside a held reader made a file of 2 MB one
of 88 MB, for good. So every read is noted with its place in the source, and other processes' readers are taken from
LMDB's own table. Noting costs a fraction of a microsecond; places are spelled out only when somebody asks.

Not here: when that is looked at (`keeper`).
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Final

_OWN_PACKAGE: Final = f"{os.sep}henslowe{os.sep}storage{os.sep}"
_DEPTH_MAX: Final = 40
_NO_TXN: Final = "-"


@dataclass(frozen=True, slots=True)
class OpenRead:
    """A read transaction that is open now. `site` is `file:line function`, the first outside of storage if any is."""

    number: int
    thread: str
    site: str
    age_s: float


@dataclass(frozen=True, slots=True)
class ForeignRead:
    """Another process's reader that stands on one commit."""

    pid: int
    txn_id: int
    age_s: float


class Reads:
    """The open reads of this process on one environment. Any thread."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._numbers = itertools.count(1)
        self._open: dict[int, tuple[float, int, FrameType]] = {}
        self._foreign: dict[tuple[int, str, int], float] = {}
        """When each reader of another process was first seen on its commit."""

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, depth: int) -> int:
        """Notes a read of the caller `depth` frames up; its number is for `end`."""
        frame = sys._getframe(depth + 1)
        number = next(self._numbers)
        self._open[number] = (self._monotonic(), threading.get_ident(), frame)
        return number

    def end(self, number: int) -> None:
        """The read is over."""
        self._open.pop(number, None)

    def older_than(self, age_s: float) -> tuple[OpenRead, ...]:
        """The reads that are open for at least `age_s`, oldest first."""
        now_s = self._monotonic()
        old = [
            (number, now_s - began_s, thread, frame)
            for number, (began_s, thread, frame) in tuple(self._open.items())
            if now_s - began_s >= age_s
        ]
        threads = {thread.ident: thread.name for thread in threading.enumerate()}
        return tuple(
            OpenRead(number, threads.get(thread, str(thread)), _site(frame), age) for number, age, thread, frame in old
        )

    def foreign(self, table: str) -> tuple[ForeignRead, ...]:
        """Other processes' readers out of LMDB's `table`, with the time since each was first seen where it is."""
        now_s = self._monotonic()
        seen: dict[tuple[int, str, int], float] = {}
        for line in table.splitlines():
            words = line.split()
            if len(words) != 3 or not words[0].isdigit() or words[2] == _NO_TXN or int(words[0]) == os.getpid():
                continue
            place = (int(words[0]), words[1], int(words[2]))
            seen[place] = self._foreign.get(place, now_s)
        self._foreign = seen
        return tuple(ForeignRead(pid, txn_id, now_s - first_s) for (pid, _, txn_id), first_s in seen.items())


def _site(frame: FrameType) -> str:
    """Where a read was opened: the first frame outside of storage, else the innermost."""
    outside: FrameType | None = frame
    for _ in range(_DEPTH_MAX):
        if outside is None or _OWN_PACKAGE not in outside.f_code.co_filename:
            break
        outside = outside.f_back
    shown = outside or frame
    code = shown.f_code
    folder, _, file = code.co_filename.rpartition(os.sep)
    return f"{os.path.basename(folder)}/{file}:{shown.f_lineno} {code.co_qualname}"
