"""A thousand encoded events per transaction, each transaction durable before the next: with two indexes, and with none.

The words are those of a node: six types and eight services, in no order.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from bench.storage_figures.appends import DATA
from bench.storage_figures.engines import rivals
from henslowe.storage import EventDraft
from henslowe.storage.clock import HybridClock
from henslowe.storage.commits import Commit
from henslowe.storage.events import EncodedEvent
from henslowe.storage.transaction import encoder

BATCH = 1_000
TYPES = ("CANARY_HEALTH", "SESSION_OPENED", "SESSION_CLOSED", "CALL_FAILED", "INSTANCE_STARTED", "INSTANCE_STOPPED")


def batches(count: int, *, indexed: bool) -> list[list[Commit]]:
    dice, encode = random.Random(1), encoder("n1", 1, HybridClock().tick)

    def event() -> EncodedEvent:
        one = encode(EventDraft("activity", dice.choice(TYPES), "INFO", f"service-{dice.randrange(8)}", 3, DATA))
        return one if indexed else one._replace(words=())

    return [[Commit([], [event() for _ in range(BATCH)], {})] for _ in range(count)]


def measure(folder: Path, *, quick: bool, order: int) -> dict[str, dict[str, float]]:
    """One round: events a second of every engine, by the name of the side."""
    sides = list(rivals().items())
    found: dict[str, dict[str, float]] = {name: {} for name, _ in sides}
    for indexed, title in ((True, "two indexes"), (False, "no index")):
        commits = batches(40 if quick else 200, indexed=indexed)
        for name, kind in sides if order % 2 else sides[::-1]:
            engine = kind(folder / f"{name}-{order}-{title.replace(' ', '-')}", indexed=indexed)
            started = time.perf_counter()
            for batch in commits:
                engine.commit(batch)
            found[name][title] = len(commits) * BATCH / (time.perf_counter() - started)
            engine.close()
    return found
