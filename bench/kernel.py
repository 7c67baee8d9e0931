"""The kernel's speed, beside its peers in the same run.

    python bench/kernel.py                        # medians of five rounds
    python bench/kernel.py --quick                # three rounds of a tenth
    python bench/kernel.py --json                 # one JSON object, for machines
    python bench/kernel.py --peers peers/bin/python   # also otpylib and triotp, where that Python has them
    python bench/kernel.py --check                # fails below the marks; tries three times, since a busy machine
                                                  # disturbs the sides unequally

pykka's ThreadingActor always takes part, Elixir where it is on PATH (see `bench/peers/`). Ratios are of each side's
best round and are what can be trusted on a shared machine; the absolute figures are of this one. Memory is measured in
a process of its own, as growth of the resident set. `restart` has all crashes in one supervisor's window, which Elixir
walks through at each of them; `young_restart` has twenty.
"""

# ruff: noqa: D101, D102, ARG002  # actors of a few lines, named for what they do

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pykka

from henslowe.actors.kernel import (
    ChildSpec,
    LoopActor,
    Ref,
    RestartType,
    Scheduler,
    StartChild,
    TerminateChild,
    ThreadActor,
)
from henslowe.supervisors import DynamicSupervisor, Supervisor

HERE = Path(__file__).parent
MARKS = {
    "tell_times_pykka": 8.0,
    "call_times_pykka": 10.0,
    "call_times_elixir": 0.6,
    "ping_pong_times_elixir": 0.3,
    "spawn_times_elixir": 1.0,
    "start_child_times_elixir": 0.33,
    "concurrent_call_times_elixir": 0.35,
    "restart_times_faster_than_elixir": 1.0,
}
"""What `--check` demands, where the peer took part."""
CEILINGS = {"idle_bytes": 500.0, "messaged_bytes": 1_200.0}
ALIVE = 100_000


class Echo:
    """Takes anything, answers with it."""

    def handle_cast(self, message: Any) -> None:
        return None

    def handle_call(self, message: Any, sender: Any) -> Any:
        return message


class LoopEcho(Echo, LoopActor):
    pass


class ThreadEcho(Echo, ThreadActor):
    pass


class AsyncEcho(LoopActor):
    async def handle_call(self, message: Any, sender: Any) -> Any:
        return message


class PykkaEcho(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


class Ponger(LoopActor):
    """Plays ping-pong by casts."""

    def __init__(self) -> None:
        super().__init__()
        self.other: Any = None
        self.done: Any = None

    def handle_cast(self, left: int) -> None:
        if left:
            self.other.tell(left - 1)
        else:
            self.done.set_result(None)


class Crasher(LoopActor):
    """Tells when it is up; any message crashes it."""

    def __init__(self, watcher: Ref) -> None:
        super().__init__()
        self.watcher = watcher

    def init(self) -> None:
        self.watcher.tell((self.ref, time.perf_counter()))

    def handle_cast(self, message: Any) -> None:
        raise RuntimeError("on purpose")


class CrashWatcher(LoopActor):
    """Crashes an actor again and again; measures from the message that does it to `init` of the next life."""

    def __init__(self, count: int, done: asyncio.Future[list[float]]) -> None:
        super().__init__()
        self.left, self.done = count, done
        self.took_us: list[float] = []
        self.began = 0.0

    def handle_cast(self, message: Any) -> None:
        ref, up_at = message
        if self.began:
            self.took_us.append((up_at - self.began) * 1e6)
        if not self.left:
            self.done.set_result(self.took_us)
            return
        self.left -= 1
        self.began = time.perf_counter()
        ref.cast("now")


async def tell(actor: Any, count: int) -> float:
    """Casts in one burst until the last one is handled."""
    ref = await actor.start_link()
    began = time.perf_counter()
    for number in range(count):
        ref.tell(number)
    await ref.call(None, None)
    took = time.perf_counter() - began
    await ref.stop(block=False)
    return count / took


async def call(actor: Any, count: int) -> float:
    """Calls one after another."""
    ref = await actor.start_link()
    began = time.perf_counter()
    for number in range(count):
        await ref.call(number)
    took = time.perf_counter() - began
    await ref.stop(block=False)
    return count / took


async def concurrent_calls(count: int) -> float:
    """A hundred callers at the same time."""
    ref = await LoopEcho.start_link()

    async def caller() -> None:
        for number in range(count // 100):
            await ref.call(number)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(100)))
    took = time.perf_counter() - began
    await ref.stop(block=False)
    return count / took


