"""The queue between the loop and the writer: commits go there, acknowledgements come back, one wake-up per batch.

Order is everything here. Commits are applied, published to readers and acknowledged in the order of their submission.
When one fails, all that were submitted before the loop learned of it fail too: their guards were checked against rows
that will never be. The *generation* counts these failures.

A writer may be killed between any two steps, and its thread goes on until it is back from the disk: `writing` lets its
successor in only then. A batch stays in the queue until it was handed back, and the next writer asks the disk what
became of it: stored, it is acknowledged; not stored, it is committed like any other.

`CommitQueue.submit` and what it schedules run in the loop; `CommitQueue.run_once` runs in the writer.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from henslowe.errors import LimitReached, StorageDegraded, StorageError
from henslowe.storage import events
from henslowe.storage.cells import Op, TableBase
from henslowe.storage.events import EncodedEvent, Event
from henslowe.storage.keys import Key

BATCH_COMMITS_MAX: Final = 1_000
"""Most commits in one write to disk: bounds the pause of an acknowledgement, and of other threads."""

Place: TypeAlias = tuple[TableBase[Any, Any], Key]


class Committed:
    """What a transaction became: the numbers of its events, and the events themselves."""

    __slots__ = ("_encoded", "_events", "first_seq")

    def __init__(self, first_seq: int, encoded: Sequence[EncodedEvent]) -> None:
        self.first_seq = first_seq
        """Sequence number of the first event, 0 if there is none; the others follow without a gap."""
        self._encoded = encoded
        self._events: tuple[Event, ...] | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """The stored events, as a reader of the log gets them."""
        if self._events is None:
            # Decoded when asked for: most who append do not look.
            self._events = tuple(
                events.decode(one.stream, self.first_seq + at, one.body) for at, one in enumerate(self._encoded)
            )
        return self._events


@dataclass(slots=True, eq=False)
class Commit:
    """One transaction on its way: changes of the disk, events, and what readers will see under which key."""

    ops: list[Op]
    events: list[EncodedEvent]
    cells: dict[Place, Any]
    number: int = 0
    generation: int = 0
    first_seq: int = 0
    expire_ns: int = 0
    """Not 0 to drop the events that are too old at this time."""
    settled: bool = False
    """Whether the loop has published or refused it: it may be handed back twice."""
    acknowledged: asyncio.Future[Committed] = field(init=False)


class BatchCommitter(Protocol):
    """Makes a batch durable, in order, and sets every commit's `first_seq`; all of it or nothing."""

    def commit(self, batch: Sequence[Commit]) -> None:
        """Raises: StorageDegraded when nothing was stored and the next batch may try; else the writer crashes."""
        ...

    def stored(self, batch: Sequence[Commit]) -> bool:
        """Whether the disk has this batch, the last one that was begun."""
        ...


