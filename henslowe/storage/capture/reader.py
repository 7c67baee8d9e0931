"""Finding captures: by service, version, method, name and time, newest first, page by page.

    page = reader.read(service="hello", method="tools/call", name="add", limit=50)
    older = reader.read(service="hello", before_seq=page[-1].seq)

Works in any process and thread; every call is one short transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from henslowe.storage import codec
from henslowe.storage.capture import record
from henslowe.storage.capture.record import RINGS, STREAM, Capture, Head
from henslowe.storage.env import Environment, Txn
from henslowe.storage.keys import SEQ
from henslowe.storage.partitions import Layout, Slot
from henslowe.storage.windows import SEQ_MAX, Window

PAGE_CAPTURES: Final = 100
LOOKED_AT_MAX: Final = 200_000
"""Most captures looked at for one page: as many as are kept by default, twice."""


class CaptureReader:
    """Reads what was recorded."""

    def __init__(self, env: Environment, layout: Layout | None = None) -> None:
        self._env = env
        self._layout = layout or Layout(env, RINGS)

    def read(
        self,
        *,
        service: str = "",
        version: int = 0,
        method: str = "",
        name: str = "",
        errors: bool | None = None,
        since_ns: int = 0,
        until_ns: int = SEQ_MAX,
        after_seq: int = 0,
        before_seq: int = SEQ_MAX,
        newest_first: bool = True,
        limit: int = PAGE_CAPTURES,
    ) -> list[Capture]:
        """At most `limit` captures that are all of this; a filter left out lets everything through.

        Args:
            service: Of this service.
            version: Answered by the version of this number.
            method: Of this method.
            name: Of the tool, prompt or resource of this name.
            errors: Only errors, or only what is none.
            since_ns: From this time on, in nanoseconds since 1970.
            until_ns: Before this time.
            after_seq: With a greater number.
            before_seq: With a smaller number: for the next page, that of the last one.
            newest_first: Read from the newest backwards.
            limit: Most captures returned.

        Raises:
            Corrupt: A record is damaged.
        """
        window = Window(after_seq, before_seq, newest_first)
        found: list[Capture] = []
        with self._env.read() as txn:
            for looked_at, head in enumerate(self._heads(txn, window, service, method, name)):
                if len(found) >= limit or looked_at >= LOOKED_AT_MAX:
                    break
                if head.time_ns < since_ns if newest_first else head.time_ns >= until_ns:
                    break  # captures are in the order of their time
                if (
                    since_ns <= head.time_ns < until_ns
                    and service in ("", head.service)
                    and version in (0, head.version)
                    and method in ("", head.method)
                    and name in ("", head.name)
                    and errors in (None, head.is_error)
                ):
                    found.append(head.open())
        return found

    def get(self, seq: int) -> Capture | None:
        """The capture with this number, or None if it was never there or was dropped."""
        found = self.read(after_seq=seq - 1, before_seq=seq + 1, limit=1)
        return found[0] if found else None

    def scan(self, **filters: Any) -> Iterator[Capture]:
        """All captures that `read` would find, oldest first, page by page: holds no transaction between them."""
        after_seq = filters.pop("after_seq", 0)
        while page := self.read(after_seq=after_seq, newest_first=False, **filters):
            yield from page
            after_seq = page[-1].seq

    def count(self) -> int:
        """How many there are."""
        with self._env.read() as txn:
            parts = self._layout.partitions(txn, STREAM)
            return sum(txn.stat(db=self._layout.slot(STREAM, part.slot).log)["entries"] for part in parts)

    def _heads(self, txn: Txn, window: Window, service: str, method: str, name: str) -> Iterator[Head]:
        def words(_txn: Txn, slot: Slot) -> tuple[Any, Iterable[bytes]]:
            by_service, by_subject = slot.indexes
            if method and name:
                return by_subject, [record.subject(service, method, name)]
            return by_service, [service.encode()]

        for seq, sealed in window.records(txn, self._layout, STREAM, words if service else None):
            yield record.decode(seq, codec.unseal(SEQ.pack(seq), sealed)[1])
