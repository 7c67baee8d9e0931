"""The event store's reading side: pages of events, durable cursors, and who is told of new ones.

    page = store.events.read(after_seq=cursor, types="DEPLOY_*", limit=100)
    cancel = store.events.on_committed(callback)       # called on the loop, after the commit, in order
    await store.events.advance("audit", page[-1].seq)

`EventReader` works in any process and thread; `EventLog` adds what belongs to the node's loop. Writing is
`Transaction.append`, delivery to subscribers is the event bus's.
"""

from __future__ import annotations

import heapq
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
from henslowe.storage.partitions import Layout, Partition, Slot
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec

PAGE_EVENTS: Final = 256
FOLLOW_POLL_S: Final = 0.05
"""How late a follower in another process may be."""
SEQ_MAX: Final = (1 << 64) - 1

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
            Corrupt: A record is damaged.
        """
        window = _Window(after_seq, before_seq, newest_first)
        wanted_types, wanted_services = _words(types), _words(services)
        with self._env.read() as txn:
            found = [
                self._stream(txn, stream, window, wanted_types, wanted_services)
                for stream in STREAMS
                if stream in set(streams)
            ]
            merged = heapq.merge(*found, key=itemgetter(0), reverse=newest_first)
            decoded = (_decode(*hit) for hit in merged)
            if wanted_types and wanted_services:
                decoded = (event for event in decoded if _matches(event.type, wanted_types))
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
        self, txn: Txn, stream: str, window: _Window, types: Sequence[str], services: Sequence[str]
    ) -> Iterator[_Found]:
        parts = self._layout.partitions(txn, stream)
        ends = [*(part.first_seq for part in parts[1:]), SEQ_MAX]
        inside = [part for part, end in zip(parts, ends, strict=False) if window.touches(part, end)]
        if window.newest_first:
            inside.reverse()
        for part in inside:
            slot = self._layout.slot(stream, part.slot)
            yield from ((seq, stream, record) for seq, record in _slot(txn, slot, window, types, services))


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
        """How far the reader `name` has come, 0 at first."""
        row = self.cursors.lookup(name)
        return row.seq if row is not None else 0

    async def advance(self, name: str, seq: int) -> None:
        """Makes everything up to `seq` done for the reader `name`, durably; never moves back.

        To advance together with the reader's own effect, put a `CursorRow` in that transaction.
        """
        latest = self.cursors.latest(name)
        if latest is None or latest.seq < seq:
            await self._save(CursorRow(name=name, seq=seq))


class _Window:
    """The numbers strictly between two cursors, and the direction."""

    def __init__(self, after_seq: int, before_seq: int, newest_first: bool) -> None:
        self.first = max(0, after_seq) + 1
        self.end = min(before_seq, SEQ_MAX)
        self.newest_first = newest_first

    def touches(self, part: Partition, part_end: int) -> bool:
        return part.first_seq < self.end and self.first < part_end

    def seqs(self, cursor: Any) -> Iterator[tuple[bytes, bytes]]:
        """Items of a sub-database keyed by sequence number."""
        if self.newest_first:
            placed = cursor.prev() if cursor.set_range(SEQ.pack(self.end)) else cursor.last()
            items = cursor.iterprev() if placed else iter(())
            for key, value in items:
                if SEQ.unpack(key)[0] < self.first:
                    return
                yield key, value
            return
        for key, value in cursor.iternext() if cursor.set_range(SEQ.pack(self.first)) else iter(()):
            if SEQ.unpack(key)[0] >= self.end:
                return
            yield key, value

    def duplicates(self, cursor: Any, word: bytes) -> Iterator[bytes]:
        """Sequence numbers that an index lists under `word`."""
        if self.newest_first:
            if cursor.set_range_dup(word, SEQ.pack(self.end)):
                more = cursor.prev_dup()
            else:
                more = cursor.set_key(word) and cursor.last_dup()
            while more and SEQ.unpack(cursor.value())[0] >= self.first:
                yield cursor.value()
                more = cursor.prev_dup()
            return
        more = cursor.set_range_dup(word, SEQ.pack(self.first))
        while more and SEQ.unpack(cursor.value())[0] < self.end:
            yield cursor.value()
            more = cursor.next_dup()


def _slot(
    txn: Txn, slot: Slot, window: _Window, types: Sequence[str], services: Sequence[str]
) -> Iterator[tuple[int, bytes]]:
    if not types and not services:
        for key, record in window.seqs(txn.cursor(db=slot.log)):
            yield SEQ.unpack(key)[0], record
        return
    by_type, by_service = slot.indexes
    index = by_service if services else by_type
    words = [word.encode() for word in services] if services else _stored_types(txn, by_type, types)
    lists = [window.duplicates(txn.cursor(db=index), word) for word in words]
    for key in heapq.merge(*lists, reverse=window.newest_first):
        record = txn.get(key, db=slot.log)
        if record is None:
            raise Corrupt(f"cannot read event {SEQ.unpack(key)[0]}: an index names it, the log does not have it")
        yield SEQ.unpack(key)[0], record


def _stored_types(txn: Txn, by_type: Any, patterns: Sequence[str]) -> list[bytes]:
    cursor = txn.cursor(db=by_type)
    words = cursor.iternext_nodup(keys=True, values=False)
    return [word for word in words if _matches(word.decode(), patterns)]


def _decode(seq: int, stream: str, record: bytes) -> Event:
    return events.decode(stream, seq, codec.unseal(SEQ.pack(seq), record)[1])


def _matches(word: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(word, pattern) for pattern in patterns)


def _words(words: str | Iterable[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(dict.fromkeys(chain(words)))
