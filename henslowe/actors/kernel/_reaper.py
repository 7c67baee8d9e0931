"""Killing and reaping what our processes leave behind.

The node is a "child subreaper": when a process of ours dies, its children become ours, even if they left its session.
So nothing escapes a sweep by ending its parent, and nobody but us can take their exit status. Direct children belong
to whoever started them (`OsProcess`, or anybody's `subprocess`): only adopted orphans are reaped here, never
`waitpid(-1)`.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from ._procfs import (
    ProcessStat,
    all_processes,
    carries,
    children_of,
    descendants_of,
    read_environ,
    read_stat,
    read_tag,
)

log = logging.getLogger("henslowe.kernel")

NODE_VARIABLE: Final = "HENSLOWE_NODE"
"""`<node id>:<incarnation>` of the node that started a process; for the sweep at boot."""
PROCESS_VARIABLE: Final = "HENSLOWE_PROC"
"""Unique id of the `OsProcess` that a process descends from; for the sweep when that one ends."""
SWEEP_ROUNDS_MAX: Final = 10
"""A tree that forks faster than ten sweeps is left to the next one."""
STRANGER_GRACE_S: Final = 10.0
"""An unknown zombie in a foreign session is reaped after this time: its own starter would have done it by then."""

_PR_SET_CHILD_SUBREAPER: Final = 36


def become_subreaper() -> None:
    """Makes this process adopt the orphans among its descendants. Idempotent."""
    if not _Orphans.adopting:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            log.warning("subreaper_refused errno=%d", ctypes.get_errno())
        _Orphans.adopting = True


class _Orphans:
    """What this process knows about its children."""

    adopting = False
    ours: Final[dict[int, int]] = {}  # adopted: pid -> start time
    started: Final[set[int]] = set()  # direct children with an OsProcess that reaps them
    sessions: Final[set[int]] = set()  # of those, also after they ended
    strangers: Final[dict[int, float]] = {}  # unknown zombies: pid -> first seen


def adopt_started(pid: int) -> None:
    """Says that `pid` is a direct child that its `OsProcess` will reap."""
    _Orphans.started.add(pid)
    _Orphans.sessions.add(pid)


def forget_started(pid: int) -> None:
    """Says that `pid` has been reaped."""
    _Orphans.started.discard(pid)


def kill_exactly(process: ProcessStat, number: int = signal.SIGKILL) -> bool:
    """Signals the process unless its number means another one by now."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = read_stat(process.pid)
        if now is None or now.start_time != process.start_time:
            return False
        signal.pidfd_send_signal(fd, number)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def tree_of(
    pid: int | None, process_id: str, seen: Mapping[int, int], since: int = 0, tag: int = 0
) -> list[ProcessStat]:
    """Living processes of one `OsProcess`.

    Args:
        pid: Its number; None once it is reaped.
        process_id: The mark that its descendants carry.
        seen: Descendants noticed earlier, with their start times.
        since: Its start time. Whoever is older is no descendant, and need not be looked at closely.
        tag: What `_launcher` marked it with; looked for among the orphans that this process adopted.
    """
    node = os.getpid()
    processes = [process for process in all_processes() if process.start_time >= since]
    roots = {
        process.pid
        for process in processes
        if process.pid == pid
        or seen.get(process.pid) == process.start_time
        or carries(process.pid, PROCESS_VARIABLE, process_id)
        or (tag and process.ppid == node and process.pid not in _Orphans.started and read_tag(process.pid) == tag)
    }
    below_roots = {process.pid for process in descendants_of(roots, processes)}
    return [p for p in processes if p.pid in roots | below_roots and p.state != "Z" and p.pid != node]


def below(pid: int) -> dict[int, int]:
    """The present descendants of a process and their start times. Reads only their own files."""
    found: dict[int, int] = {}
    pending = children_of(pid)
    while pending:
        stat = read_stat(pending.pop())
        if stat is not None and stat.pid not in found:
            found[stat.pid] = stat.start_time
            pending.extend(children_of(stat.pid))
    return found


def lives(pid: int, start_time: int) -> bool:
    """Whether this very process still exists, as a zombie perhaps."""
    stat = read_stat(pid)
    return stat is not None and stat.start_time == start_time


def kill_repeatedly(find: Callable[[], list[ProcessStat]]) -> list[int]:
    """Kills what `find` finds until it finds nothing new, since a tree may fork while it is swept."""
    killed: dict[int, int] = {}
    fresh = find()
    for _ in range(SWEEP_ROUNDS_MAX):
        for process in fresh:
            if kill_exactly(process):
                killed[process.pid] = process.start_time
                if process.pid not in _Orphans.started:
                    _Orphans.ours[process.pid] = process.start_time
        if not fresh:
            break
        fresh = [p for p in find() if killed.get(p.pid) != p.start_time]
    return list(killed)


def reap_orphans(now: float | None = None) -> int:
    """Takes the exit status of adopted orphans that have ended. Returns how many of them still run."""
    seen_at = time.monotonic() if now is None else now
    running = 0
    children = children_of(os.getpid())
    for pid in children:
        if pid in _Orphans.started:
            continue
        stat = read_stat(pid)
        if stat is None:
            continue
        if _is_ours(stat, seen_at):
            if stat.state == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                _Orphans.ours.pop(pid, None)
                _Orphans.strangers.pop(pid, None)
            else:
                running += 1
    for gone in set(_Orphans.strangers) - set(children):
        del _Orphans.strangers[gone]
    for gone in [pid for pid, start in _Orphans.ours.items() if not lives(pid, start)]:
        del _Orphans.ours[gone]
    _Orphans.sessions.intersection_update(_Orphans.started | _sessions_in_use(children))
    return running + len(_Orphans.strangers)


def _is_ours(stat: ProcessStat, seen_at: float) -> bool:
    if _Orphans.ours.get(stat.pid) == stat.start_time or stat.session in _Orphans.sessions:
        return True
    if stat.state != "Z":
        if PROCESS_VARIABLE in read_environ(stat.pid):
            _Orphans.ours[stat.pid] = stat.start_time
            return True
        return False
    if stat.session == os.getsid(0):
        return False  # somebody's plain subprocess
    return seen_at - _Orphans.strangers.setdefault(stat.pid, seen_at) >= STRANGER_GRACE_S


def _sessions_in_use(children: list[int]) -> set[int]:
    return {stat.session for stat in map(read_stat, children) if stat is not None}


def sweep_orphans(node_id: str, keep_incarnation: str | int) -> list[int]:
    """Kills what earlier incarnations of a node left running; returns the numbers of the killed processes.

    For boot, before anything is started: takes every process of this user whose environment carries
    `HENSLOWE_NODE=<node_id>:<incarnation>` with an incarnation other than `keep_incarnation`.
    """
    keep = f"{node_id}:{keep_incarnation}"
    prefix = f"{node_id}:"

    def left_behind() -> list[ProcessStat]:
        marked = (
            (process, read_environ(process.pid).get(NODE_VARIABLE, ""))
            for process in all_processes()
            if process.pid != os.getpid() and process.state != "Z"
        )
        return [process for process, mark in marked if mark.startswith(prefix) and mark != keep]

    return kill_repeatedly(left_behind)
