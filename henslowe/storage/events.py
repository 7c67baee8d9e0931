"""Events as data: what an actor drafts, what the store gives back, and their form on disk.

The vocabulary of types and statuses is `henslowe.actors.vocabulary`'s; here they are plain text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from henslowe.errors import Corrupt, LimitReached, StorageError
from henslowe.storage import codec
from henslowe.storage.partitions import RING, Ring, Rings

INDEXES: Final = ("type", "service")
RINGS: Final[Rings] = {"lifecycle": Ring(1, INDEXES), "activity": Ring(RING, INDEXES), "output": Ring(RING, INDEXES)}
"""Only `lifecycle` is kept for ever: it never drops anything and needs one partition."""
STREAMS: Final = tuple(RINGS)
EVENT_BYTES_MAX: Final = 1 << 20
WORD_BYTES_MAX: Final = 255
"""Longest type and service: they are keys of an index."""


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event that is not in the log yet; the writer gives it its sequence number.

    `service` is "" and `version` 0 where the event concerns none.
    """

    stream: str
    type: str
    status: str
    service: str = ""
    version: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """A committed event. (`node`, `incarnation`, `seq`) is its identity; `seq` counts all streams of one node.

    `time_ns` is the wall clock at commit, `hlc` a hybrid logical clock that orders events of several nodes.
    """

    seq: int
    stream: str
    node: str
    incarnation: int
    time_ns: int
    hlc: int
    type: str
    status: str
    service: str
    version: int
    data: Mapping[str, Any]


class EncodedEvent(NamedTuple):
    """A draft on its way to the writer: its type and service for the indexes, and the body of its record."""

    stream: str
    words: tuple[bytes, bytes]
    time_ns: int
    body: bytes


def encode(draft: EventDraft, *, node: str, incarnation: int, time_ns: int, hlc: int) -> EncodedEvent:
    """The draft as the writer stores it.

    Raises:
        StorageError: Unknown stream, no type, or data that cannot be encoded.
        LimitReached: A word of more than 255 bytes, or an event of more than 1 MiB.
    """
    if draft.stream not in STREAMS:
        raise StorageError(f"expected a stream of {', '.join(STREAMS)}, got {draft.stream!r}")
    type_key, service_key = draft.type.encode(), draft.service.encode()
    if not type_key:
        raise StorageError("expected an event with a type, got an empty one")
    if len(type_key) > WORD_BYTES_MAX or len(service_key) > WORD_BYTES_MAX:
        raise LimitReached(
            f"cannot append event {draft.type:.40}: type and service have at most {WORD_BYTES_MAX} bytes"
        )
    body = codec.encode(
        (node, incarnation, time_ns, hlc, draft.type, draft.status, draft.service, draft.version, draft.data)
    )
    if len(body) > EVENT_BYTES_MAX:
        raise LimitReached(
            f"cannot append event {draft.type}: expected at most {EVENT_BYTES_MAX} bytes, got {len(body)}",
            hint="put the content into the archive and its digest into the event",
        )
    return EncodedEvent(draft.stream, (type_key, service_key), time_ns, body)


def decode(stream: str, seq: int, body: bytes) -> Event:
    """The event of a record's body.

    Raises:
        Corrupt: The body is not that of an event.
    """
    try:
        node, incarnation, time_ns, hlc, type_, status, service, version, data = codec.decode(body)
    except (TypeError, ValueError) as error:
        raise Corrupt(f"cannot decode event {seq}: {error}") from error
    return Event(seq, stream, node, incarnation, time_ns, hlc, type_, status, service, version, data)
