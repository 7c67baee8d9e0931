"""The event store's reading side: pages of events, durable cursors, and who is told of new ones.

    page = store.events.read(after_seq=cursor, types="DEPLOY_*", limit=100)
    cancel = store.events.on_committed(callback)       # called on the loop, after the commit, in order
    await store.events.advance("audit", page[-1].seq)

`EventReader` works in any process and thread; `EventLog` adds what belongs to the node's loop. Writing is
`Transaction.append`, delivery to subscribers is the event bus's.
"""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain, islice
from operator import itemgetter
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict

from henslowe.errors import Corrupt, StorageError
from henslowe.storage import codec, events
from henslowe.storage.env import Environment, Txn
from henslowe.storage.events import STREAMS, Event
from henslowe.storage.keys import SEQ
from henslowe.storage.partitions import Layout, Slot
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec
from henslowe.storage.windows import SEQ_MAX, Window

PAGE_EVENTS: Final = 256
FOLLOW_POLL_S: Final = 0.05
"""How late a follower in another process may be."""

_log = logging.getLogger(__name__)

Listener: TypeAlias = Callable[[tuple[Event, ...]], None]
_Found: TypeAlias = tuple[int, str, bytes]
"""Sequence number, stream, record."""


class CursorRow(BaseModel):
    """How far a named reader has come: everything up to `seq` is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    seq: int


CURSORS: Final = TableSpec(name="cursors", row_type=CursorRow, key="name")


class EventReader:
    """Reads the log. Every call is one short transaction; results are complete in memory and ordered by `seq`."""

    def __init__(self, env: Environment, layout: Layout) -> None:
        self._env = env
        self._layout = layout

    def last_seq(self) -> int:
        """Sequence number of the newest committed event, 0 for none."""
        with self._env.read() as txn:
            return self._layout.last_seq(txn)

    def read(
        self,
        *,
        after_seq: int = 0,
        before_seq: int = SEQ_MAX,
        newest_first: bool = False,
        streams: Iterable[str] = STREAMS,
        types: str | Iterable[str] = (),
        services: str | Iterable[str] = (),
        limit: int = PAGE_EVENTS,
    ) -> list[Event]:
        """At most `limit` events with `after_seq` < seq < `before_seq`.

        Args:
            after_seq: Where a reader is; the first event has 1.
            before_seq: Where a backward reader is.
            newest_first: Read from the newest backwards.
            streams: Only these streams.
            types: Only types that match one of these patterns (as of fnmatch, case-sensitive).
            services: Only events of these services.
            limit: Most events returned.

        Raises:
            Corrupt: A record or an index is damaged.
        """
        window = Window(after_seq, before_seq, newest_first)
        wanted_types, wanted_services = _words(types), _words(services)
        with self._env.read() as txn:
            found = [
                self._stream(txn, stream, window, wanted_types, wanted_services)
                for stream in STREAMS
                if stream in set(streams)
            ]
            merged = heapq.merge(*found, key=itemgetter(0), reverse=newest_first)
            decoded = (_decode(*hit) for hit in merged)
            if wanted_services:
                decoded = (_listed(event, event.service in wanted_services) for event in decoded)
                if wanted_types:
                    decoded = (event for event in decoded if _matches(event.type, wanted_types))
            elif wanted_types:
                decoded = (_listed(event, _matches(event.type, wanted_types)) for event in decoded)
            return list(islice(decoded, limit))

    def scan(self, *, after_seq: int = 0, **filters: Any) -> Iterator[Event]:
        """All events after `after_seq`, page by page: holds no transaction between them."""
        while page := self.read(after_seq=after_seq, **filters):
            yield from page
            after_seq = page[-1].seq

    def follow(
        self, *, after_seq: int = 0, stop: threading.Event | None = None, poll_s: float = FOLLOW_POLL_S, **filters: Any
    ) -> Iterator[Event]:
        """All events after `after_seq`, then those to come as they are committed, by any process, until `stop` is set.

        Blocks between events: it looks every `poll_s` whether there was a commit, which costs a microsecond. Runs in: a
        thread, or a process that does nothing else.

        Raises:
            StorageError: Another data directory was put in this one's place.
        """
        stop = stop or threading.Event()
        place = self._env.inode()
        seen_txn = -1
        while not stop.is_set():
            txn_id = self._env.last_txn_id()
            if txn_id == seen_txn:
                if self._env.inode() != place:
                    raise StorageError(
                        f"cannot follow {self._env.path}: it was replaced by another one", hint="begin again"
                    )
                stop.wait(poll_s)
                continue
            # Looked at before reading: a commit meanwhile is found in the next round.
            seen_txn, head = txn_id, self.last_seq()
            for event in self.scan(after_seq=after_seq, **filters):
                after_seq = event.seq
                yield event
                if stop.is_set():
                    return
            after_seq = max(after_seq, head)

    def get(self, seq: int) -> Event | None:
        """The event with this number, or None if it was never there or was dropped."""
        found = self.read(after_seq=seq - 1, before_seq=seq + 1, limit=1)
        return found[0] if found else None

    def counts(self) -> dict[str, int]:
        """How many events each stream holds."""
        with self._env.read() as txn:
            return {
                stream: sum(
                    txn.stat(db=self._layout.slot(stream, part.slot).log)["entries"]
                    for part in self._layout.partitions(txn, stream)
                )
                for stream in STREAMS
            }

    def _stream(
        self, txn: Txn, stream: str, window: Window, types: Sequence[str], services: Sequence[str]
    ) -> Iterator[_Found]:
        def words(txn: Txn, slot: Slot) -> tuple[Any, Iterable[bytes]]:
            by_type, by_service = slot.indexes
            if services:
                return by_service, [word.encode() for word in services]
            return by_type, _stored_types(txn, by_type, types)

        found = window.records(txn, self._layout, stream, words if types or services else None)
        return ((seq, stream, record) for seq, record in found)


class EventLog(EventReader):
    """The node's own log: reading, durable cursors and listeners. Runs in: the loop."""

    def __init__(
        self,
        env: Environment,
        layout: Layout,
        cursors: Table[CursorRow],
        listeners: list[Listener],
        save: Callable[[CursorRow], Awaitable[object]],
    ) -> None:
        super().__init__(env, layout)
        self.cursors = cursors
        self._listeners = listeners
        self._save = save
        self._damaged: set[str] = set()
        """The cursors of which it was said."""

    def on_committed(self, callback: Listener) -> Callable[[], None]:
        """Calls `callback` on the loop with the new events of each group commit, in order; returns what ends that.

        An exception in it goes to the loop's exception handler; the commit stays acknowledged.
        """
        self._listeners.append(callback)

        def cancel() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return cancel

    def cursor(self, name: str) -> int:
        """How far the reader `name` has come, 0 at first.

        Also 0 if its row is damaged: it gets once more what is still there, which is a reader's risk anyway, and the
        first advance ends the damage.
        """
        return self._position(name, self.cursors.lookup)

    def cursor_to_be(self, name: str) -> int:
        """The same when everything in flight is committed."""
        return self._position(name, self.cursors.latest)

    async def advance(self, name: str, seq: int) -> None:
        """Makes everything up to `seq` done for the reader `name`, durably; never moves back.

        To advance together with the reader's own effect, put a `CursorRow` in that transaction.
        """
        if self.cursor_to_be(name) < seq:
            await self._save(CursorRow(name=name, seq=seq))

    def _position(self, name: str, read: Callable[[str], CursorRow | None]) -> int:
        try:
            row = read(name)
        except Corrupt as error:
            if name not in self._damaged:
                self._damaged.add(name)
                _log.warning("storage.cursor_damaged", extra={"cursor": name, "reason": error.message})
            return 0
        return row.seq if row is not None else 0


def _stored_types(txn: Txn, by_type: Any, patterns: Sequence[str]) -> list[bytes]:
    cursor = txn.cursor(db=by_type)
    words = cursor.iternext_nodup(keys=True, values=False)
    try:
        return [word for word in words if _matches(word.decode(), patterns)]
    except UnicodeDecodeError as error:
        raise Corrupt(f"cannot read an index of the log: {error.object[:60]!r} is no type of an event") from error


def _listed(event: Event, rightly: bool) -> Event:
    if not rightly:
        raise Corrupt(f"cannot read event {event.seq}: an index lists it under another word than its own")
    return event


def _decode(seq: int, stream: str, record: bytes) -> Event:
    return events.decode(stream, seq, codec.unseal(SEQ.pack(seq), record)[1])


def _matches(word: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(word, pattern) for pattern in patterns)


def _words(words: str | Iterable[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(dict.fromkeys(chain(words)))
