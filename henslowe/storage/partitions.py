"""Partitions of a log's streams: a fixed ring of sub-databases per stream, filled one after the other.

Retention empties the oldest partition whole, which is some 250 times faster than deleting its events. The ring is
fixed, so that no sub-database is ever created or removed while others read: a reader's snapshot holds the map of
partitions and their content together.

    parts   stream u8 | first sequence u64  ->  slot u16 | time of the first event u64
    e.<stream>.<slot>           sequence u64 -> record
    e.<stream>.<slot>.<index>   word         -> sequences (sorted duplicates); events have `type` and `service`
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from henslowe.errors import Corrupt
from henslowe.storage import codec
from henslowe.storage.env import Environment, Txn
from henslowe.storage.env_files import META
from henslowe.storage.keys import SEQ

SCHEMA: Final = 1
"""Of the map of partitions and of the records in them."""

PARTS: Final = "parts"
RING: Final = 16
"""Partitions of a stream with retention: what is kept varies by 1/16 of what is wanted."""

_PART_KEY: Final = struct.Struct(">BQ")
_PART_VALUE: Final = struct.Struct(">HQ")
_LAST_SEQ: Final = b"seq"
_DROPPED: Final = b"dropped/"
"""Begins the key, in `meta`, of the first number that a stream still has: what is missing below it was dropped."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a stream is kept: at least the `events_max` newest, if they fit into the other two limits.

    What is dropped is a partition, about a fifteenth of the stream; so much may exceed `events_max` and `age_s_max`.

    Attributes:
        events_max: So many events are kept.
        age_s_max: Older ones are not; None for no limit.
        bytes_max: More than these bytes of pages are not, indexes included and the newest batch left out of account;
            None for no limit.
    """

    events_max: int
    age_s_max: float | None = None
    bytes_max: int | None = None

    def is_full(self, events: int, size_bytes: int, span_s: float) -> bool:
        """Whether a partition with so much in it is followed by the next one."""
        return (
            events >= -(-self.events_max // (RING - 1))
            or (self.bytes_max is not None and size_bytes >= self.bytes_max // RING)
            or (self.age_s_max is not None and span_s > self.partition_s)
        )

    @property
    def partition_s(self) -> float:
        """The longest time that a partition takes events, where there is a limit of age."""
        return (self.age_s_max or 0.0) / (RING - 1)


@dataclass(frozen=True, slots=True)
class Ring:
    """A stream's partitions: how many there are, and the indexes that each has."""

    slots: int
    indexes: tuple[str, ...]


Rings: TypeAlias = Mapping[str, Ring]
"""The streams of a log, in the order of their numbers on disk."""


Loggable: TypeAlias = tuple[str, tuple[bytes, ...], int, bytes]
"""What can be appended: stream, a word for each index of the stream (b"" for none), time in ns, body."""


class Partition(NamedTuple):
    """One filled or filling slot of a stream's ring."""

    first_seq: int
    slot: int
    first_time_ns: int


class Slot(NamedTuple):
    """The sub-databases of one slot."""

    log: Any
    indexes: tuple[Any, ...]
    """In the order of the ring's."""


