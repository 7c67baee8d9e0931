"""What storage has to tell on its own: that writes are refused or taken again, that a read is forgotten, what was lost.

A notice is told once, when it begins or ends. Storage knows no event bus: whoever composes the node makes events of
notices.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias


class NoticeKind(StrEnum):
    """What happened, and what is said with it."""

    DEGRADED = "degraded"
    """The disk refuses writes. `cause`."""
    RECOVERED = "recovered"
    """It takes them again. `cause`, `lasted_s`, `full` (whether there was no space)."""
    BALLAST_DROPPED = "ballast_dropped"
    """The disk was full, and the space kept for this was given up. `free_bytes`."""
    BALLAST_LAID = "ballast_laid"
    """That space is kept again."""
    READ_PINNED = "read_pinned"
    """A read transaction is open for too long. `environment`, `pid` (0 for this process), `age_s`, `thread_name`,
    `site`."""
    READERS_FREED = "readers_freed"
    """Slots of processes that died were freed. `environment`, `count`."""
    CAPTURES_DROPPED = "captures_dropped"
    """Exchanges came faster than they could be recorded. `count`, since the last time this was said."""
    CAPTURES_LOST = "captures_lost"
    """What was recorded in earlier lives was damaged and thrown away. `reason`."""
    DAMAGED = "damaged"
    """Something stored is not what was written. `damage` (its kind), `place`, `problem`, `hint`, `versions`."""
    HEALED = "healed"
    """Damage was put right. `place`, `problem`, `source`."""
    QUARANTINED = "quarantined"
    """A damaged row is moved aside and waits for a decision. `table`, `row` (its key), `problem`, `id`."""
    SCRUBBED = "scrubbed"
    """Everything was read once. `findings`, `healed`, `size_bytes`, `took_s`, `counts`."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One of them."""

    kind: NoticeKind
    data: Mapping[str, Any] = field(default_factory=dict)


Told: TypeAlias = Callable[[Notice], None]
_WARNINGS = frozenset(NoticeKind) - {
    NoticeKind.RECOVERED,
    NoticeKind.BALLAST_LAID,
    NoticeKind.READERS_FREED,
    NoticeKind.SCRUBBED,
}

_log = logging.getLogger(__name__)


class Notices:
    """Tells whoever listens, and the log. Runs in: the loop."""

    def __init__(self) -> None:
        self._listeners: list[Told] = []

    def listen(self, told: Told) -> Callable[[], None]:
        """Calls `told` with each notice from now on; returns what ends that."""
        self._listeners.append(told)
        return lambda: self._listeners.remove(told) if told in self._listeners else None

    def tell(self, kind: NoticeKind, **data: Any) -> None:
        """Tells one."""
        level = logging.WARNING if kind in _WARNINGS else logging.INFO
        _log.log(level, "storage.%s", kind, extra=data)
        for listener in tuple(self._listeners):
            listener(Notice(kind, data))
