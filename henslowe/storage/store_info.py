"""Figures of an open store, as its node tells them. Those of a data directory at rest are `figures`."""

from __future__ import annotations

from dataclasses import dataclass

from henslowe.storage.capture import CaptureInfo
from henslowe.storage.env import EnvironmentInfo


@dataclass(frozen=True, slots=True)
class PinnedRead:
    """A read transaction that is open for too long; `site` is known of this process's own."""

    environment: str
    pid: int
    age_s: float
    site: str = ""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Figures of a store: sizes, rows by table, events by stream, what waits, why writes are refused ("" if not)."""

    core: EnvironmentInfo
    cache: EnvironmentInfo | None
    """None while it cannot be opened."""
    capture: CaptureInfo
    rows: dict[str, int]
    events: dict[str, int]
    last_seq: int
    commits_waiting: int
    degraded: str
    ballast: bool
    """Whether space is kept for the moment when the disk is full."""
    pinned: tuple[PinnedRead, ...]
    """Reads that are open for longer than `storage.read_s_max`: the file grows meanwhile."""
    disk_free_bytes: int
