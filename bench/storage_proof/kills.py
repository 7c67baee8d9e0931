"""Kills the node's process with SIGKILL at random moments, again and again on one store.

Every acknowledgement goes through a pipe. After each kill the store is opened as the next node would: everything
acknowledged is there, the log has no gap, indexes are complete, and the rows are what their history says.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from bench.storage_proof import ledger
from bench.storage_proof.killing import killed
from bench.storage_proof.ledger import Acknowledged, Ledger

APPENDERS = 8
KILL_AFTER_S_MAX = 0.06
FOLDER_BYTES_MAX = 8 << 20


async def _write_until_killed(folder: Path, acks: int, seed: int) -> None:
    dice = random.Random(seed)
    async with ledger.opened(folder) as store:
        book = Ledger(store, dice)

        async def go_on() -> None:
            while True:
                os.write(acks, json.dumps(await book.step()).encode() + b"\n")

        await asyncio.gather(*(go_on() for _ in range(APPENDERS)))


def _kill_once(folder: Path, dice: random.Random) -> list[dict[str, Any]]:
    """One life of the child, ended after its first acknowledgement; all it acknowledged."""
    received = killed(lambda acks, seed: _write_until_killed(folder, acks, seed), dice, KILL_AFTER_S_MAX)
    # The last line may be half.
    return [json.loads(line) for line in received.split(b"\n")[:-1]]


def run(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """Kills `rounds` writers in turn on one store, a new one when it grew large."""
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    problems: list[str] = []
    acknowledged = Acknowledged()
    for number in range(rounds):
        for told in _kill_once(folder, dice):
            found["acknowledged"] += 1
            acknowledged.add(told)
        # As the crash left it: the check must meet the same traces as the next node.
        problems += [f"{one} (kill {number})" for one in ledger.check(folder, acknowledged)]
        if (folder / "core" / "data.mdb").stat().st_size > FOLDER_BYTES_MAX:
            shutil.rmtree(folder)
            acknowledged = Acknowledged()
    return {"kills": rounds, **found, "problems": problems}
