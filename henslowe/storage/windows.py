"""Reading a ring of partitions between two sequence numbers, in either direction.

Not here: what a record holds (`eventlog`, `capture`), and writing (`partitions`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias

from henslowe.errors import Corrupt
from henslowe.storage.env import Txn
from henslowe.storage.keys import SEQ, seq_of
from henslowe.storage.partitions import Layout, Partition, Slot

SEQ_MAX: Final = (1 << 64) - 1

Words: TypeAlias = Callable[[Txn, Slot], tuple[Any, Iterable[bytes]]]
"""Which index of a slot to use, and the words to look up there."""


class Window:
    """The numbers strictly between two cursors, and the direction."""

    def __init__(self, after_seq: int, before_seq: int, newest_first: bool) -> None:
        self.first = max(0, after_seq) + 1
        self.end = min(before_seq, SEQ_MAX)
        self.newest_first = newest_first

    def records(self, txn: Txn, layout: Layout, stream: str, words: Words | None = None) -> Iterator[tuple[int, bytes]]:
        """Numbers and records of a stream, all of them or those that an index lists under `words`.

        Raises:
            Corrupt: An index names a record that is not there, or is out of order.
        """
        parts = layout.partitions(txn, stream)
        ends = [*(part.first_seq for part in parts[1:]), SEQ_MAX]
        inside = [part for part, end in zip(parts, ends, strict=False) if self._touches(part, end)]
        if self.newest_first:
            inside.reverse()
        for part in inside:
            slot = layout.slot(stream, part.slot)
            if words is None:
                for key, record in self._all(txn.cursor(db=slot.log)):
                    yield seq_of(key), record
            else:
                yield from self._listed(txn, slot, *words(txn, slot))

    def _touches(self, part: Partition, part_end: int) -> bool:
        return part.first_seq < self.end and self.first < part_end

    def _listed(self, txn: Txn, slot: Slot, index: Any, words: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        lists = [self._duplicates(txn.cursor(db=index), word) for word in words]
        for key in heapq.merge(*lists, reverse=self.newest_first):
            record = txn.get(key, db=slot.log)
            if record is None:
                raise Corrupt(f"cannot read event {seq_of(key)}: an index names it, the log does not have it")
            yield seq_of(key), record

    def _all(self, cursor: Any) -> Iterator[tuple[bytes, bytes]]:
        """Items of a sub-database keyed by sequence number."""
        if self.newest_first:
            placed = cursor.prev() if cursor.set_range(SEQ.pack(self.end)) else cursor.last()
            items = cursor.iterprev() if placed else iter(())
            for key, value in items:
                if seq_of(key) < self.first:
                    return
                yield key, value
            return
        for key, value in cursor.iternext() if cursor.set_range(SEQ.pack(self.first)) else iter(()):
            if seq_of(key) >= self.end:
                return
            yield key, value

    def _duplicates(self, cursor: Any, word: bytes) -> Iterator[bytes]:
        """Sequence numbers that an index lists under `word`."""
        if self.newest_first:
            if cursor.set_range_dup(word, SEQ.pack(self.end)):
                more = cursor.prev_dup()
            else:
                more = cursor.set_key(word) and cursor.last_dup()
            last = SEQ_MAX
            while more and (seq := seq_of(cursor.value())) >= self.first:
                _refuse_disorder(seq < last, word)
                last = seq
                yield cursor.value()
                more = cursor.prev_dup()
            return
        more, last = cursor.set_range_dup(word, SEQ.pack(self.first)), 0
        while more and (seq := seq_of(cursor.value())) < self.end:
            _refuse_disorder(seq > last, word)
            last = seq
            yield cursor.value()
            more = cursor.next_dup()


def _refuse_disorder(sound: bool, word: bytes) -> None:
    # Entries have no checksum: a damaged one shows in that it is out of order, or names what is not so.
    if not sound:
        raise Corrupt(f"cannot read an index of the log: its entries under {word!r:.60} are out of order")
