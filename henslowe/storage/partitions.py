"""Partitions of the event streams: a fixed ring of sub-databases per stream, filled one after the other.

Retention empties the oldest partition whole, which is some 250 times faster than deleting its events. The ring is
fixed, so that no sub-database is ever created or removed while others read: a reader's snapshot holds the map of
partitions and their content together.

    parts   stream u8 | first sequence u64  ->  slot u16 | time of the first event u64
    e.<stream>.<slot>           sequence u64 -> record
    e.<stream>.<slot>.type      type         -> sequences (sorted duplicates)
    e.<stream>.<slot>.service   service      -> sequences
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from henslowe.storage import codec
from henslowe.storage.env import META, Environment, Txn
from henslowe.storage.events import SCHEMA, STREAMS, EncodedEvent
from henslowe.storage.keys import SEQ

PARTS: Final = "parts"
RING: Final = 16
"""Partitions of a stream with retention: what is kept varies by 1/16 of what is wanted."""

_PART_KEY: Final = struct.Struct(">BQ")
_PART_VALUE: Final = struct.Struct(">HQ")
_LAST_SEQ: Final = b"seq"


@dataclass(frozen=True, slots=True)
class Retention:
    """How much of a stream is kept: at least `events_max` newest events, none longer than `age_s_max` (None: for ever).

    The stream is dropped in sixteenths: an event may outlive both limits until its partition is complete.
    """

    events_max: int
    age_s_max: float | None = None

    @property
    def partition_events(self) -> int:
        """Events after which the next partition begins."""
        return max(1, -(-self.events_max // (RING - 1)))


class Partition(NamedTuple):
    """One filled or filling slot of a stream's ring."""

    first_seq: int
    slot: int
    first_time_ns: int


class Slot(NamedTuple):
    """The sub-databases of one slot."""

    log: Any
    by_type: Any
    by_service: Any


