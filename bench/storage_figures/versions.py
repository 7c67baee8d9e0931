"""Archiving a new version of a tree of 600 files, beside `git add --all && git commit` of the same tree and edits.

Each version changes five files. Ours is durable when it returns. Git is measured twice: flushing what it writes, which
is the same promise (core.fsync=all), and as it is by default, when it does not flush its objects.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from henslowe.storage import Archive

FILES, FOLDERS, EDITS = 600, 30, 5
SETTLE_S = 0.2
"""What is younger is read again by all sides: its stamp may repeat."""
_GIT = ("-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0", "-c", "commit.gpgsign=false")


def available() -> bool:
    """Whether this machine has git."""
    return shutil.which("git") is not None


def measure(folder: Path, *, quick: bool, order: int) -> dict[str, float]:
    """One round: milliseconds a version, the median of some, by the name of the side."""
    tree, dice = folder / f"tree-{order}", random.Random(order)
    for number in range(FILES):
        path = tree / f"package{number % FOLDERS}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_source(number, dice))
        # As old as sources are: a file that was changed just now is read again in any case.
        os.utime(path, (1_700_000_000 + number,) * 2)
    archive = Archive(folder / f"archive-{order}")
    steps: dict[str, Callable[[], object]] = {"ours": lambda: archive.put(tree)}
    for name, flushed in (("git", "all"), ("git_default", "committed,-loose-object")):
        git = ["git", f"--git-dir={folder / f'{name}-{order}'}", f"--work-tree={tree}", *_GIT]
        git += ["-c", f"core.fsync={flushed}"]
        subprocess.run([*git, "init", "-q"], check=True)
        steps[name] = partial(_git_commit, git)
    for step in steps.values():
        step()
    time.sleep(SETTLE_S)
    for step in steps.values():
        step()
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(4 if quick else 12):
        for edited in dice.sample(range(FILES), EDITS):
            (tree / f"package{edited % FOLDERS}" / f"module{edited}.py").write_text(_source(edited, dice))
        time.sleep(SETTLE_S)
        sides = list(steps.items())
        for name, step in sides if (number + order) % 2 else sides[::-1]:
            started = time.perf_counter()
            step()
            spent[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(values) for name, values in spent.items()}


def _git_commit(git: list[str]) -> None:
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a version"], check=True)


def _source(number: int, dice: random.Random) -> str:
    words = ("request", "session", "version", "instance", "route", "weight", "result", "event")
    lines = [f"def {dice.choice(words)}_{number}_{line}({dice.choice(words)}): return {line}" for line in range(120)]
    return "\n".join(lines)