class Layout:
    """The handles of all slots, opened once: LMDB does not let them be opened beside other transactions."""

    def __init__(self, env: Environment, rings: Rings) -> None:
        self._env = env
        self.rings = rings
        self._numbers = {stream: number for number, stream in enumerate(rings)}
        self.open()

    def open(self) -> None:
        """Opens every sub-database, and creates those that are missing."""
        logs, indexes = [], []
        for stream, ring in self.rings.items():
            names = [f"e.{stream}.{number}" for number in range(ring.slots)]
            logs += names
            indexes += [f"{name}.{index}" for name in names for index in ring.indexes]
        self._env.declare(dict.fromkeys((PARTS, META, *logs), False) | dict.fromkeys(indexes, True))

    def slot(self, stream: str, number: int) -> Slot:
        """The sub-databases of slot `number`."""
        name = f"e.{stream}.{number}"
        db = self._env.db
        return Slot(db(name), tuple(db(f"{name}.{index}", dup=True) for index in self.rings[stream].indexes))

    def number(self, stream: str) -> int:
        """The stream's number on disk."""
        return self._numbers[stream]

    def partitions(self, txn: Txn, stream: str) -> list[Partition]:
        """The partitions of `stream` that hold events, oldest first.

        Raises:
            Corrupt: An entry of the map is damaged.
        """
        number = self._numbers[stream]
        found: list[Partition] = []
        cursor = txn.cursor(db=self._env.db(PARTS))
        more = cursor.set_range(_PART_KEY.pack(number, 0))
        while more:
            key, record = cursor.item()
            if len(key) != _PART_KEY.size:
                raise Corrupt(f"cannot read the map of partitions: {key!r:.40} is no entry of it")
            owner, first_seq = _PART_KEY.unpack(key)
            if owner != number:
                break
            slot, first_time_ns = _PART_VALUE.unpack(codec.unseal(key, record)[1])
            found.append(Partition(first_seq, slot, first_time_ns))
            more = cursor.next()
        return found

    def check(self) -> None:
        """Returns only if the map is that of the partitions: what it does not name would silently not be read.

        Raises:
            Corrupt: An entry is damaged or missing, or there are events behind the newest one.
        """
        with self._env.read() as txn:
            mapped: set[tuple[int, int]] = set()
            for key, record in txn.cursor(db=self._env.db(PARTS)):
                body = codec.unseal(key, record)[1]
                if len(key) != _PART_KEY.size or len(body) != _PART_VALUE.size:
                    raise Corrupt(f"cannot read the map of partitions: {key!r:.40} is no entry of it")
                mapped.add((_PART_KEY.unpack(key)[0], _PART_VALUE.unpack(body)[0]))
            last_seq = self.last_seq(txn)
            for stream, ring in self.rings.items():
                for number in range(ring.slots):
                    cursor = txn.cursor(db=self.slot(stream, number).log)
                    if not cursor.last():
                        continue
                    if (self._numbers[stream], number) not in mapped:
                        raise Corrupt(f"cannot read the map of partitions: it lacks one of {stream!r} that has events")
                    if cursor.key() > SEQ.pack(last_seq):
                        raise Corrupt(f"cannot read the log: {stream!r} goes on behind its newest event, {last_seq}")

    def last_seq(self, txn: Txn) -> int:
        """Sequence number of the newest event ever appended, 0 for none."""
        value = txn.get(_LAST_SEQ, db=self._env.db(META))
        return 0 if value is None else int(SEQ.unpack(codec.unseal(_LAST_SEQ, value)[1])[0])

    def dropped_before(self, txn: Txn, stream: str) -> int:
        """Retention dropped events of `stream` below this number; 0 if it never dropped any.

        Raises:
            Corrupt: The note is damaged.
        """
        key = _DROPPED + stream.encode()
        value = txn.get(key, db=self._env.db(META))
        return 0 if value is None else int(SEQ.unpack(codec.unseal(key, value)[1])[0])


