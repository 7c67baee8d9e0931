"""What a decision is kept with beside its numbers: the calls that failed, and what the version printed last.

Both are looked for once, when a version is taken back: whoever reads the event a week later has nothing else.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

from henslowe.actors.ids import VersionKey
from henslowe.actors.routes import CallRecord
from henslowe.actors.vocabulary import EventType, Stream
from henslowe.errors import Corrupt
from henslowe.storage import Store

CALLS_MAX: Final = 10
"""Failing calls kept, the last ones."""
ERROR_CHARS: Final = 500
LINES_MAX: Final = 40
"""Lines of output kept, the last ones."""
LINES_LOOKED_AT: Final = 200
LINE_CHARS: Final = 300


@dataclass(slots=True)
class FailingCalls:
    """The last calls of the version on trial that failed."""

    _calls: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=CALLS_MAX))

    def add(self, record: CallRecord) -> None:
        """One that failed."""
        self._calls.append(record)

    def clear(self) -> None:
        """Another trial begins."""
        self._calls.clear()

    def told(self) -> list[dict[str, Any]]:
        """As the event has them, oldest first."""
        return [
            {
                "time_s": round(call.time_s, 3),
                "tool": call.tool,
                "outcome": call.outcome.value,
                "latency_ms": round(call.latency_s * 1000, 1),
                "error": call.error[:ERROR_CHARS],
                "instance": call.instance,
                "by": call.principal,
            }
            for call in self._calls
        ]


def log_tail(store: Store, version: VersionKey) -> list[str]:
    """The last lines that a version's instances printed, oldest first; none where the log cannot be read."""
    try:
        newest = store.events.read(
            services=version.service,
            streams=(Stream.OUTPUT.value,),
            types=EventType.INSTANCE_OUTPUT.value,
            newest_first=True,
            limit=LINES_LOOKED_AT,
        )
    except Corrupt:
        return []
    said = (str(event.data.get("line", "")).rstrip() for event in newest if event.version == version.number)
    return [line[:LINE_CHARS] for line in said if line][:LINES_MAX][::-1]
