"""Watches what a stage uses while it runs: processes, and space on the disk. Beyond a limit it is killed, and says why.

Limits of the kernel are per process or per user; what a person means is "this stage". So the tree of the stage and the
folder of its run are looked at now and then. Between two looks a stage may exceed a limit, by as much as it can start
or write in half a second.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.actors.kernel import OsProcess

LOOK_S: Final = 0.5
ENTRIES_MAX: Final = 200_000
"""Files of a run that are measured; a run with more is over its limit."""


@dataclass(slots=True, frozen=True)
class Limits:
    """Of one run's stage."""

    processes_max: int
    bytes_max: int
    """Of the run's folder."""
    free_bytes_min: int
    """Of the disk: a stage that fills it ends before everybody else does."""


async def watch(process: OsProcess, folder: Path, limits: Limits) -> str:
    """Returns why a process was killed, once it was; "" when it ended by itself."""
    while process.is_running():
        broken = await asyncio.to_thread(exceeded, process, folder, limits)
        if broken and process.is_running():
            process.kill_tree()
            return broken
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LOOK_S)
    return ""


def exceeded(process: OsProcess, folder: Path, limits: Limits) -> str:
    """Which limit is exceeded, in words; "" when none is. Blocking: a look at each file of the run."""
    running = process.count_tree()
    if running > limits.processes_max:
        return f"expected at most {limits.processes_max} processes, got {running}"
    free = shutil.disk_usage(folder).free
    if free < limits.free_bytes_min:
        return f"expected at least {_mib(limits.free_bytes_min)} MiB free on the disk, got {_mib(free)}"
    used = _bytes_in(folder, limits.bytes_max)
    if used > limits.bytes_max:
        return f"expected the run's folder to stay within {_mib(limits.bytes_max)} MiB, got more"
    return ""


def _bytes_in(folder: Path, enough: int) -> int:
    """Bytes on the disk below a folder; stops once it is more than `enough`."""
    used = 0
    for count, entry in enumerate(_entries(str(folder))):
        with suppress(OSError):
            used += entry.stat(follow_symlinks=False).st_blocks * 512
        if used > enough or count > ENTRIES_MAX:
            return enough + 1
    return used


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    pending = [folder]
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)


def _mib(count: int) -> int:
    return count >> 20