async def ping_pong(count: int) -> float:
    """Two actors that tell each other."""
    a, b = await Ponger.start_link(), await Ponger.start_link()
    done = asyncio.get_running_loop().create_future()
    for me, other in ((a, b), (b, a)):
        me._actor.other, me._actor.done = other, done
    began = time.perf_counter()
    a.tell(count)
    await done
    return count / (time.perf_counter() - began)


async def spawn(count: int) -> float:
    """Starts with `init` done."""
    began = time.perf_counter()
    refs = [await LoopEcho.start_link() for _ in range(count)]
    took = time.perf_counter() - began
    for ref in refs:
        ref.exit("kill")
    return count / took


async def start_child(count: int) -> float:
    """Children of a dynamic supervisor, started and stopped."""
    supervisor = await DynamicSupervisor.start_link()
    spec = ChildSpec(None, LoopEcho, restart=RestartType.TEMPORARY)
    began = time.perf_counter()
    refs = [await supervisor.call(StartChild(spec)) for _ in range(count)]
    took = time.perf_counter() - began
    await supervisor.call(TerminateChild(refs[0]))
    await supervisor.stop(block=False)
    return count / took


async def restart_us(count: int) -> float:
    """Microseconds from the message that crashes a child to `init` of its next life, median of one supervisor's life.

    As on Elixir's side: an actor measures, the child has no name, nobody logs, and all crashes count for one intensity.
    """
    logging.disable(logging.CRITICAL)
    done: asyncio.Future[list[float]] = asyncio.get_running_loop().create_future()
    watcher = await CrashWatcher.start_link(count, done)
    supervisor = await Supervisor.start_link([ChildSpec("c", Crasher, args=(watcher,))], max_restarts=10**9)
    took_us = await done
    await supervisor.stop(block=False)
    await watcher.stop(block=False)
    logging.disable(logging.NOTSET)
    return statistics.median(took_us)


async def young_restart_us(supervisors: int) -> float:
    """The same in young supervisors, 20 crashes each, median of the medians: as few restarts count as in real life."""
    return statistics.median([await restart_us(20) for _ in range(supervisors)])


async def memory(count: int) -> dict[str, float]:
    """Bytes per actor, idle and after one message; and the seconds in which all of them stop."""

    def resident() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096

    Scheduler.install()
    warm = [await LoopEcho.start_link() for _ in range(100)]
    before = resident()
    refs = [await LoopEcho.start_link() for _ in range(count)]
    idle = (resident() - before) / count
    for ref in refs:
        ref.tell(1)
    await refs[-1].call(None)
    messaged = (resident() - before) / count
    alive = sum(ref.is_alive() for ref in refs)
    began = time.perf_counter()
    await asyncio.gather(*(ref.stop(block=False) for ref in refs))
    took = time.perf_counter() - began
    clean = sum(not ref.is_alive() and ref.reason == "normal" for ref in refs)
    for ref in warm:
        ref.exit("kill")
    return {"alive": alive, "idle_bytes": idle, "messaged_bytes": messaged, "stopped_cleanly": clean, "stop_s": took}


def pykka_tell(count: int) -> float:
    """The burst, at pykka's."""
    ref = PykkaEcho.start()
    began = time.perf_counter()
    for number in range(count):
        ref.tell(number)
    ref.ask(None)
    took = time.perf_counter() - began
    ref.stop()
    return count / took


def pykka_call(count: int) -> float:
    """Calls one after another, at pykka's."""
    ref = PykkaEcho.start()
    began = time.perf_counter()
    for number in range(count):
        ref.ask(number)
    took = time.perf_counter() - began
    ref.stop()
    return count / took


def peer_commands(python: str | None) -> dict[str, list[str]]:
    """How to run the peers that are there."""
    commands = {}
    if shutil.which("elixir"):
        commands["elixir"] = ["elixir", str(HERE / "peers" / "elixir_peer.exs")]
    for name in ("otpylib", "triotp"):
        if (
            python
            and subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False).returncode == 0
        ):
            commands[name] = [python, str(HERE / "peers" / f"{name}_peer.py")]
    return commands


