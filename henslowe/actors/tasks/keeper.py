"""The task keeper: owner of the tasks table. A task is durable before its client hears of it.

Reads never come here: the gateway looks a task up in the table. A task goes when its time is over, or when the table is
full and another one needs the place: those that are done first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from henslowe.actors.kernel import LoopActor, Reply
from henslowe.actors.messages import KeepTask, TaskSeen
from henslowe.actors.tasks.rows import TASKS, TaskRow
from henslowe.errors import LimitReached, StorageError
from henslowe.storage import Store

log = logging.getLogger(__name__)

TICK_S: Final = 30.0


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to TASKS, from its own timer: forget what is over."""


class TaskKeeper(LoopActor):
    """Answers `KeepTask` and `TaskSeen`.

    Args:
        store: Holds the table `TASKS`.
        tasks_max: Most tasks that are remembered.
        now_s: The clock, in Unix seconds.
    """

    def __init__(self, store: Store, tasks_max: int, *, now_s: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._tasks = store.table(TASKS)
        self._store = store
        self._max = tasks_max
        self._now_s = now_s

    def init(self) -> None:
        """Go on with the tasks of the last life."""
        self.send_after(TICK_S, Tick())

    async def handle_call(self, message: KeepTask | TaskSeen, _sender: Reply) -> None:
        """Remember a new task, or what became of one; the answer comes once it is durable.

        Raises:
            LimitReached: As many are remembered as may be, and all are under way.
        """
        if isinstance(message, TaskSeen):
            await self.handle_cast(message)
            return
        await self._make_room()
        await self._tasks.insert(TaskRow(**message.row))

    async def handle_cast(self, message: TaskSeen) -> None:
        """Take note of what became of a task. Lost with a storage that refuses: the next look says it again."""
        row = self._tasks.lookup(message.id)
        if row is None or not row.open:
            return
        update = {"status": message.status, "expires_s": message.expires_s, "final": message.final}
        try:
            await self._tasks.insert(row.model_copy(update=update))
        except (StorageError, LimitReached) as error:
            log.warning("task_not_written", extra={"reason": str(error)})

    async def handle_info(self, message: Tick) -> None:
        """Forget tasks whose time is over."""
        now_s = self._now_s()
        try:
            await self._forget(self._tasks.where(lambda row: row.expires_s <= now_s))
        except (StorageError, LimitReached) as error:
            log.warning("tasks_not_forgotten", extra={"reason": str(error)})
        self.send_after(TICK_S, message)

    async def _make_room(self) -> None:
        excess = len(self._tasks) + 1 - self._max
        if excess <= 0:
            return
        done = sorted(self._tasks.where(lambda row: not row.open), key=lambda row: row.expires_s)[: max(excess, 16)]
        if len(done) < excess:
            raise LimitReached(f"cannot keep a task: {self._max} are under way", hint="raise gateway.tasks_max")
        await self._forget(done)

    async def _forget(self, rows: list[TaskRow]) -> None:
        if not rows:
            return
        txn = self._store.transaction()
        for row in rows:
            txn.delete(self._tasks, row.id)
        await txn.commit()