class CommitQueue:
    """Commits waiting for the writer, at most `commits_max`. It outlives the writer: a restarted one goes on."""

    def __init__(self, *, commits_max: int, batch_max: int = BATCH_COMMITS_MAX) -> None:
        self._commits_max = commits_max
        self._batch_max = batch_max
        self._waiting: deque[Commit] = deque()
        self.writing = threading.Lock()
        """Held by the one writer that works."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Callable[[], None] | None = None
        self._woken = False
        self._closed = False
        self._number = 0
        self._generation = 0
        self._failed: tuple[int, StorageError | None] = (-1, None)
        """The last generation that failed, and why."""
        self._in_hand: list[Commit] = []
        """The batch that the writer began last."""
        self._done = 0
        """Number of the last commit that was handed back."""
        self.tables: list[TableBase[Any, Any]] = []
        self.listeners: list[Callable[[tuple[Event, ...]], None]] = []
        self.failures: list[Callable[[StorageError], None]] = []
        """Called in the loop when a batch was refused."""

    def __len__(self) -> int:
        return len(self._waiting)

    # -- in the loop ----------------

    def refuse_when_full(self) -> None:
        """Returns only if a commit can be submitted.

        Raises:
            LimitReached: As many commits wait as may.
            StorageError: The store is closed.
        """
        if self._closed:
            raise StorageError("cannot commit: the store is closed")
        if len(self._waiting) >= self._commits_max:
            raise LimitReached(
                f"cannot commit: {len(self._waiting)} transactions wait for the disk",
                hint="write less, or raise storage.writer_queue",
            )

    def submit(self, commit: Commit) -> asyncio.Future[Committed]:
        """Sends `commit` to the writer; the future is its acknowledgement, in order with all others."""
        self.refuse_when_full()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._number > 0 and self._loop is not None and not self._loop.is_closed():
                raise StorageError("cannot commit: the store belongs to another event loop")
            self._loop = loop
        self._number += 1
        commit.number = self._number
        commit.generation = self._generation
        commit.acknowledged = loop.create_future()
        for (table, key), cell in commit.cells.items():
            table._hold(key, cell, commit.number)
        self._waiting.append(commit)
        if not self._woken:
            self._woken = True
            if self._wake is not None:
                self._wake()
        return commit.acknowledged

    def rest(self) -> bool:
        """Whether nothing waits; then the next commit wakes the writer."""
        if not self._waiting:
            self._woken = False
        return not self._waiting

    def close(self) -> None:
        """Refuses commits from now on and fails those that no writer took."""
        self._closed = True
        error = StorageError("cannot commit: the store is closed")
        self._drop_done()
        while self._waiting:
            commit = self._waiting.popleft()
            if not commit.acknowledged.done() and not commit.acknowledged.get_loop().is_closed():
                commit.acknowledged.set_exception(error)

    # -- in the writer ----------------

    def attach(self, wake: Callable[[], None]) -> None:
        """Makes `wake` (called in the loop) what tells the writer that commits wait; calls it once now."""
        self._wake = wake
        self._woken = True
        wake()

    def detach(self) -> None:
        """No writer: commits wait until the next `attach`."""
        self._wake = None

    def run_once(self, committer: BatchCommitter) -> bool:
        """Commits what waits, at most one batch; whether more does."""
        with self.writing:
            return self._run_once(committer)

    def _run_once(self, committer: BatchCommitter) -> bool:
        # First, so that a commit arriving while the queue is being emptied wakes the writer again.
        self._woken = False
        if self._in_hand and self._in_hand[-1].number > self._done and committer.stored(self._in_hand):
            self._hand_back(self._in_hand, None)
        self._drop_done()
        taken = [self._waiting[at] for at in range(min(self._batch_max, len(self._waiting)))]
        failed, why = self._failed
        stale = [commit for commit in taken if commit.generation <= failed]
        batch = taken[len(stale) :]
        if stale:
            self._hand_back(stale, why)
        if batch:
            self._in_hand = batch
            try:
                committer.commit(batch)
            except StorageDegraded as error:
                self._fail(batch, error)
            except Exception:
                self._fail(batch, StorageDegraded("cannot commit: the writer crashed"))
                raise
            else:
                self._hand_back(batch, None)
        self._drop_done()
        return bool(self._waiting)

    def _fail(self, batch: list[Commit], failure: StorageError) -> None:
        self._failed = (batch[-1].generation, failure)
        self._hand_back(batch, failure)

    def _drop_done(self) -> None:
        while self._waiting and self._waiting[0].number <= self._done:
            self._waiting.popleft()

    def _hand_back(self, batch: list[Commit], failure: StorageError | None) -> None:
        assert self._loop is not None
        # A loop that ended has nobody left who waits.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle, batch, failure)
        self._done = batch[-1].number

    # -- in the loop, after the batch ----------------

    def _settle(self, batch: list[Commit], failure: StorageError | None) -> None:
        if batch[-1].settled:
            return
        for commit in batch:
            commit.settled = True
        if failure is not None:
            self._refuse(batch, failure)
            return
        results = [Committed(commit.first_seq, commit.events) for commit in batch]
        for commit in batch:
            for (table, key), cell in commit.cells.items():
                table._publish(key, cell, commit.number)
        if self.listeners:
            # Scheduled before the acknowledgements: whoever awaited the commit finds the listeners informed.
            appended = tuple(event for result in results for event in result.events)
            for listener in tuple(self.listeners) if appended else ():
                asyncio.get_running_loop().call_soon(listener, appended)
        for commit, result in zip(batch, results, strict=True):
            if not commit.acknowledged.done():
                commit.acknowledged.set_result(result)

    def _refuse(self, batch: list[Commit], failure: StorageError) -> None:
        if self._generation == batch[-1].generation:
            # Everything in flight was submitted in this generation: it fails with this batch or right after it.
            self._generation += 1
            for table in self.tables:
                table._forget_flight()
        for commit in batch:
            if not commit.acknowledged.done():
                commit.acknowledged.set_exception(type(failure)(failure.message, hint=failure.hint, **failure.details))
        for listener in tuple(self.failures):
            listener(failure)
