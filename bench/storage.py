"""Storage beside its rivals, in one run: SQLite and Redis for the log, LMDB for reads, deletion, git, and a reader.

    python bench/storage.py [--quick] [--json] [--check] [--rounds N] [--only QUESTION]

What each question measures is told in `bench.storage_figures`. Rounds take turns over all questions and sides, their
order changing, and medians of the rounds are compared, so that what else the machine does harms all alike. Redis and
git are measured where they are installed.

LMDB flushes twice per commit, SQLite once: what an append, a rollback or an archived version takes is the disk's flush,
so that is measured too. `--check` fails below the marks of the documentation; those that depend on the flush are not
judged while a flush takes more than half a millisecond (a disk that is busy, or slow), and then say so.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # As a script, too: the questions are a package beside this file.
    sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.storage_figures import appends, bulk, reads, retention, rollback, versions

FLUSH_US_MAX = 500
"""Above it, the marks that depend on the disk are not judged."""
QUESTIONS = ("appends", "bulk", "reads", "retention", "versions", "rollback")
MANY = f"{appends.APPENDERS} appenders"


@dataclass(frozen=True, slots=True)
class Mark:
    """A figure, and what it must be.

    Attributes:
        title: What a person reads.
        value: Ratios are ours by the rival's, or the other way round where less is better: see `title`.
        least: It must not be less.
        most: It must not be more.
        by_disk: Whether it depends on the disk's flush.
    """

    title: str
    value: float
    least: float | None = None
    most: float | None = None
    by_disk: bool = False

    @property
    def limit(self) -> str:
        """What is promised, "" for nothing."""
        if self.least is not None:
            return f"at least {self.least:g}"
        return "" if self.most is None else f"at most {self.most:g}"

    def verdict(self, flush_us: float) -> str:
        """`ok`, `MISSED`, `not judged`, or "" where nothing is promised."""
        if not self.limit:
            return ""
        if self.by_disk and flush_us > FLUSH_US_MAX:
            return "not judged"
        below = self.least is not None and self.value < self.least
        above = self.most is not None and self.value > self.most
        return "MISSED" if below or above else "ok"


def flush_us(folder: Path) -> float:
    """Median of the disk's flush (fdatasync of 8 KiB that were written before), in microseconds."""
    spent = []
    fd = os.open(folder / "flush", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(64 * 8192), 0)
    os.fsync(fd)
    for number in range(50):
        os.pwrite(fd, os.urandom(8192), number * 8192)
        started = time.perf_counter()
        os.fdatasync(fd)
        spent.append((time.perf_counter() - started) * 1e6)
    os.close(fd)
    return statistics.median(spent)


def _round(wanted: list[str], folder: Path, *, quick: bool, order: int) -> dict[str, Any]:
    measures: dict[str, Callable[..., Any]] = {
        "appends": appends.measure,
        "bulk": bulk.measure,
        "reads": reads.measure,
        "retention": retention.measure,
        "versions": versions.measure,
        "rollback": rollback.measure,
    }
    found: dict[str, Any] = {"flush_us": flush_us(folder)}
    for name in wanted:
        if name == "versions" and not versions.available():
            continue
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=folder) as place:
            found[name] = measures[name](Path(place), quick=quick, order=order)
    found["flush_us"] = statistics.mean([found["flush_us"], flush_us(folder)])
    return found


def medians(rounds: list[Any]) -> Any:
    """The median of each figure over rounds of the same shape."""
    first = rounds[0]
    if isinstance(first, Mapping):
        return {name: medians([one[name] for one in rounds]) for name in first}
    return statistics.median(rounds)


def plain(found: Any) -> Any:
    """Dataclasses as dicts, all the way down."""
    if isinstance(found, appends.Appended):
        return asdict(found)
    return {name: plain(value) for name, value in found.items()} if isinstance(found, dict) else found


def marks(found: dict[str, Any]) -> list[Mark]:
    """What the figures must be."""
    told: list[Mark] = []
    if log := found.get("appends"):
        one, many = ({side: log[side][title] for side in log} for title in ("one appender", MANY))
        for rival in (side for side in log if side != "ours"):
            judged = rival == "sqlite"
            told += [
                Mark(f"one appender, events/s by {rival}'s", one["ours"]["per_s"] / one[rival]["per_s"]),
                Mark(
                    f"{MANY}, events/s by {rival}'s",
                    many["ours"]["per_s"] / many[rival]["per_s"],
                    least=0.8 if judged else None,
                    by_disk=True,
                ),
                Mark(
                    f"{MANY}, p99 by {rival}'s",
                    many["ours"]["p99_ms"] / many[rival]["p99_ms"],
                    most=0.6 if judged else None,
                    by_disk=True,
                ),
            ]
    if log := found.get("bulk"):
        for rival in (side for side in log if side != "ours"):
            for title, least in (("two indexes", 1.5), ("no index", 2.0)):
                ratio = log["ours"][title] / log[rival][title]
                name = f"bulk with {title}, events/s by {rival}'s"
                told.append(Mark(name, ratio, least=least if rival == "sqlite" else None, by_disk=True))
    if read := found.get("reads"):
        told.append(Mark("a decoded read from LMDB by a lookup", read["lmdb"] / read["ours"], least=20))
    if gone := found.get("retention"):
        ratio = gone["delete"] / gone["drop"]
        told.append(Mark("deleting a partition's events by dropping it", ratio, least=100, by_disk=True))
    if version := found.get("versions"):
        told += [
            Mark("a new version by git's, flushed", version["ours"] / version["git"], most=0.25, by_disk=True),
            Mark("a new version by git's, not flushed", version["ours"] / version["git_default"]),
        ]
    if swap := found.get("rollback"):
        told += [
            Mark("rollback, p99 in ms", swap["p99_ms"], most=1.0, by_disk=True),
            Mark("rollback, failed reads", swap["failed"], most=0),
        ]
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="three small rounds")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail where a mark is missed")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--only", choices=QUESTIONS, action="append", default=[])
    options = parser.parse_args()
    wanted = options.only or list(QUESTIONS)
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as folder:
        rounds = [
            plain(_round(wanted, Path(folder), quick=options.quick, order=number))
            for number in range(options.rounds or (3 if options.quick else 5))
        ]
    found = medians(rounds)
    judged = {mark.title: mark.verdict(found["flush_us"]) for mark in marks(found)}
    held = "MISSED" not in judged.values()
    if options.json:
        ratios = {mark.title: {**asdict(mark), "verdict": judged[mark.title]} for mark in marks(found)}
        print(json.dumps({"rounds": len(rounds), **found, "marks": ratios, "held": held}))
    else:
        print(f"{'us per flush of the disk':48} {found['flush_us']:>9,.0f}")
        for mark in marks(found):
            verdict = f"{judged[mark.title]} ({mark.limit})" if mark.limit else ""
            print(f"{mark.title:48} {mark.value:>9.2f}  {verdict}".rstrip())
    return 1 if options.check and not held else 0


if __name__ == "__main__":
    sys.exit(main())
