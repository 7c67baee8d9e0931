"""The keeper: looks after the environments while a node runs, so that nobody has to.

Every few seconds, and at once when a commit was refused:

- while writes are refused, it tries one of its own, so that a node whose disk has space again recovers by itself;
- it lays the ballast again when there is room;
- it names reads that are open for too long, and frees the slots of readers that died;
- it drops events that are too old, once an hour.

Not here: how a commit fails and is tried (`writer`), and what becomes of what the keeper says (`notices`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from henslowe.actors.kernel import LoopActor
from henslowe.errors import HensloweError, StorageError
from henslowe.storage import codec, filesystem
from henslowe.storage.ballast import BALLAST_BYTES, Ballast
from henslowe.storage.capture import Captures
from henslowe.storage.commits import Commit, CommitQueue
from henslowe.storage.env import Environment
from henslowe.storage.env_files import META
from henslowe.storage.notices import NoticeKind, Notices
from henslowe.storage.writer import Committer

LOOK_S: Final = 5.0
LOOK_DEGRADED_S: Final = 1.0
EXPIRE_S: Final = 3_600.0
PROBE_FREE_BYTES: Final = 4 * BALLAST_BYTES
"""A full disk is tried again from here on: the last page may fit where the next commit does not."""
_PROBE: Final = b"probe"
"""The key, in `meta`, of what a probe writes: the time."""

LOOK: Final = "look"
"""Call to the keeper: look now. Reply: None, when everything was looked at."""
_TICK: Final = "time to look"
_REFUSED: Final = "a commit was refused"


@dataclass(frozen=True, slots=True)
class Kept:
    """What the keeper looks after."""

    queue: CommitQueue
    committer: Committer
    ballast: Ballast
    environments: Callable[[], Iterable[tuple[str, Environment]]]
    """Those that are open, by name."""
    captures: Captures
    notices: Notices
    pinned_s: float
    """A read that is open for longer is told."""


class KeeperActor(LoopActor):
    """Looks, and tells what changed since the last look."""

    def __init__(self, kept: Kept, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._kept = kept
        self._monotonic = monotonic
        self._cause = ""
        self._since_s = 0.0
        self._pinned: set[tuple[str, int, int]] = set()
        self._dropped = 0
        self._lost = ""
        self._expired_s = monotonic()
        self._ballast = kept.ballast.laid

    def init(self) -> None:
        """Looks from now on, and whenever a commit is refused."""
        ref, failures = self.ref, self._kept.queue.failures

        def refused(_error: StorageError) -> None:
            ref.cast(_REFUSED)

        failures.append(refused)
        # Also after a kill, when `terminate` does not run.
        ref.watch(lambda *_: failures.remove(refused))
        self._timer = self.send_after(LOOK_S, _TICK)

    async def handle_call(self, message: object, _sender: object) -> None:
        """Looks at once."""
        if message == LOOK:
            await self._look()

    def handle_cast(self, message: object) -> None:
        """Tells at once what a refused commit means."""
        if message == _REFUSED:
            self._tell_health()
            self._timer.cancel()
            self._timer = self.send_after(LOOK_DEGRADED_S, _TICK)

    async def handle_info(self, message: object) -> None:
        """Looks around, and again later."""
        if message != _TICK:
            return
        try:
            await self._look()
        finally:
            self._timer = self.send_after(LOOK_DEGRADED_S if self._kept.committer.degraded else LOOK_S, _TICK)

    async def _look(self) -> None:
        kept = self._kept
        if kept.committer.degraded and self._may_fit():
            await self._commit(Commit([(META, _PROBE, codec.seal(_PROBE, 1, codec.encode(time.time_ns())))], [], {}))
        self._tell_health()
        if not kept.ballast.laid and not kept.committer.degraded:
            await asyncio.to_thread(kept.ballast.lay)
        self._tell_ballast()
        for name, environment in kept.environments():
            with suppress(StorageError):  # closed, or being opened again
                self._tell_reads(name, environment)
        self._tell_captures()
        if self._monotonic() - self._expired_s >= EXPIRE_S:
            self._expired_s = self._monotonic()
            await self._commit(Commit([], [], {}, expire_ns=time.time_ns()))

    def _may_fit(self) -> bool:
        return not self._kept.committer.full or filesystem.free_bytes(self._kept.ballast.folder) >= PROBE_FREE_BYTES

    async def _commit(self, commit: Commit) -> None:
        with suppress(HensloweError):  # refused: the next look tries again
            await self._kept.queue.submit(commit)

    def _tell_health(self) -> None:
        cause, now_s = self._kept.committer.degraded, self._monotonic()
        if bool(cause) == bool(self._cause):
            self._cause = cause
        elif cause:
            self._cause, self._since_s = cause, now_s
            self._kept.notices.tell(NoticeKind.DEGRADED, cause=cause)
            self._tell_ballast()
        else:
            before, self._cause = self._cause, ""
            lasted_s = round(now_s - self._since_s, 3)
            full = self._kept.committer.full
            self._kept.notices.tell(NoticeKind.RECOVERED, cause=before, lasted_s=lasted_s, full=full)

    def _tell_ballast(self) -> None:
        laid = self._kept.ballast.laid
        if laid is self._ballast:
            return
        self._ballast = laid
        if laid:
            self._kept.notices.tell(NoticeKind.BALLAST_LAID)
        else:
            free_bytes = filesystem.free_bytes(self._kept.ballast.folder)
            self._kept.notices.tell(NoticeKind.BALLAST_DROPPED, free_bytes=free_bytes)

    def _tell_reads(self, name: str, environment: Environment) -> None:
        freed = environment.clean_readers()
        if freed:
            self._kept.notices.tell(NoticeKind.READERS_FREED, environment=name, count=freed)
        own, foreign = environment.open_reads(self._kept.pinned_s)
        now = {(name, 0, read.number) for read in own} | {(name, read.pid, read.txn_id) for read in foreign}
        for read in own:
            if (name, 0, read.number) not in self._pinned:
                self._kept.notices.tell(
                    NoticeKind.READ_PINNED,
                    environment=name,
                    pid=0,
                    thread_name=read.thread,
                    site=read.site,
                    age_s=round(read.age_s, 1),
                )
        for other in foreign:
            if (name, other.pid, other.txn_id) not in self._pinned:
                self._kept.notices.tell(
                    NoticeKind.READ_PINNED, environment=name, pid=other.pid, age_s=round(other.age_s, 1)
                )
        self._pinned = {place for place in self._pinned if place[0] != name} | now

    def _tell_captures(self) -> None:
        captures = self._kept.captures
        dropped = captures.recorder.counts().dropped
        if dropped > self._dropped:
            self._kept.notices.tell(NoticeKind.CAPTURES_DROPPED, count=dropped - self._dropped)
            self._dropped = dropped
        if captures.log.lost and captures.log.lost != self._lost:
            self._lost = captures.log.lost
            self._kept.notices.tell(NoticeKind.CAPTURES_LOST, reason=self._lost)
