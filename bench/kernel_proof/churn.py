"""A big tree whose children crash at random for a long time leaks nothing."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from pathlib import Path
from typing import Any

from henslowe.actors.kernel import (
    INFINITY,
    KILL,
    ChildSpec,
    GenActor,
    LoopActor,
    ProcessActor,
    Ref,
    RestartType,
    Scheduler,
    Stop,
    ThreadActor,
    names,
    statistics,
)
from henslowe.supervisors import Supervisor
from henslowe.testing import no_leaks

from .outcome import Outcome

BRANCHES = 100
CRASHES_PER_S = 1_000
THREADS, PROCESSES = 20, 2
GROWTH_MAX = 0.05
"""By how much memory may differ between the first and the last third: the allocator is not exact."""


class Crashing:
    """Does one of the things that can go wrong."""

    def handle_cast(self, message: Any) -> Any:
        """Ends as told."""
        if message == "crash":
            raise RuntimeError("on purpose")
        return Stop(message)

    def handle_call(self, message: Any, _sender: Any) -> Any:
        """Answers."""
        return message

    def handle_info(self, message: Any) -> None:
        """Takes no notice."""


class OnLoop(Crashing, LoopActor):
    """With a timer, a monitor and a link's worth of things to clean up."""

    def init(self) -> None:
        """Opens what its death must close."""
        self.send_after(3600.0, "never")
        neighbour = names.whereis("churn.anchor")
        if neighbour is not None:
            self.monitor(neighbour)

    async def handle_call(self, _message: Any, _sender: Any) -> Any:
        """Hangs, so that its end finds a suspended callback."""
        await asyncio.sleep(3600)


class OnThread(Crashing, ThreadActor):
    """On a thread."""


class InProcess(Crashing, ProcessActor):
    """In a process."""


class Anchor(LoopActor):
    """What others monitor."""


def _kind(number: int, children: int) -> type[GenActor]:
    if number < PROCESSES:
        return InProcess
    return OnThread if number < PROCESSES + min(THREADS, children // 10) else OnLoop


def _branch(branch: int, children: int) -> ChildSpec:
    share = children // BRANCHES
    specs = [
        ChildSpec(str(n), _kind(branch + n * BRANCHES, children), restart=RestartType.PERMANENT, shutdown_s=5.0)
        for n in range(share)
    ]
    options = {"max_restarts": 60 if branch % 10 == 0 else 1_000_000, "max_seconds": 5.0}
    return ChildSpec(f"b{branch}", Supervisor, (specs,), options, shutdown_s=INFINITY)


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def _leaves(root: Ref) -> list[Ref]:
    return [
        leaf.ref
        for branch in root._actor.child_infos()
        if branch.ref is not None and branch.ref.is_alive()
        for leaf in branch.ref._actor.child_infos()
        if leaf.ref is not None and leaf.ref.is_alive()
    ]


def _strike(ref: Ref, pick: random.Random) -> None:
    what = pick.random()
    if what < 0.4:
        ref.cast("crash")
    elif what < 0.6:
        ref.exit(KILL)
    elif what < 0.8:
        ref.exit("odd")
    elif what < 0.9:
        ref.cast("normal")
    else:  # end it in the middle of a call
        ref.call("hang", None).add_done_callback(lambda call: call.exception())
        ref.exit(KILL)


async def _churn(root: Ref, seconds: float, pick: random.Random) -> tuple[int, list[tuple[float, float]]]:
    began = time.monotonic()
    strikes, memory = 0, []
    leaves: list[Ref] = []
    while (elapsed := time.monotonic() - began) < seconds:
        if len(memory) <= elapsed:
            gc.collect()
            leaves = _leaves(root)
            memory.append((round(elapsed, 1), _rss_mb()))
        for _ in range(min(100, int(elapsed * CRASHES_PER_S) - strikes)):
            ref = pick.choice(leaves)
            if ref.is_alive():
                _strike(ref, pick)
                strikes += 1
        await asyncio.sleep(0.01)
    return strikes, memory


async def _prove(children: int, seconds: float, seed: int) -> Outcome:
    Scheduler.install()
    outcome, pick = Outcome("churn", {"first_seed": seed}), random.Random(seed)
    await asyncio.to_thread(int)
    anchor = await Anchor.start_link(name="churn.anchor")
    assert anchor is not None
    zombies = statistics().zombies
    try:
        async with no_leaks(settle_s=20.0):
            root = await Supervisor.start_link(
                [_branch(number, children) for number in range(BRANCHES)], max_restarts=1_000_000, max_seconds=1.0
            )
            assert root is not None
            strikes, memory = await _churn(root, seconds, pick)
            await asyncio.sleep(1.0)
            alive = len(_leaves(root))
            watchers = len(anchor._watchers or ())
            await root.stop(block=False)
    except AssertionError as leak:
        outcome.broken.append(str(leak)[:2000])
        return outcome
    third = len(memory) // 3
    first = sorted(rss for _, rss in memory[third // 2 : third + third // 2 + 1])
    last = sorted(rss for _, rss in memory[-third - 1 :])
    early, late = first[len(first) // 2], last[len(last) // 2]
    outcome.figures |= {
        "children": children,
        "seconds": seconds,
        "crashes": strikes,
        "alive_at_the_end": alive,
        "rss_mb_early": round(early, 1),
        "rss_mb_late": round(late, 1),
        "leaks": 0,
        "zombies": statistics().zombies - zombies,
    }
    loops = sum(_kind(n, children) is OnLoop for n in range(children))
    outcome.expect(alive == children, f"expected {children} children alive after the crashes, got {alive}")
    outcome.expect(watchers == loops, f"expected {loops} monitors, one per living actor, got {watchers}")
    outcome.expect(late <= early * (1 + GROWTH_MAX), f"expected flat memory, got {early:.1f} MB then {late:.1f} MB")
    anchor.exit(KILL)
    return outcome


def prove(children: int, seconds: float, seed: int) -> Outcome:
    """Runs a tree of `children` for `seconds` seconds."""
    return asyncio.run(_prove(children, seconds, seed))
