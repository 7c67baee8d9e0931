"""One subscription as a pure state machine: what was delivered, what was confirmed, and what to read next.

The bus keeps no queue per subscriber. A subscription remembers a position in the log and the sequence numbers that are
delivered but not confirmed, at most `window` of them. While it is caught up, new events go out from memory; when the
window is full, new events only move the head, and are read from the log once there is room again. So a subscriber that
is slow costs a few integers, whatever is published meanwhile.

Not here: reading the log, sending, saving cursors, and time. The actor does what these functions return
(`henslowe.actors.bus.event_bus`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import translate
from typing import Final, NamedTuple, Protocol, TypeVar

READ_MAX: Final = 256
"""Most events read in one step of catching up: one short transaction, and fair among subscribers."""


class LogEntry(Protocol):
    """What is looked at of an event; `henslowe.storage.Event` is one."""

    @property
    def seq(self) -> int:
        """Sequence number over all streams."""
        ...

    @property
    def stream(self) -> str:
        """Which of the logs it is in."""
        ...

    @property
    def type(self) -> str:
        """A word of the vocabulary."""
        ...

    @property
    def service(self) -> str:
        """Empty where it concerns none."""
        ...


Entry = TypeVar("Entry", bound=LogEntry)


@dataclass(slots=True, frozen=True)
class Filter:
    """Which events a subscription wants; empty `types` or `services` mean all. Agrees with `EventReader.read`."""

    streams: tuple[str, ...]
    types: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    _type_pattern: re.Pattern[str] | None = None

    @classmethod
    def of(cls, streams: Sequence[str], types: Sequence[str], services: Sequence[str]) -> Filter:
        """A filter whose type patterns (as of fnmatch, case-sensitive) are compiled to one expression."""
        pattern = re.compile("|".join(translate(text) for text in types)) if types else None
        return cls(tuple(streams), tuple(types), tuple(services), pattern)

    def wants(self, event: LogEntry) -> bool:
        """Whether the event belongs to the subscription."""
        return (
            event.stream in self.streams
            and (not self.services or event.service in self.services)
            and (self._type_pattern is None or self._type_pattern.match(event.type) is not None)
        )


class Read(NamedTuple):
    """What to read of the log: at most `limit` wanted events with `after_seq` < seq < `before_seq`."""

    after_seq: int
    before_seq: int
    limit: int


@dataclass(slots=True, frozen=True)
class Progress:
    """How far one subscriber is.

    Invariants: `unconfirmed` ascends, has at most `window` items, all at most `position`; `position <= head`.
    """

    window: int
    position: int
    """Last sequence number that was considered: delivered, or not wanted."""
    head: int
    """Last sequence number known to be in the log."""
    unconfirmed: tuple[int, ...] = ()
    """Delivered and not yet confirmed."""

    @property
    def room(self) -> int:
        """How many more events may be delivered now."""
        return self.window - len(self.unconfirmed)

    @property
    def caught_up(self) -> bool:
        """Whether new events may be taken from memory."""
        return self.position == self.head

    @property
    def cursor(self) -> int:
        """Where a durable subscription resumes: before the first unconfirmed event, past all that was not wanted."""
        return self.unconfirmed[0] - 1 if self.unconfirmed else self.position


def opened(*, after: int, head: int, window: int) -> Progress:
    """A subscriber that has everything up to `after`, or up to the log's end when that is a restored, older one."""
    return Progress(window=window, position=min(after, head), head=head)


def committed(state: Progress, wanted: Filter, events: Sequence[Entry]) -> tuple[Progress, tuple[Entry, ...]]:
    """New events are in the log: the state after it, and what to deliver from memory.

    `events` are all events of a commit, not empty, in order. Events that the state knows already are ignored.
    """
    if not state.caught_up or events[0].seq > state.head + 1:
        return replace(state, head=max(state.head, events[-1].seq)), ()
    state = replace(state, head=max(state.head, events[-1].seq))
    fresh = tuple(event for event in events if event.seq > state.position and wanted.wants(event))
    position = state.head if len(fresh) <= state.room else fresh[state.room].seq - 1
    return _delivered(state, fresh[: state.room], position)


def next_read(state: Progress) -> Read | None:
    """What to read to catch up, or None: nothing is missing, or the subscriber has to confirm first."""
    if state.caught_up or state.room <= 0:
        return None
    return Read(state.position, state.head + 1, min(state.room, READ_MAX))


def was_read(state: Progress, read: Read, events: Sequence[Entry]) -> tuple[Progress, tuple[Entry, ...]]:
    """The answer to `next_read`: the state after it, and what to deliver.

    Fewer events than the limit mean that the log has no more of them before `read.before_seq`.
    """
    position = events[-1].seq if len(events) == read.limit else read.before_seq - 1
    return _delivered(state, tuple(events), position)


def confirmed(state: Progress, seq: int) -> Progress:
    """The subscriber is done with everything up to `seq`; older and unknown numbers change nothing."""
    return replace(state, unconfirmed=tuple(sent for sent in state.unconfirmed if sent > seq))


def _delivered(state: Progress, events: tuple[Entry, ...], position: int) -> tuple[Progress, tuple[Entry, ...]]:
    unconfirmed = (*state.unconfirmed, *(event.seq for event in events))
    return replace(state, position=position, unconfirmed=unconfirmed), events
