"""What was sent on event streams of the handshake era, so that a client that lost its connection loses nothing else.

Each stream has a name of its own, and each event in it a number; the id of an event is both. A client that comes back
with the last id it saw is sent what came after it, on the same stream and no other. Streams are kept in memory and, a
moment later, in a durable table: one that is done and was sent within that moment never costs a write. Bounded per
stream in number, per session and altogether in bytes, and in age: what goes first is the oldest.

Source: MCP 2025-11-25, basic/transports, resumability and redelivery.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.replay.rows import ReplayRow

FLUSH_S: Final = 0.1
"""From an event to its row."""
SWEEP_S: Final = 10.0
REQUEST_CHARS_MAX: Final = 64 * 1024
"""Longest request that is kept to be made again after a restart of the node."""
STREAMS_MAX: Final = 64
"""Streams of one session; the oldest goes first."""
_ID_CHARS_MAX: Final = 200


class ReplayLimits(Protocol):
    """What is read of the settings."""

    @property
    def replay_s(self) -> float:
        """How long events are kept."""
        ...

    @property
    def replay_events_max(self) -> int:
        """Most per stream."""
        ...

    @property
    def replay_session_bytes_max(self) -> int:
        """Most bytes per session."""
        ...

    @property
    def replay_bytes_max(self) -> int:
        """Most bytes altogether."""
        ...


class ReplayStore(Protocol):
    """Where events outlive the node."""

    def rows(self) -> Iterable[ReplayRow]:
        """What the last life of the node left, in order."""
        ...

    def change(self, added: list[JsonObject], dropped: list[tuple[str, str]]) -> None:
        """Keep rows and forget streams; nobody waits for it."""
        ...


class NoReplayStore:
    """Where nothing outlives the process."""

    def rows(self) -> Iterable[ReplayRow]:
        """Nothing."""
        return ()

    def change(self, added: list[JsonObject], dropped: list[tuple[str, str]]) -> None:
        """Nothing to do."""


class EventId(NamedTuple):
    """The id of an event, as clients bring it back."""

    stream: str
    number: int
    note: str = ""
    """What the stream's owner wants to know when it comes back."""

    def __str__(self) -> str:
        return f"{self.stream}.{self.number}.{self.note}" if self.note else f"{self.stream}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> EventId | None:
        """The id, or None for what is none of ours."""
        stream, _, rest = text[:_ID_CHARS_MAX].partition(".")
        number, _, note = rest.partition(".")
        if not stream or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        return cls(stream, int(number), note)


