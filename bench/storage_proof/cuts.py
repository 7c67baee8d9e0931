"""Cuts the power at moments of a log, and has each disk that may be left looked at.

Acknowledgements are part of the log: the process that wrote it told each in a file called `acks`, as JSON objects, so
that at every moment it is known what the disk owes.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from bench.storage_proof import workers
from bench.storage_proof.crash_states import Disk
from bench.storage_proof.shim import Record

ACKS = "acks"

Told: TypeAlias = list[Mapping[str, Any]]
Look: TypeAlias = Callable[[Disk, random.Random, int, Told], list[str]]
"""Makes a state of the disk with the dice and says what is wrong with it, knowing the moment and what was told."""


def first_ack(records: Sequence[Record], root: Path) -> int:
    """The moment of the first acknowledgement."""
    file = _ack_file(records, root)
    return next(at for at, record in enumerate(records) if record.op == "W" and record.file == file)


def cut(
    records: Sequence[Record], root: Path, moments: list[int], seed: int, look: Look, *, flushes: bool = True
) -> Counter[str]:
    """What is wrong with a disk after each of `moments` (numbers of records, in order), by what it is."""
    file = _ack_file(records, root)

    def check(first: int, count: int) -> Iterator[list[str]]:
        disk, at = Disk(root, flushes=flushes), 0
        told: Told = []
        for number in range(count):
            for record in records[at : moments[number]]:
                if record.file != file:
                    disk.apply(record)
                elif record.op == "W":
                    told.append(json.loads(record.payload))
            at = moments[number]
            if number >= first:
                yield look(disk, random.Random(f"{seed} {number}"), at, told)

    found: Counter[str] = Counter()
    for number, wrong in enumerate(workers.survive(check, len(moments))):
        for one in [workers.CRASHED] if wrong == workers.CRASHED else wrong:
            found[f"{one} (cut {number})"] += 1
    return found


def _ack_file(records: Sequence[Record], root: Path) -> int:
    return next(record.file for record in records if record.op == "C" and record.paths[0] == str(root / ACKS))
