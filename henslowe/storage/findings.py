"""What a check of stored data can find, and what it says while it goes on. Data and no more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

RESTORE: Final = "henslowe storage restore BACKUP --force puts a backup in its place"

_DISPENSABLE: Final = {
    "cache": "stop the node and remove the folder cache/: all in it can be fetched again",
    "capture": "stop the node and remove the folder capture/: recorded traffic is lost, nothing else",
}


def hint_for(space: str) -> str:
    """What to do about damage of an environment."""
    return _DISPENSABLE.get(space, RESTORE)


class FindingKind(StrEnum):
    """What is wrong."""

    STRUCTURE = "structure"
    """Pages of an environment do not fit together."""
    RECORD = "record"
    """A record's checksum does not match, or its content cannot be decoded."""
    INDEX = "index"
    """An index and its log disagree."""
    LOG = "log"
    """Events are missing, or lie where they do not belong."""
    BUILD = "build"
    """A build's manifest is damaged or missing."""
    OBJECT = "object"
    """An archived file is damaged or missing."""
    ROWS = "rows"
    """Rows are not what their history says."""
    QUARANTINED = "quarantined"
    """A damaged row was moved aside and waits for a decision."""
    CRASH = "crash"
    """The process that read it died of it: damaged pages."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, where, and what can be done."""

    kind: FindingKind
    place: str
    """`core/t.versions`, `archive/objects/ab/ab12...`."""
    message: str
    hint: str = ""
    versions: tuple[str, ...] = ()
    """Versions (`hello@3`) that need what is damaged, if known."""
    key: str = ""
    """Of a record: its key in hex."""

    def as_dict(self) -> dict[str, Any]:
        """JSON-serialisable, additive."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """The finding that `as_dict` gave."""
        fields = {name: value[name] for name in ("place", "message", "hint", "key") if name in value}
        return cls(FindingKind(value["kind"]), versions=tuple(value.get("versions", ())), **fields)


@dataclass(slots=True)
class Progress:
    """Counts what a check looks at, tells where it is, and keeps it from reading faster than `rate_bytes_s`.

    Args:
        tell: Called with the place and the key in it, at every page.
        rate_bytes_s: 0 for no limit.
    """

    tell: Callable[[str, bytes], None] = lambda _place, _key: None
    rate_bytes_s: float = 0.0
    size_bytes: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    _ahead_s: float = 0.0
    _looked_s: float = 0.0

    def begin(self, place: str) -> None:
        """The next thing to be read is `place`: whoever dies now died of it."""
        self.tell(place, b"")

    def passed(self, place: str, key: bytes, size_bytes: int, *, count: str, number: int = 1) -> None:
        """`number` things of the kind `count` were read, up to `key` of `place`; waits if that was too fast."""
        self.size_bytes += size_bytes
        self.counts[count] = self.counts.get(count, 0) + number
        self.tell(place, key)
        if self.rate_bytes_s <= 0:
            return
        now_s = self.now()
        # A debt of reading that time pays off; time in which nothing was read is not saved up.
        self._ahead_s = max(0.0, self._ahead_s - (now_s - self._looked_s)) + size_bytes / self.rate_bytes_s
        self._looked_s = now_s
        if self._ahead_s > _PAUSE_MIN_S:
            self.sleep(self._ahead_s)


_PAUSE_MIN_S: Final = 0.01
"""Shorter pauses are saved up: the clock of a sleep is not finer."""