class Layout:
    """The handles of all slots, opened once: LMDB does not let them be opened beside other transactions."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self.open()

    def open(self) -> None:
        """Opens every sub-database, and creates those that are missing."""
        logs = [f"e.{stream}.{number}" for stream in STREAMS for number in range(ring_of(stream))]
        indexes = [f"{log}.{word}" for log in logs for word in ("type", "service")]
        self._env.declare(dict.fromkeys((PARTS, META, *logs), False) | dict.fromkeys(indexes, True))

    def slot(self, stream: str, number: int) -> Slot:
        """The sub-databases of slot `number`."""
        name = f"e.{stream}.{number}"
        db = self._env.db
        return Slot(db(name), db(f"{name}.type", dup=True), db(f"{name}.service", dup=True))

    def partitions(self, txn: Txn, stream: str) -> list[Partition]:
        """The partitions of `stream` that hold events, oldest first.

        Raises:
            Corrupt: An entry of the map is damaged.
        """
        number = STREAMS.index(stream)
        found: list[Partition] = []
        cursor = txn.cursor(db=self._env.db(PARTS))
        more = cursor.set_range(_PART_KEY.pack(number, 0))
        while more:
            key, record = cursor.item()
            owner, first_seq = _PART_KEY.unpack(key)
            if owner != number:
                break
            slot, first_time_ns = _PART_VALUE.unpack(codec.unseal(key, record)[1])
            found.append(Partition(first_seq, slot, first_time_ns))
            more = cursor.next()
        return found

    def last_seq(self, txn: Txn) -> int:
        """Sequence number of the newest event ever appended, 0 for none."""
        value = txn.get(_LAST_SEQ, db=self._env.db(META))
        return 0 if value is None else int(SEQ.unpack(codec.unseal(_LAST_SEQ, value)[1])[0])


class Appender:
    """Writes events into the writer's transaction and keeps the ring.

    Its memory runs ahead of the disk until the commit: after a failed one, call `load`.
    Runs in: the writer alone.
    """

    def __init__(self, env: Environment, layout: Layout, retention: dict[str, Retention]) -> None:
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
            for stream in STREAMS:
                parts = self._parts[stream] = self._layout.partitions(txn, stream)
                log = self._layout.slot(stream, parts[-1].slot).log if parts else None
                self._filled[stream] = txn.stat(db=log)["entries"] if parts else 0

    def append(self, txn: Txn, events: list[EncodedEvent]) -> int:
        """Puts `events` into the log; returns the sequence number of the first, the others follow without a gap."""
        first = seq = self._last_seq + 1
        logs: dict[str, list[tuple[bytes, bytes]]] = {}
        types: dict[str, list[tuple[bytes, bytes]]] = {}
        services: dict[str, list[tuple[bytes, bytes]]] = {}
        newest_ns: dict[str, int] = {}
        for stream, type_key, service_key, time_ns, body in events:
            key = SEQ.pack(seq)
            if stream not in logs:
                logs[stream], types[stream], services[stream] = [], [], []
            logs[stream].append((key, codec.seal(key, SCHEMA, body)))
            types[stream].append((type_key, key))
            if service_key:
                services[stream].append((service_key, key))
            newest_ns[stream] = time_ns
            seq += 1
        for stream, items in logs.items():
            slot = self._slot_for(txn, stream, SEQ.unpack(items[0][0])[0], newest_ns[stream])
            _put_all(txn, slot.log, items, append=True)
            _put_all(txn, slot.by_type, types[stream])
            _put_all(txn, slot.by_service, services[stream])
            self._filled[stream] += len(items)
        self._last_seq = seq - 1
        value = codec.seal(_LAST_SEQ, SCHEMA, SEQ.pack(self._last_seq))
        txn.put(_LAST_SEQ, value, db=self._env.db(META))
        return first

    def _slot_for(self, txn: Txn, stream: str, seq: int, now_ns: int) -> Slot:
        parts = self._parts[stream]
        retention = self._retention.get(stream)
        if retention is not None:
            self._drop_aged(txn, stream, retention, now_ns)
        if parts and (retention is None or self._filled[stream] < retention.partition_events):
            return self._layout.slot(stream, parts[-1].slot)
        used = {part.slot for part in parts}
        if len(used) == ring_of(stream):
            used.remove(self._drop_oldest(txn, stream))
        number = min(set(range(ring_of(stream))) - used)
        key = _PART_KEY.pack(STREAMS.index(stream), seq)
        txn.put(key, codec.seal(key, SCHEMA, _PART_VALUE.pack(number, now_ns)), db=self._env.db(PARTS))
        parts.append(Partition(seq, number, now_ns))
        self._filled[stream] = 0
        return self._layout.slot(stream, number)

    def _drop_aged(self, txn: Txn, stream: str, retention: Retention, now_ns: int) -> None:
        if retention.age_s_max is None:
            return
        oldest_kept_ns = now_ns - int(retention.age_s_max * 1e9)
        parts = self._parts[stream]
        # A partition's events are all older than the first event of the next one.
        while len(parts) > 1 and parts[1].first_time_ns < oldest_kept_ns:
            self._drop_oldest(txn, stream)

    def _drop_oldest(self, txn: Txn, stream: str) -> int:
        part = self._parts[stream].pop(0)
        for db in self._layout.slot(stream, part.slot):
            txn.drop(db, delete=False)
        txn.delete(_PART_KEY.pack(STREAMS.index(stream), part.first_seq), db=self._env.db(PARTS))
        return part.slot


def ring_of(stream: str) -> int:
    """How many slots a stream has; `lifecycle` never drops anything and needs one."""
    return 1 if stream == "lifecycle" else RING


def _put_all(txn: Txn, db: Any, items: list[tuple[bytes, bytes]], *, append: bool = False) -> None:
    if not items:
        return
    with txn.cursor(db=db) as cursor:
        _, added = cursor.putmulti(items, append=append)
    # LMDB skips what is out of order without an error.
    assert added == len(items), f"expected {len(items)} new entries, got {added}"