class Appender:
    """Writes events into the writer's transaction and keeps the ring.

    Its memory runs ahead of the disk until the commit: after a failed one, call `load`.
    Runs in: the writer alone.
    """

    def __init__(self, env: Environment, layout: Layout, retention: Mapping[str, Retention]) -> None:
        self._env = env
        self._layout = layout
        self._retention = retention
        self._last_seq = 0
        self._parts: dict[str, list[Partition]] = {}
        self._filled: dict[str, int] = {}

    def load(self) -> None:
        """Makes memory what the disk says."""
        with self._env.read() as txn:
            self._last_seq = self._layout.last_seq(txn)
            for stream in self._layout.rings:
                parts = self._parts[stream] = self._layout.partitions(txn, stream)
                log = self._layout.slot(stream, parts[-1].slot).log if parts else None
                self._filled[stream] = txn.stat(db=log)["entries"] if parts else 0

    def append(self, txn: Txn, events: Sequence[Loggable]) -> int:
        """Puts `events` into the log; returns the sequence number of the first, the others follow without a gap."""
        first = self._last_seq + 1
        numbered: dict[str, list[tuple[int, Loggable]]] = {}
        for seq, event in enumerate(events, first):
            numbered.setdefault(event[0], []).append((seq, event))
        for stream, own in numbered.items():
            (first_seq, _), (_, newest) = own[0], own[-1]
            slot = self._slot_for(txn, stream, first_seq, newest[2])
            items = codec.seal_all(((SEQ.pack(seq), event[3]) for seq, event in own), SCHEMA)
            _append_all(txn, slot.log, items)
            for at, index in enumerate(slot.indexes):
                words = (event[1][at] if event[1] else b"" for _, event in own)
                _append_all(txn, index, [(word, key) for word, (key, _) in zip(words, items, strict=True) if word])
            self._filled[stream] += len(items)
        self._last_seq = first + len(events) - 1
        value = codec.seal(_LAST_SEQ, SCHEMA, SEQ.pack(self._last_seq))
        txn.put(_LAST_SEQ, value, db=self._env.db(META))
        return first

    def expire(self, txn: Txn, now_ns: int) -> int:
        """Drops what is too old now, though nothing is appended; returns how many partitions that were."""
        return sum(
            self._drop_aged(txn, stream, retention, now_ns, also_newest=True)
            for stream, retention in self._retention.items()
        )

    def _slot_for(self, txn: Txn, stream: str, seq: int, now_ns: int) -> Slot:
        retention = self._retention.get(stream)
        if retention is not None:
            self._drop_aged(txn, stream, retention, now_ns)
        parts = self._parts[stream]
        if parts:
            slot = self._layout.slot(stream, parts[-1].slot)
            if retention is None or not self._is_full(txn, stream, slot, retention, now_ns):
                return slot
        used = {part.slot for part in parts}
        slots = self._layout.rings[stream].slots
        if len(used) == slots:
            used.remove(self._drop_oldest(txn, stream))
        number = min(set(range(slots)) - used)
        key = _PART_KEY.pack(self._layout.number(stream), seq)
        txn.put(key, codec.seal(key, SCHEMA, _PART_VALUE.pack(number, now_ns)), db=self._env.db(PARTS))
        parts.append(Partition(seq, number, now_ns))
        self._filled[stream] = 0
        return self._layout.slot(stream, number)

    def _is_full(self, txn: Txn, stream: str, slot: Slot, retention: Retention, now_ns: int) -> bool:
        size_bytes = 0 if retention.bytes_max is None else sum(_size_bytes(txn, db) for db in (slot.log, *slot.indexes))
        span_s = (now_ns - self._parts[stream][-1].first_time_ns) / 1e9
        return retention.is_full(self._filled[stream], size_bytes, span_s)

    def _drop_aged(self, txn: Txn, stream: str, retention: Retention, now_ns: int, *, also_newest: bool = False) -> int:
        if retention.age_s_max is None:
            return 0
        oldest_kept_ns = now_ns - int(retention.age_s_max * 1e9)
        parts = self._parts[stream]
        dropped = 0
        while len(parts) > 1 or (parts and also_newest):
            # A partition takes events for so long, and none that is younger than the first of the next one.
            ends_ns = [parts[0].first_time_ns + int(retention.partition_s * 1e9)]
            ends_ns += [part.first_time_ns for part in parts[1:2]]
            if min(ends_ns) >= oldest_kept_ns:
                break
            self._drop_oldest(txn, stream)
            dropped += 1
        return dropped

    def _drop_oldest(self, txn: Txn, stream: str) -> int:
        part = self._parts[stream].pop(0)
        slot = self._layout.slot(stream, part.slot)
        for db in (slot.log, *slot.indexes):
            txn.drop(db, delete=False)
        txn.delete(_PART_KEY.pack(self._layout.number(stream), part.first_seq), db=self._env.db(PARTS))
        left = self._parts[stream]
        key = _DROPPED + stream.encode()
        kept_from = SEQ.pack(left[0].first_seq if left else self._last_seq + 1)
        txn.put(key, codec.seal(key, SCHEMA, kept_from), db=self._env.db(META))
        return part.slot


def _size_bytes(txn: Txn, db: Any) -> int:
    facts = txn.stat(db=db)
    pages = facts["branch_pages"] + facts["leaf_pages"] + facts["overflow_pages"]
    return int(pages * facts["psize"])


def _append_all(txn: Txn, db: Any, items: list[tuple[bytes, bytes]]) -> None:
    """Puts items that are greater than what is there: in a log by key, in an index by value under each key."""
    if not items:
        return
    with txn.cursor(db=db) as cursor:
        # Appended pages are filled whole, where inserting would leave them half empty.
        _, added = cursor.putmulti(items, append=True)
    # LMDB skips what is out of order without an error.
    assert added == len(items), f"expected {len(items)} new entries, got {added}"
