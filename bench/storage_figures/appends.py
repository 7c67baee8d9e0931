"""One appender, and a hundred asyncio appenders, each awaiting durability before it goes on."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.storage_figures.engines import Engine, rivals
from henslowe.actors.kernel import Scheduler
from henslowe.storage import EventDraft, Transaction
from henslowe.storage.clock import HybridClock
from henslowe.storage.commits import CommitQueue
from henslowe.storage.tablespec import Space
from henslowe.storage.transaction import encoder
from henslowe.storage.writer import WriterActor

APPENDERS = 100
DATA = {
    "weight": 10,
    "requests": 1234,
    "errors": 2,
    "p50_ms": 1.2,
    "p99_ms": 9.8,
    "by": {"rule": "slo", "name": "err_rate", "threshold": 0.02},
}


@dataclass(frozen=True, slots=True)
class Appended:
    """Events a second, and how long an appender waited."""

    per_s: float
    p50_ms: float
    p99_ms: float


async def _append_for(append: Callable[[], Awaitable[object]], appenders: int, seconds: float) -> Appended:
    waited: list[float] = []
    end = time.perf_counter() + seconds

    async def go_on() -> None:
        while (started := time.perf_counter()) < end:
            await append()
            waited.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(go_on() for _ in range(appenders)))
    spent = time.perf_counter() - started
    cuts = statistics.quantiles(waited, n=100)
    return Appended(len(waited) / spent, cuts[49] * 1e3, cuts[98] * 1e3)


async def _measure(engine: Engine, seconds: float) -> dict[str, Appended]:
    Scheduler.install()
    queue: Any = CommitQueue(commits_max=50_000)
    writer = await WriterActor.start_link(queue, engine, parent=None)
    encode = encoder("n1", 1, HybridClock().tick)

    def append() -> Awaitable[object]:
        txn = Transaction(queue, encode, Space.CORE)
        txn.append(EventDraft("activity", "CANARY_HEALTH", "INFO", "hello", 3, DATA))
        return txn.submit()

    found = {
        "one appender": await _append_for(append, 1, seconds),
        f"{APPENDERS} appenders": await _append_for(append, APPENDERS, seconds),
    }
    await writer.stop(block=False)
    return found


def measure(folder: Path, *, quick: bool, order: int) -> dict[str, dict[str, Appended]]:
    """One round: every engine in turn, by the name of the side."""
    sides = list(rivals().items())
    found = {}
    for name, kind in sides if order % 2 else sides[::-1]:
        engine = kind(folder / f"{name}-{order}")
        found[name] = asyncio.run(_measure(engine, 0.5 if quick else 2.0))
        engine.close()
    return found