def run_json(command: list[str]) -> dict[str, float]:
    """What a measuring process printed."""
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    figures: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return figures


async def measure(rounds: int, scale: float, peers: dict[str, list[str]]) -> dict[str, float]:
    """All figures, medians of the rounds."""
    Scheduler.install()

    def n(count: int) -> int:
        return max(100, int(count * scale))

    async def in_thread(function: Callable[[int], float], count: int) -> float:
        return await asyncio.to_thread(function, count)

    cases: dict[str, Callable[[], Awaitable[float]]] = {
        "tell_per_s": lambda: tell(LoopEcho, n(500_000)),
        "call_per_s": lambda: call(LoopEcho, n(100_000)),
        "async_call_per_s": lambda: call(AsyncEcho, n(30_000)),
        "concurrent_call_per_s": lambda: concurrent_calls(n(100_000)),
        "ping_pong_per_s": lambda: ping_pong(n(200_000)),
        "spawn_per_s": lambda: spawn(n(30_000)),
        "start_child_per_s": lambda: start_child(n(10_000)),
        "restart_us": lambda: restart_us(n(1_000)),
        "young_restart_us": lambda: young_restart_us(50),
        "thread_tell_per_s": lambda: tell(ThreadEcho, n(200_000)),
        "thread_call_per_s": lambda: call(ThreadEcho, n(10_000)),
        "pykka_tell_per_s": lambda: in_thread(pykka_tell, n(50_000)),
        "pykka_call_per_s": lambda: in_thread(pykka_call, n(10_000)),
    }
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            gc.collect()
            samples[name].append(await case())
        for peer, command in peers.items():
            for name, value in (await asyncio.to_thread(run_json, [*command, str(float(scale))])).items():
                samples.setdefault(f"{peer}_{name}", []).append(value)
    figures = {name: statistics.median(values) for name, values in samples.items()}
    return figures | ratios(samples)


def ratios(samples: dict[str, list[float]]) -> dict[str, float]:
    """Our best round to each peer's best: what else the machine does can only make a round slower."""
    found = {}
    for peer in ("pykka", "otpylib", "triotp", "elixir"):
        for case in ("tell", "call", "concurrent_call", "ping_pong", "spawn", "start_child"):
            theirs = samples.get(f"{peer}_{case}_per_s")
            if theirs:
                found[f"{case}_times_{peer}"] = max(samples[f"{case}_per_s"]) / max(theirs)
    for case in ("restart", "young_restart"):
        if f"elixir_{case}_us" in samples:
            found[f"{case}_times_faster_than_elixir"] = min(samples[f"elixir_{case}_us"]) / min(samples[f"{case}_us"])
    return found


def missed(figures: dict[str, float]) -> list[str]:
    """The marks that these figures do not reach."""
    low = [f"{name} {figures[name]:.2f} < {mark:g}" for name, mark in MARKS.items() if figures.get(name, mark) < mark]
    high = [f"{name} {figures[name]:.0f} > {most:g}" for name, most in CEILINGS.items() if figures[name] > most]
    unclean = [] if figures["stopped_cleanly"] == figures["alive"] == ALIVE else ["not all actors stopped cleanly"]
    return low + high + unclean


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds of a tenth")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="fail below the marks")
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter that has otpylib and triotp")
    parser.add_argument("--memory", type=int, metavar="N", help="measure only the memory of N actors, as JSON")
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(asyncio.run(memory(options.memory))))
        return 0
    peers = peer_commands(options.peers)
    bytes_of_actors = run_json([sys.executable, __file__, "--memory", str(ALIVE)])
    for _ in range(3 if options.check else 1):
        figures = asyncio.run(measure(3 if options.quick else 5, 0.1 if options.quick else 1.0, peers))
        figures |= bytes_of_actors
        below = missed(figures)
        if not below:
            break
    if options.json:
        print(json.dumps({name: round(value, 2) for name, value in figures.items()} | {"below_marks": below}))
    else:
        for name, value in figures.items():
            mark = MARKS.get(name) or CEILINGS.get(name)
            print(f"{name:34} {value:14,.2f}{f'   mark {mark:g}' if mark else ''}")
        print(f"below the marks: {', '.join(below) or 'none'}")
    return 1 if options.check and below else 0


if __name__ == "__main__":
    sys.exit(main())