@dataclass(slots=True, eq=False)
class ReplayStream:
    """The events of one stream that can still be asked for."""

    session: str
    name: str
    request: JsonObject | None
    """What it answers; None for a change stream."""
    used_s: float
    complete: bool = False
    """Its answer is among the events: no more will come."""
    live: bool = True
    """Somebody is at it; False for what a node that died left incomplete."""
    sent: bool = False
    """The complete stream was written to a connection that held."""
    stored: bool = False
    number: int = 0
    size: int = 0
    """Bytes of its events."""
    events: deque[tuple[int, bytes]] = field(default_factory=deque)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def id(self, number: int | None = None, note: str = "") -> str:
        """The id of an event, by default of the last one."""
        return str(EventId(self.name, self.number if number is None else number, note))

    def since(self, number: int) -> list[tuple[int, bytes]]:
        """The events after this one."""
        return [event for event in self.events if event[0] > number]

    async def grown(self, timeout_s: float) -> None:
        """Return at the next event, or after `timeout_s`."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await asyncio.wait([future], timeout=timeout_s)
        if not future.done():
            self._waiting.remove(future)

    def wake(self) -> None:
        """Let whoever waits look again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class ReplayLog:
    """All streams that can still be asked for. Runs in: the node's loop.

    Args:
        store: Where they outlive the node.
        limits: How much, and how long.
        alive: Whether a session is still open.
        clock: Unix seconds.
    """

    def __init__(
        self,
        store: ReplayStore,
        limits: ReplayLimits,
        alive: Callable[[str], bool],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._limits = limits
        self._alive = alive
        self._clock = clock
        self._of: dict[str, dict[str, ReplayStream]] = {}
        self._size = 0
        self._fresh: dict[ReplayStream, list[JsonObject]] = {}
        self._dropped: list[tuple[str, str]] = []
        self._flushing: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    @property
    def enabled(self) -> bool:
        """Whether anything is kept."""
        return self._limits.replay_s > 0

    @property
    def size(self) -> int:
        """Bytes of all events kept."""
        return self._size

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    def of(self, session: str) -> tuple[ReplayStream, ...]:
        """The streams of a session."""
        return tuple(self._of.get(session, {}).values())

    def recover(self) -> None:
        """Take up what the last life of the node left."""
        for row in self._store.rows():
            stream = self._of.setdefault(row.session, {}).get(row.stream)
            if stream is None:
                stream = self._of[row.session][row.stream] = ReplayStream(
                    row.session, row.stream, row.request, row.time_s, live=False, stored=True
                )
            if row.number:
                self._hold(stream, row.number, row.message, row.time_s)
                stream.complete = stream.complete or row.last
        if self._of:
            self._sweep()

    def open(self, session: str, request: JsonObject | None) -> ReplayStream:
        """A new stream of a session; `request` is what it answers."""
        streams = self._of.setdefault(session, {})
        while len(streams) >= STREAMS_MAX:
            self._drop(min(streams.values(), key=lambda stream: stream.used_s))
            streams = self._of.setdefault(session, {})
        kept = request if request is not None and len(repr(request)) <= REQUEST_CHARS_MAX else None
        name = secrets.token_hex(6)
        stream = streams[name] = ReplayStream(session, name, kept, self._clock())
        self._row(stream, number=0, request=kept)
        if self._sweeping is None:
            self._sweep()
        return stream

    def append(self, stream: ReplayStream, message: bytes, *, last: bool = False) -> None:
        """Keep one more event, which has the stream's last number then."""
        stream.complete = stream.complete or last
        if self._of.get(stream.session, {}).get(stream.name) is not stream:
            stream.number += 1  # it was forgotten meanwhile
        else:
            self._hold(stream, stream.number + 1, message, self._clock())
            if len(message) <= self._limits.replay_session_bytes_max:
                self._row(stream, number=stream.number, message=message, last=last)
            self._make_room(stream)
        stream.wake()

    def touch(self, stream: ReplayStream) -> None:
        """Somebody still listens to it."""
        stream.used_s = self._clock()

    def done(self, stream: ReplayStream) -> None:
        """All of a complete stream was written to its client: it is kept in memory for a while, but not stored."""
        stream.sent = True
        if not stream.stored:
            self._fresh.pop(stream, None)

    def find(self, session: str, text: str) -> tuple[ReplayStream, EventId] | None:
        """The stream that an event id of this session belongs to."""
        event_id = EventId.parse(text)
        stream = None if event_id is None else self._of.get(session, {}).get(event_id.stream)
        if stream is None or event_id is None:
            return None
        stream.used_s = self._clock()
        return stream, event_id

    def end_session(self, session: str) -> None:
        """Forget a session's streams."""
        for stream in list(self._of.get(session, {}).values()):
            self._drop(stream)

    def close(self) -> None:
        """Write what is to be written, and stop. Idempotent."""
        for timer in (self._flushing, self._sweeping):
            if timer is not None:
                timer.cancel()
        self._flush()
        self._sweeping = None

    # -- bounds ----------------

    def _hold(self, stream: ReplayStream, number: int, message: bytes, now_s: float) -> None:
        stream.events.append((number, message))
        stream.number, stream.used_s = number, now_s
        stream.size += len(message)
        self._size += len(message)

    def _make_room(self, stream: ReplayStream) -> None:
        """Forget the oldest events of this stream, then the oldest streams, until everything is within its bounds."""
        limits = self._limits
        while len(stream.events) > limits.replay_events_max:
            self._shed(stream)
        streams = self._of[stream.session]
        while (
            sum(each.size for each in streams.values()) > limits.replay_session_bytes_max
            or self._size > limits.replay_bytes_max
        ):
            others = [each for each in streams.values() if each is not stream and each.complete]
            if others:
                self._drop(min(others, key=lambda each: each.used_s))
            elif len(stream.events) > 1:
                self._shed(stream)
            else:
                break  # one great answer: its client gets it, and it goes with its stream

    def _shed(self, stream: ReplayStream) -> None:
        _, message = stream.events.popleft()
        stream.size -= len(message)
        self._size -= len(message)

    def _drop(self, stream: ReplayStream) -> None:
        streams = self._of.get(stream.session, {})
        if streams.pop(stream.name, None) is None:
            return
        if not streams:
            del self._of[stream.session]
        self._size -= stream.size
        self._fresh.pop(stream, None)
        if stream.stored:
            self._dropped.append((stream.session, stream.name))
            self._flush_soon()

    def _sweep(self) -> None:
        """Forget what is too old, or whose session is over."""
        horizon_s = self._clock() - self._limits.replay_s
        for session, streams in list(self._of.items()):
            over = not self._alive(session)
            for stream in [each for each in streams.values() if over or each.used_s < horizon_s]:
                if over or stream.complete or not stream.live or stream.request is None:
                    self._drop(stream)
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(SWEEP_S, self._sweep) if self._of else None

    # -- rows ----------------

    def _row(self, stream: ReplayStream, **fields: Any) -> None:
        row = {"session": stream.session, "stream": stream.name, "time_s": self._clock(), **fields}
        self._fresh.setdefault(stream, []).append(row)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        fresh, self._fresh = self._fresh, {}
        dropped, self._dropped = self._dropped, []
        added = []
        for stream, rows in fresh.items():
            if len(stream.events) or stream.stored:  # one without events has nothing to be asked for
                stream.stored = True
                added += rows
            else:
                self._fresh[stream] = rows
        if added or dropped:
            self._store.change(added, dropped)
