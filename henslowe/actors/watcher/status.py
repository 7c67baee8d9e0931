"""What the watcher publishes of itself: frozen values, for the admin API, the console and the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from henslowe.actors.ids import ServiceName


class Mode(StrEnum):
    """How changes are noticed."""

    INOTIFY = "inotify"
    """The kernel tells; scans only confirm."""
    POLLING = "polling"
    """Scans every `watcher.poll_s`: slower, and it costs processor time, but nothing is missed."""


@dataclass(slots=True, frozen=True, order=True)
class Problem:
    """Something that makes watching worse than it should be, until it is healed."""

    kind: str
    service: str
    """"" for the folder of all services."""
    text: str
    hint: str = ""


@dataclass(slots=True, frozen=True)
class WatchedService:
    """One service as the last scan saw it."""

    service: ServiceName
    path: Path
    files: int
    digest: str
    mode: Mode


@dataclass(slots=True, frozen=True)
class WatcherStatus:
    """The watcher at one moment."""

    mode: Mode = Mode.INOTIFY
    """POLLING as soon as one service has to be polled."""
    folders: int = 0
    """Watched folders."""
    services: tuple[WatchedService, ...] = ()
    problems: tuple[Problem, ...] = ()
    scans: int = 0
    """Scans of single services since start."""
    last_scan_s: float = 0.0
    """Unix time."""

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(slots=True)
class WatcherBoard:
    """The holder of the current status: replaced as a whole, read from any thread without a message."""

    current: WatcherStatus = field(default_factory=WatcherStatus)


@dataclass(slots=True, frozen=True)
class ReadStatus:
    """Call to WATCHER. Reply: `WatcherStatus`, after everything that was in its mailbox before."""
