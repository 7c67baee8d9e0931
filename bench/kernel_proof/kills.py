"""A kill is exact and quick: process trees are gone, callers are released."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from henslowe.actors.kernel import (
    BRUTAL_KILL,
    KILL,
    ActorExit,
    ChildSpec,
    LoopActor,
    ProcessActor,
    Scheduler,
    StartChild,
    TerminateChild,
    ThreadActor,
)
from henslowe.supervisors import DynamicSupervisor
from henslowe.testing import no_leaks

from .outcome import Outcome, quantiles

GONE_MS_P50, GONE_MS_MAX, RELEASED_MS = 50.0, 500.0, 5.0


class Spinner(ProcessActor):
    """Leaves grandchildren in sessions of their own, then never returns."""

    def handle_call(self, _message: Any, _sender: Any) -> Any:
        """Starts them and gives their numbers."""
        sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
        # Detached for good: a process between us and it that has ended.
        shell = "setsid sleep 600 >/dev/null 2>&1 & echo $!"
        orphan = subprocess.run(["sh", "-c", shell], check=True, capture_output=True, text=True)
        return os.getpid(), sleeper.pid, int(orphan.stdout)

    def handle_cast(self, _message: Any) -> None:
        """Spins."""
        while True:
            pass


class Stuck:
    """Answers nothing."""

    def __init__(self, entered: Any) -> None:
        super().__init__()
        self.entered = entered


class StuckLoop(Stuck, LoopActor):
    """Waits for ever in a callback."""

    async def handle_call(self, _message: Any, _sender: Any) -> None:
        """Never returns."""
        self.entered()
        await asyncio.Event().wait()


class StuckThread(Stuck, ThreadActor):
    """Blocks its thread in a callback."""

    def handle_call(self, _message: Any, _sender: Any) -> None:
        """Returns long after the test."""
        self.entered()
        threading.Event().wait(0.2)


def _is_running(pid: int) -> bool:
    """Whether it can still do anything: a zombie is an exit status and nothing else."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


async def _kill_one(supervisor: Any) -> tuple[float, int]:
    """Milliseconds until the spinner and all below it are gone, and how many of them are left."""
    ref = await supervisor.call(StartChild(ChildSpec(None, Spinner, shutdown_s=BRUTAL_KILL)), 30)
    pids = await ref.call("start", 30)
    ref.cast("spin")
    await asyncio.sleep(0.005)  # let it spin
    assert all(map(_is_running, pids))
    began = time.perf_counter()
    await supervisor.call(TerminateChild(ref), 30)
    while any(map(_is_running, pids)) and time.perf_counter() - began < 5:
        await asyncio.sleep(0.0005)
    return (time.perf_counter() - began) * 1e3, sum(map(_is_running, pids))


async def _process_kills(rounds: int, outcome: Outcome) -> None:
    supervisor = await DynamicSupervisor.start_link()
    assert supervisor is not None
    await _kill_one(supervisor)
    async with no_leaks(settle_s=10.0):
        results = [await _kill_one(supervisor) for _ in range(rounds)]
    await supervisor.stop(block=False)
    gone = quantiles([took for took, _ in results])
    clean = sum(left == 0 for _, left in results)
    outcome.figures |= {"process_trees_gone": f"{clean} of {rounds}", "gone_ms": gone}
    outcome.expect(clean == rounds, f"{rounds - clean} of {rounds} process trees survived their kill")
    outcome.expect(gone["p50"] <= GONE_MS_P50, f"expected p50 <= {GONE_MS_P50} ms, got {gone['p50']}")
    outcome.expect(gone["max"] <= GONE_MS_MAX, f"expected at most {GONE_MS_MAX} ms, got {gone['max']}")


async def _release(kind: Any, rounds: int) -> list[float]:
    """Milliseconds from the kill to the caller's error."""
    loop = asyncio.get_running_loop()
    times = []
    for _ in range(rounds):
        entered = asyncio.Event()
        ref = await kind.start_link(lambda event=entered: loop.call_soon_threadsafe(event.set))
        call = ref.call("stick", None)
        await entered.wait()
        began = time.perf_counter()
        ref.exit(KILL)
        try:
            await call
        except ActorExit:
            times.append((time.perf_counter() - began) * 1e3)
    return times


async def _prove(rounds: int) -> Outcome:
    Scheduler.install()
    outcome = Outcome("kills")
    for kind, name in ((StuckLoop, "loop"), (StuckThread, "thread")):
        times = await _release(kind, rounds)
        figures = outcome.figures[f"caller_released_ms_{name}"] = quantiles(times)
        outcome.expect(len(times) == rounds, f"{rounds - len(times)} callers of a killed {name} actor got no error")
        # The promise is about the kernel; the operating system may take the processor away for longer at any time.
        outcome.expect(figures["p99"] <= RELEASED_MS, f"expected p99 <= {RELEASED_MS} ms ({name}), got {figures}")
    await asyncio.sleep(0.5)  # the blocked threads end
    await _process_kills(rounds, outcome)
    return outcome


def prove(rounds: int) -> Outcome:
    """Kills `rounds` actors of each kind."""
    sys.setswitchinterval(0.0005)  # as the node does
    return asyncio.run(_prove(rounds))
