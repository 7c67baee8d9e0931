"""The one writer of an environment: group commit, and what happens when the disk refuses.

`Committer` is the mechanism (any thread, one at a time), `WriterActor` the thread actor that runs it: it takes what
is queued, makes it one LMDB transaction, and hands the whole batch back with one wake-up of the loop.

When a commit fails, LMDB may refuse everything until it is reopened, and the commit may even have reached the disk. So
the committer reopens the environment and looks for the mark that the transaction left with its changes: if the disk
has it, the batch is acknowledged after all. (The numbers of LMDB's transactions tell nothing: those of aborted ones
return, and opening a table takes one, too.) A full
disk gives up its ballast once; after that writes are refused (`StorageDegraded`) and tried again with every batch,
until space returns. An environment that cannot be reopened crashes the actor, and the supervisor decides.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import lmdb

from henslowe.actors.kernel import LoopActor, ThreadActor, is_clean
from henslowe.errors import StorageDegraded, StorageError
from henslowe.storage import codec, filesystem, keys
from henslowe.storage.ballast import Ballast
from henslowe.storage.commits import Commit, CommitQueue
from henslowe.storage.env import Environment, Txn
from henslowe.storage.env_files import META
from henslowe.storage.migrations.forms import WHOLE
from henslowe.storage.partitions import Appender, Loggable

_MARK: Final = b"mark"
"""Under it: what tells the last transaction of a committer from all others, of this life and earlier ones."""
_LIFE_BYTES: Final = 8
_NEARLY_FULL_BYTES: Final = 4 << 20
"""Less free space than this explains an I/O error: LMDB writes at most some megabytes at once."""


_log = logging.getLogger(__name__)


class Committer:
    """Applies batches to one environment; all of a batch or nothing. Runs in: the writer."""

    def __init__(self, env: Environment, appender: Appender | None, ballast: Ballast | None) -> None:
        self._env = env
        self._appender = appender
        self._ballast = ballast
        self.degraded: str = ""
        """Why the last batch was refused, "" when it was not. Any thread may look."""
        self.full = False
        """Whether it was refused for want of space."""
        self._life = os.urandom(_LIFE_BYTES)
        self._number = 0
        """How many transactions were begun."""
        self._begun: Sequence[Commit] = ()
        """The batch of the last one."""

    def commit(self, batch: Sequence[Commit]) -> None:
        """Makes `batch` durable, in order.

        Raises:
            StorageDegraded: The disk refused; nothing of the batch is stored.
            StorageError: The environment could not be opened again: the writer is of no use until it is restarted.
        """
        if any(commit.ops or commit.events or commit.expire_ns for commit in batch):
            self._write(lambda txn: self._apply(txn, batch), batch)

    def append(self, entries: Sequence[Loggable]) -> None:
        """Makes `entries` of a log durable that nobody waits for. Raises as `commit`."""
        appender = self._appender
        assert appender is not None, "expected an environment with a log"
        self._write(lambda txn: appender.append(txn, entries) > 0, ())

    def expire(self, now_ns: int) -> int:
        """Drops the events that are too old at `now_ns`; returns how many partitions that were. Raises as `commit`."""
        dropped = 0

        def drop(txn: Txn) -> bool:
            nonlocal dropped
            dropped = self._appender.expire(txn, now_ns) if self._appender is not None else 0
            return dropped > 0

        self._write(drop, ())
        return dropped

    def _write(self, apply: Callable[[Txn], bool], batch: Sequence[Commit]) -> None:
        if self._env.closed:
            self.recover()
        error = self._attempt(apply, batch)
        full = error is not None and self._is_full(error)
        if full and self._ballast is not None and self._ballast.drop():
            error = self._attempt(apply, batch)
        if error is None:
            self.degraded = ""
            return
        self.full = full
        self.degraded = os.strerror(errno.ENOSPC) if full else str(error)
        raise StorageDegraded(
            f"cannot commit: {self.degraded}",
            hint="free space on the disk of the data directory" if full else "look at the disk's health",
        ) from error

    def stored(self, batch: Sequence[Commit]) -> bool:
        """Whether the disk has `batch`, if it is the last one that was begun: for the successor of a killed writer."""
        if self._begun is not batch:
            return False
        if self._env.closed:
            self.recover()
        return self._marked()

    def recover(self) -> None:
        """Brings the memory of the writer in line with the disk, after a failure or a restart."""
        if self._env.closed:
            self._env.reopen()
        if self._appender is not None:
            self._appender.load()

    def _attempt(self, apply: Callable[[Txn], bool], batch: Sequence[Commit]) -> Exception | None:
        """Tries once; returns what prevented it, after which the environment is usable again.

        `apply` says whether it changed anything: if not, nothing is written.
        """
        with self._env.turn:
            # Before anything is tried: a mark of an earlier transaction must not pass for this one's.
            self._number += 1
            self._begun = batch
            begun = False
            try:
                self._env.dispel()
                txn = self._begin()
                begun = True
                try:
                    if apply(txn):
                        self._leave_mark(txn)
                    txn.commit()
                except BaseException:
                    with suppress(lmdb.Error):
                        txn.abort()
                    raise
            except (lmdb.Error, OSError, StorageError) as error:
                self._env.doubt()
                self._env.reopen()
                stored = begun and self._marked()
                if stored:
                    self._settle()
                self.recover()
                return None if stored else error
            return None

    def _leave_mark(self, txn: Txn) -> None:
        txn.put(_MARK, self._mark(), db=self._env.db(META))

    def _mark(self) -> bytes:
        return codec.seal(_MARK, 1, self._life + keys.SEQ.pack(self._number))

    def _marked(self) -> bool:
        """Whether the disk has the transaction that was begun last."""
        with self._env.read() as txn:
            return bool(txn.get(_MARK, db=self._env.db(META)) == self._mark())

    def _settle(self) -> None:
        """Makes sure of a commit that is seen, though an error came with it.

        Its content was flushed before its root was written, but the flush of the root may be what failed: then the
        root is in the kernel's cache alone, and no later flush writes it. The root of another commit holds it too.

        Raises:
            StorageError: The disk refused that one.
        """
        with self._env.write() as txn:
            self._leave_mark(txn)

    def _begin(self) -> Txn:
        try:
            return self._env.begin()
        except lmdb.Error:
            # Another's failure, as of opening a table, left LMDB refusing everything; of this batch nothing was tried.
            self._env.reopen()
            self.recover()
            return self._env.begin()

    def _is_full(self, error: Exception) -> bool:
        if isinstance(error, lmdb.MapFullError):
            return True
        source = error.__cause__ or error
        code = getattr(source, "code", getattr(source, "errno", None))
        # The write that meets the end of the disk may be cut short, which LMDB reports as an I/O error.
        short = code == errno.EIO and filesystem.free_bytes(self._env.path) < _NEARLY_FULL_BYTES
        return short or code in (errno.ENOSPC, errno.EDQUOT)

    def _apply(self, txn: Txn, batch: Sequence[Commit]) -> bool:
        # Each key once, with its last record. Besides the work saved: LMDB keeps a long value's pages for a short one
        # put over it in the same transaction, which its offline verifier takes for damage.
        final: dict[tuple[str, bytes], bytes | None] = {}
        for commit in batch:
            for name, key, record in commit.ops:
                if key == WHOLE:
                    final = {place: kept for place, kept in final.items() if place[0] != name}
                final[name, key] = record
        for (name, key), record in final.items():
            if key == WHOLE:
                txn.drop(self._env.db(name), delete=False)
            elif record is None:
                txn.delete(key, db=self._env.db(name))
            else:
                txn.put(key, record, db=self._env.db(name))
        dropped = 0
        for commit in batch:
            if commit.expire_ns and self._appender is not None:
                dropped += self._appender.expire(txn, commit.expire_ns)
        appended = [event for commit in batch for event in commit.events]
        if not appended:
            return bool(final or dropped)
        assert self._appender is not None, "expected an environment with an event log"
        seq = self._appender.append(txn, appended)
        for commit in batch:
            if commit.events:
                commit.first_seq = seq
                seq += len(commit.events)
        return True


class WriterActor(ThreadActor):
    """Runs a committer in a thread of its own, woken by the queue. Restarting it loses no commit that waits."""

    def __init__(self, queue: CommitQueue, committer: Committer) -> None:
        super().__init__()
        self._queue = queue
        self._committer = committer

    def init(self) -> None:
        """Reads where the log ends and asks the queue for work."""
        with self._queue.writing:
            self._committer.recover()
        ref = self.ref
        self._queue.attach(lambda: ref.cast(_WORK))

    def handle_cast(self, message: object) -> None:
        """Commits one batch; between batches the mailbox has its turn."""
        if message is _WORK and self._queue.run_once(self._committer):
            self.ref.cast(_WORK)

    def terminate(self, reason: object) -> None:
        """Commits what still waits, unless this is a crash: then the next writer does."""
        self._queue.detach()
        while is_clean(reason) and self._queue.run_once(self._committer):
            pass


class OnDemandWriterActor(LoopActor):
    """Runs a committer in a borrowed thread while commits wait: for environments that are seldom written."""

    def __init__(self, queue: CommitQueue, committer: Committer) -> None:
        super().__init__()
        self._queue = queue
        self._committer = committer

    def init(self) -> None:
        """Asks the queue for work; nothing is read before there is some."""
        ref = self.ref
        self._queue.attach(lambda: ref.cast(_WORK))

    async def handle_cast(self, message: object) -> None:
        """Commits one batch; between batches the mailbox has its turn."""
        if message is _WORK and not self._queue.rest() and await asyncio.to_thread(self._work):
            self.ref.cast(_WORK)

    async def terminate(self, reason: object) -> None:
        """Commits what still waits, unless this is a crash: then the next writer does."""
        self._queue.detach()
        while is_clean(reason) and self._queue and await asyncio.to_thread(self._work):
            pass

    def _work(self) -> bool:
        try:
            return self._queue.run_once(self._committer)
        except StorageError as error:
            # The batch was refused, and the next one opens the environment again: nobody else need crash for it.
            _log.warning("storage.not_written", extra={"reason": error.message})
            return False


_WORK: Final = "commits wait"
