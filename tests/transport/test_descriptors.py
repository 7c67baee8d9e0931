"""Room for descriptors."""

from __future__ import annotations

import resource
from pathlib import Path

from henslowe.transport.descriptors import make_room

SIZE = "FDSize:"


def table_size() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(SIZE))


def test_the_table_is_as_large_as_was_asked_for_and_nothing_is_left_open() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    wanted = min(2 * table_size(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    make_room(wanted)
    assert table_size() >= wanted
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_no_more_is_asked_for_than_the_process_may_have() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    before = set(Path("/proc/self/fd").iterdir())
    make_room(limit * 2 if limit < 1 << 20 else 1 << 16)
    assert set(Path("/proc/self/fd").iterdir()) == before
