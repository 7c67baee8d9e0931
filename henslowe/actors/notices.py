"""Storage's notices as events: what storage tells on its own becomes part of the log, once the log can be written.

While the disk refuses writes nothing can be logged: that it did is said together with its end. Health, metrics and the
node's own log tell it at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from henslowe.actors.journal import say
from henslowe.actors.vocabulary import EventType, Status
from henslowe.storage.notices import Notice, NoticeKind, Notices


def say_notices(notices: Notices) -> Callable[[], None]:
    """Makes an event of each notice from now on; returns what ends that. Runs in: the loop."""
    return notices.listen(_Sayer().told)


class _Sayer:
    """Remembers the beginning of what cannot be said before its end."""

    def __init__(self) -> None:
        self._degraded: dict[str, Any] | None = None

    def told(self, notice: Notice) -> None:
        data = dict(notice.data)
        match notice.kind:
            case NoticeKind.DEGRADED:
                self._degraded = {**data, "since_s": round(time.time(), 3)}
            case NoticeKind.RECOVERED:
                if self._degraded is not None:
                    say(EventType.STORAGE_DEGRADED, Status.DEGRADED, **self._degraded)
                self._degraded = None
                say(EventType.STORAGE_RECOVERED, Status.HEALTHY, **data)
            case NoticeKind.BALLAST_DROPPED:
                say(EventType.STORAGE_FULL, Status.DEGRADED, **data)
            case NoticeKind.READ_PINNED:
                say(EventType.STORAGE_READ_PINNED, Status.DEGRADED, **data)
            case NoticeKind.CAPTURES_DROPPED | NoticeKind.CAPTURES_LOST:
                say(EventType.CAPTURE_DROPPED, Status.DEGRADED, **data)
            case NoticeKind.DAMAGED:
                say(EventType.STORAGE_DAMAGED, Status.FAILED, **data)
            case NoticeKind.HEALED:
                say(EventType.STORAGE_HEALED, Status.SUCCESS, **data)
            case NoticeKind.QUARANTINED:
                say(EventType.ROW_QUARANTINED, Status.DEGRADED, **data)
            case NoticeKind.SCRUBBED:
                status = Status.DEGRADED if data["findings"] else Status.SUCCESS
                say(EventType.STORAGE_SCRUBBED, status, **data)
            case NoticeKind.BALLAST_LAID | NoticeKind.READERS_FREED:
                pass  # the log of the node has it, and nobody acts on it
