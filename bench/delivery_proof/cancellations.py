"""Cancels runs whose stages spawn daemons that try to get away, and looks for survivors.

Each stage starts a child, a child in a session of its own, and a daemon: forked twice, in its own session, with an
empty environment and no open file of the stage. Then the source changes, which cancels the run. All of it has to be
gone soon after the run's end, whatever keeps stages within their folders.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from henslowe.actors.kernel import Scheduler
from henslowe.actors.pipeline import isolation
from henslowe.config.settings import StorageSettings
from henslowe.errors import ConfigError
from henslowe.storage import Store
from tests.actors.pipeline.delivering import Node, server, stage

GONE_S = 2.0
"""Longest time that a process may be seen after its run has ended."""
STARTED_S = 10.0

DAEMONS = """
import os, subprocess, sys, time
token = sys.argv[1]
subprocess.Popen(["sleep", "3600." + token])
subprocess.Popen(["sleep", "3601." + token], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3):
            os.close(fd)
        os.chdir("/")
        os.execve("/bin/sleep", ["sleep", "3602." + token], {})
    os._exit(0)
time.sleep(3600)
"""


def alive(token: str) -> list[int]:
    """Processes that carry the token in their command and are no zombies."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            command = Path(entry.path, "cmdline").read_bytes()
        except OSError:
            continue
        if token.encode() in command:
            found.append(int(entry.name))
    return found


async def until(condition: Callable[[], bool], limit_s: float) -> bool:
    """Whether it holds in time."""
    ends_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends_s:
            return False
        await asyncio.sleep(0.005)
    return True


@contextlib.asynccontextmanager
async def node_at(folder: Path, **pipeline: Any) -> AsyncIterator[Node]:
    """A pipeline with a store of its own."""
    Scheduler.install()
    store = Store.open(folder / "data", "proof", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, parent=None, name=spec.name)
    node = Node(folder, store, **pipeline)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()
        await writer.stop(block=False)
        store.close()


async def _rounds(folder: Path, rounds: int, level: str) -> dict[str, Any]:
    problems: list[str] = []
    gone_s: list[float] = []
    async with node_at(folder, isolation=level) as node:
        for number in range(rounds):
            token = f"{os.getpid():07}{number:06}"
            files = {"server.py": server(), "daemons.py": DAEMONS}
            run = stage("daemons", f"{sys.executable} daemons.py {token}")
            node.change({**files, "service.toml": run})
            if not await until(lambda token=token: len(alive(token)) >= 4, STARTED_S):
                problems.append(f"round {number}: the daemons did not start")
            began_s = time.monotonic()
            node.change({"service.toml": "", "server.py": server(before=f"# {number}")})
            await node.broken()
            if not await until(lambda token=token: not alive(token), GONE_S):
                problems.append(f"round {number}: {len(alive(token))} processes are left")
            gone_s.append(time.monotonic() - began_s)
            await node.built()
    gone_s.sort()
    return {"level": level, "rounds": rounds, "gone_s_max": round(gone_s[-1], 3), "problems": problems}


def prove(rounds: int) -> dict[str, Any]:
    """Shares the rounds out among the levels of isolation that work here."""
    levels = [level.value for level in isolation.Level if works(level.value)]
    results = []
    for level in levels:
        with tempfile.TemporaryDirectory(prefix="prove-cancellations-") as folder:
            results.append(asyncio.run(_rounds(Path(folder), -(-rounds // len(levels)), level)))
    return {
        "rounds": sum(result["rounds"] for result in results),
        "levels": ",".join(levels),
        "gone_s_max": max(result["gone_s_max"] for result in results),
        "problems": [f"{result['level']}: {one}" for result in results for one in result["problems"]],
    }


def works(level: str) -> bool:
    """Whether this level of isolation is to be had here."""
    try:
        return isolation.achieved(level).value == level
    except ConfigError:
        return False
