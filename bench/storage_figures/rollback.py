"""Swapping the link of the active version back and forth while another process reads through it.

The reader opens the link's file 100,000 times; a read that fails, or finds anything but one of the two versions, is a
failed read. A swap counts until it is durable.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from henslowe.storage import swap_link

READS = 100_000


def measure(folder: Path, *, quick: bool, order: int) -> dict[str, float]:
    """One round: p50 and p99 of a swap in milliseconds, swaps, reads and failed reads."""
    place = folder / str(order)
    for name in ("v1", "v2"):
        (place / name).mkdir(parents=True)
        (place / name / "version").write_text(name)
    link = place / "active"
    swap_link(link, place / "v1")
    reads = READS // (10 if quick else 1)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(writer, _failed_reads(link, reads).to_bytes(8, "big"))
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    swaps: list[float] = []
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        target = place / ("v2", "v1")[len(swaps) % 2]
        started = time.perf_counter()
        assert swap_link(link, target)
        swaps.append((time.perf_counter() - started) * 1e3)
    told = os.read(reader, 8)
    os.close(reader)
    if len(told) != 8:
        raise SystemExit("the reader ended by itself")
    cuts = statistics.quantiles(swaps, n=100)
    failed = int.from_bytes(told, "big")
    return {"p50_ms": cuts[49], "p99_ms": cuts[98], "swaps": len(swaps), "reads": reads, "failed": failed}


def _failed_reads(link: Path, reads: int) -> int:
    path, failed = str(link / "version"), 0
    for _ in range(reads):
        try:
            fd = os.open(path, os.O_RDONLY)
            failed += os.read(fd, 10) not in (b"v1", b"v2")
            os.close(fd)
        except OSError:
            failed += 1
    return failed
