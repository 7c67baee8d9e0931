"""Cores for a measurement: what is measured has one of its own, whatever it is measured with shares the others.

A node that waits for a core is slow, and that says nothing about the node. On one core, or where the operating system
does not let a process choose, nothing is pinned, and `apart` says so.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def apart(*pids: int) -> bool:
    """Give each of these processes the first core, and this one, all children and what comes after it the others.

    Returns:
        Whether it was done. Processes that are started later inherit what their parent has: call it again for those
        that a pinned one started.
    """
    cores = sorted(_CORES)
    if len(cores) < 2:
        return False
    mine, others = {cores[0]}, set(cores[1:])
    try:
        _pin(os.getpid(), others)
        for pid in pids:
            _pin(pid, mine)
            for child in _descendants(pid):
                _pin(child, others)
    except OSError:
        return False
    return True


def aside(pid: int) -> bool:
    """Have a process and all that it started run among the others, and only when nobody else wants to."""
    done = len(_CORES) > 1
    for each in (pid, *_descendants(pid)):
        done = _idle(each) and done
        with contextlib.suppress(OSError):
            _pin(each, set(sorted(_CORES)[1:]) or _CORES)
    return done


def ahead(*pids: int) -> bool:
    """Have this process, others and all that they started run before whoever else wants to, if that may be.

    Real time, as the operating system calls it: other people's processes would else cost a tick of its clock, 4 ms,
    now and then. Who stood back stays there.
    """
    try:
        for each in {os.getpid(), *pids, *(child for pid in pids for child in _descendants(pid))}:
            for thread in _threads(each):
                if os.sched_getscheduler(thread) == os.SCHED_OTHER:
                    # What is started later is as ordinary as before.
                    os.sched_setscheduler(thread, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except (OSError, AttributeError):
        return False
    return True


def _idle(pid: int) -> bool:
    try:
        for thread in _threads(pid):
            os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    except (OSError, AttributeError):
        return False
    return True


def _cores() -> set[int]:
    try:
        return set(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return set()


def _threads(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
    return []


def _pin(pid: int, cores: set[int]) -> None:
    for thread in _threads(pid):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(thread, cores)


def _descendants(pid: int) -> list[int]:
    found = []
    for thread in _threads(pid):
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{thread}/children").read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


_CORES = _cores()
"""Those of the process as it began."""
