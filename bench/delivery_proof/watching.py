"""Watches many files as a node does, and measures how late it hears, what it costs, and how it heals.

The watcher runs in a process of its own, with its usual settings, over five services: one tree of more than 5,000
folders (where a plain recursive watch never comes to rest) and four smaller ones.

- *events*: single saves at random moments, also while a scan is under way; the kernel's hint has to be there in time;
- *told*: from a save to the message for the pipeline, with the quiet time after the last event in it;
- *idle*: the processor time while nothing happens, full scans included;
- *overflow*: the process is stopped while more events come than the kernel's queue holds; once it goes on, all that
  was missed has to be told, and the watcher be well again; then it has to come to rest;
- *limit*: in a user namespace whose limit of watches is lower than what there is to watch. A save where no watch is has
  to be told nevertheless, by polling, which it says; and the watches have to be complete again once there is room.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from bench.delivery_proof.outcome import percentile
from henslowe.actors.sources import Tree, scan

EVENT_MS_MAX: Final = 20.0
HEALED_S_MAX: Final = 2.0
IDLE_PERCENT_MAX: Final = 1.0
WAIT_S: Final = 30.0
ENDED: Final = "ended"
REST_S: Final = 3.0
"""From the end of an overflow to the look at whether the watcher rests."""
REST_PERCENT_MAX: Final = 10.0
"""A livelock takes a whole processor."""


@dataclass(slots=True, frozen=True)
class Size:
    """How much is watched, and how long."""

    large: int
    """Folders of the one large service."""
    small: int
    """Folders of each of the four small ones."""
    large_files: int
    """Files per folder of the large one."""
    small_files: int
    saves: int
    told: int
    idle_s: float
    watches: int
    """The limit in the user namespace."""


FULL: Final = Size(6_000, 1_000, 8, 13, saves=1_000, told=40, idle_s=40.0, watches=7_000)
QUICK: Final = Size(600, 100, 8, 13, saves=200, told=10, idle_s=5.0, watches=700)
LARGE, SMALL = "large", ("one", "two", "three", "four")


def grow(workspace: Path, size: Size) -> tuple[int, int]:
    """Makes the services; how many folders and files there are."""
    for service in (LARGE, *SMALL):
        folders, files = (size.large, size.large_files) if service == LARGE else (size.small, size.small_files)
        for number in range(folders):
            folder = workspace / "dev" / service / f"g{number // 100}" / f"p{number}"
            folder.mkdir(parents=True)
            for name in range(files):
                (folder / f"m{name}.py").write_text(f"x = {number}\n")
    found = list(os.walk(workspace / "dev"))
    return len(found), sum(len(files) for _, _, files in found)


@dataclass(slots=True)
class Watched:
    """The watcher's process, and what it said."""

    workspace: Path
    watches: int = 0
    """Limit of a user namespace of its own; 0 for none."""
    process: subprocess.Popen[str] = field(init=False)
    said: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    def __enter__(self) -> Self:
        argv = [sys.executable, "-m", "bench.delivery_proof.watched_node", str(self.workspace)]
        if self.watches:
            argv = ["unshare", "--user", "--map-root-user", *argv, str(self.watches)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGCONT)
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.put(json.loads(line))
        self.said.put({"what": ENDED})

    def until(self, holds: Callable[[dict[str, Any]], bool], wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next thing said for which `holds`; {} when there is none in time, or the process has ended."""
        ends_s = time.monotonic() + wait_s
        while (left_s := ends_s - time.monotonic()) > 0:
            with suppress(queue.Empty):
                said = self.said.get(timeout=left_s)
                if said["what"] == ENDED:
                    self.said.put(said)
                    break
                if holds(said):
                    return said
        return {}

    def forget(self) -> None:
        """What was said until now is of no interest."""
        with suppress(queue.Empty):
            while True:
                self.said.get_nowait()

    def cpu_s(self) -> float:
        """Processor time of the process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def limit(self, watches: int) -> None:
        """Sets the limit of its user namespace."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{watches}\n")
        self.process.stdin.flush()


def _saves(watched: Watched, dev: Path, size: Size, rng: random.Random) -> list[float]:
    """Milliseconds from each of many saves to its hint."""
    places = list(dev.glob("*/g*/p*/m0.py"))
    took_ms = []
    for number in range(size.saves):
        time.sleep(rng.uniform(0.0, 0.1))
        file = rng.choice(places)
        wanted = (file.relative_to(dev).parts[0], file.relative_to(dev).as_posix().partition("/")[2])
        file.write_text(f"x = 'saved {number}'\n")
        saved_s = time.monotonic()
        hint = watched.until(lambda said, w=wanted: said["what"] == "hint" and (said["service"], said["path"]) == w)
        took_ms.append((hint["at_s"] - saved_s) * 1000 if hint else float("inf"))
    return took_ms


def _told(watched: Watched, dev: Path, size: Size) -> list[float]:
    """Milliseconds from a save to the change that the pipeline is told."""
    took_ms = []
    for number in range(size.told):
        service = (LARGE, *SMALL)[number % 5]
        time.sleep(0.5)
        watched.forget()
        (dev / service / "g0/p1/m1.py").write_text(f"x = 'told {number}'\n")
        saved_s = time.monotonic()
        change = watched.until(lambda said, s=service: said["what"] == "change" and said["service"] == s)
        took_ms.append((change["at_s"] - saved_s) * 1000 if change else float("inf"))
    return took_ms


def _overflow(watched: Watched, dev: Path, problems: list[str]) -> dict[str, float]:
    """Loses events for sure, and waits until everything is told; seconds."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    burst = min(limit + 2_000, 40_000)
    watched.forget()
    watched.process.send_signal(signal.SIGSTOP)
    for number in range(burst // 2 + 1):  # made and written: two events each
        (dev / SMALL[0] / "g0" / "p0" / f"new{number}.py").write_text("new = True\n")
    (dev / LARGE / "g0/p2/late.py").write_text("late = True\n")
    (dev / SMALL[3] / "g0/p99/made").mkdir()
    (dev / SMALL[3] / "g0/p99/made/late.py").write_text("late = True\n")
    touched = (SMALL[0], LARGE, SMALL[3])
    digests = {name: scan(dev / name, Tree(), time.time_ns()).digest for name in touched}
    watched.process.send_signal(signal.SIGCONT)
    went_on_s = time.monotonic()
    waiting, healed_s, overflowed = dict(digests), 0.0, False
    while waiting or not healed_s:
        said = watched.until(lambda said: said["what"] in ("change", "health"))
        if not said:
            problems.append(f"after an overflow these were never told whole: {sorted(waiting)}; healed: {healed_s:g} s")
            break
        if said["what"] == "health":
            overflowed = overflowed or "overflow" in said["kinds"]
            healed_s = said["at_s"] - went_on_s if overflowed and said["status"] == "HEALTHY" else 0.0
        elif waiting.get(said["service"]) == said["digest"]:
            del waiting[said["service"]]
            told_s = said["at_s"] - went_on_s
    # What was made meanwhile is watched, too.
    (dev / SMALL[3] / "g0/p99/made/late.py").write_text("later = True\n")
    if not watched.until(lambda said: said["what"] == "hint" and said["path"].endswith("made/late.py"), 5.0):
        problems.append("a folder that was made during an overflow is not watched")
    time.sleep(REST_S)
    return {"overflow_told_s": round(told_s, 2), "overflow_healed_s": round(healed_s, 2)}


def _cpu_percent(watched: Watched, length_s: float) -> float:
    before_s, began_s = watched.cpu_s(), time.monotonic()
    time.sleep(length_s)
    return 100 * (watched.cpu_s() - before_s) / (time.monotonic() - began_s)


def _limit(workspace: Path, size: Size, problems: list[str]) -> dict[str, float]:
    """More folders than watches: seconds until a save is told, and until all is watched once there is room."""
    dev = workspace / "dev"
    with Watched(workspace, size.watches) as watched:
        degraded = watched.until(lambda said: said["what"] == "health" and "watch_limit" in said["kinds"], 30.0)
        if not degraded:
            if watched.process.poll() is not None:
                return {}  # no user namespaces here
            problems.append("the limit of watches was reached, and nobody was told")
            return {}
        if degraded["mode"] != "polling":
            problems.append(f"the limit of watches was reached, and the mode is told as {degraded['mode']}")
        took_s = []
        for service in (LARGE, *SMALL):
            time.sleep(1.0)
            watched.forget()
            last = max((dev / service).glob("g*/p*"), key=lambda path: int(path.name[1:]))
            (last / "m1.py").write_text("x = 'beyond the limit'\n")
            saved_s = time.monotonic()
            change = watched.until(lambda said, s=service: said["what"] == "change" and said["service"] == s, 10.0)
            took_s.append(change["at_s"] - saved_s if change else float("inf"))
        watched.limit(1_000_000)
        raised = watched.until(lambda said: said["what"] == "limit")
        healthy = watched.until(lambda said: said["what"] == "health" and said["status"] == "HEALTHY", WAIT_S)
        again_s = healthy["at_s"] - raised["at_s"] if healthy and raised else float("inf")
    return {"limit_told_s_max": round(max(took_s), 2), "limit_watched_again_s": round(again_s, 2)}


def prove(size: Size, seed: int) -> dict[str, Any]:
    """All of it; figures and problems."""
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="prove-watching-") as folder:
        workspace = Path(folder)
        folders, files = grow(workspace, size)
        figures: dict[str, Any] = {"files": files, "folders": folders}
        with Watched(workspace) as watched:
            began_s = time.monotonic()
            for _ in (LARGE, *SMALL):
                last = watched.until(lambda said: said["what"] == "change")
            figures["first_scan_s"] = round(last["at_s"] - began_s, 1) if last else None
            time.sleep(1.0)
            events_ms = _saves(watched, workspace / "dev", size, random.Random(seed))
            told_ms = _told(watched, workspace / "dev", size)
            figures |= {"event_ms_p50": percentile(events_ms, 0.5), "event_ms_p99": percentile(events_ms, 0.99)}
            figures |= {"told_ms_p50": percentile(told_ms, 0.5), "told_ms_max": round(max(told_ms), 1)}
            time.sleep(1.0)
            figures["idle_cpu_percent"] = round(_cpu_percent(watched, size.idle_s), 2)
            figures |= _overflow(watched, workspace / "dev", problems)
            figures["rest_cpu_percent"] = round(_cpu_percent(watched, 3.0), 2)
        limit = _limit(workspace, size, problems)
        figures |= limit or {"limit": "left out: no user namespaces here"}
    marks = {
        "event_ms_p99": EVENT_MS_MAX,
        "idle_cpu_percent": IDLE_PERCENT_MAX,
        "overflow_told_s": HEALED_S_MAX,
        "overflow_healed_s": HEALED_S_MAX,
        "rest_cpu_percent": REST_PERCENT_MAX,
        **dict.fromkeys(limit, HEALED_S_MAX),
    }
    problems += [
        f"{name}: at most {mark:g}, got {figures[name]}" for name, mark in marks.items() if figures[name] > mark
    ]
    return {**figures, "problems": problems}
