"""One call to say that something happened: what most actors need of the event bus.

`say` is fire and forget (durable within milliseconds, lost if the node dies before). State transitions do not use it:
they commit their events together with their rows.
"""

from __future__ import annotations

from typing import Any

from henslowe.actors import names
from henslowe.actors.ids import VersionKey
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Publish
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.storage import EventDraft


def draft(
    event_type: EventType,
    status: Status,
    *,
    service: str = "",
    version: int = 0,
    key: VersionKey | None = None,
    stream: Stream = Stream.ACTIVITY,
    **data: Any,
) -> EventDraft:
    """An event in the fixed vocabulary, not yet in the log; `key` gives service and version at once."""
    if key is not None:
        service, version = key
    return EventDraft(stream.value, event_type.value, status.value, service, version, data)


def say(event_type: EventType, status: Status, **fields: Any) -> None:
    """Publish one event (see `draft` for the fields); never blocks, never fails."""
    registry.via(names.BUS).cast(Publish((draft(event_type, status, **fields),)))
