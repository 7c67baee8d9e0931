"""What the gateway has of the node's actors: sessions, tasks, connections that belong to one client each, holds.

Sessions and tasks are read from published tables and changed by message; connections are opened and ended by message,
and so is the word that a version is needed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from henslowe.actors import names
from henslowe.actors.endpoints import Endpoint, JsonObject, SoleClient
from henslowe.actors.ids import VersionKey
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    ClosePrivate,
    CloseSession,
    HoldVersion,
    KeepTask,
    OpenPrivate,
    OpenSession,
    ReplayChanged,
    ResultsChanged,
    SessionsSeen,
    TaskSeen,
    UpdateSession,
)
from henslowe.actors.replay.rows import ReplayRow
from henslowe.actors.results.rows import ResultRow
from henslowe.actors.tasks.rows import TaskRow
from henslowe.storage import Table
from henslowe.transport.gateway.sessions import Session

SEEN_INTERVAL_S: Final = 1.0
"""How often the manager is told which sessions were used."""

TASK_ID_CHARS_MAX: Final = 128
"""Ours have 24; a longer one is nobody's."""

OPEN_S: Final = 630.0
"""Longest wait for a private connection: a little more than the longest `ready_timeout_s`, which bounds it."""


class ManagedConnections:
    """`PrivateConnections` of the instance manager. Runs in: the node's loop."""

    def __init__(self) -> None:
        self._manager = registry.via(names.INSTANCES)

    async def open(self, version: VersionKey, client: SoleClient) -> Endpoint:
        """See `PrivateConnections.open`."""
        endpoint: Endpoint = await self._manager.call(OpenPrivate(version, client), timeout_s=OPEN_S)
        return endpoint

    def close(self, endpoint: Endpoint) -> None:
        """See `PrivateConnections.close`."""
        self._manager.cast(ClosePrivate(endpoint.instance))


class SessionTable(Protocol):
    """What is read of the table `henslowe.actors.sessions.SESSIONS`, as `Store.table` returns it."""

    def lookup(self, key: Any) -> Session | None:
        """The published row."""
        ...

    def __len__(self) -> int: ...


class ManagedSessions:
    """`Sessions` over the manager's table. Runs in: the node's loop.

    Args:
        table: The sessions table.
        clock: Unix seconds.
    """

    def __init__(self, table: SessionTable, *, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock
        self._manager = registry.via(names.SESSION_MANAGER)
        self._seen: dict[str, float] = {}

    def get(self, session_id: str) -> Session | None:
        """The published row, or None."""
        return self._table.lookup(session_id)

    def seen(self, session_id: str) -> None:
        """Note the use; the manager hears of all uses once a second."""
        if not self._seen:
            asyncio.get_running_loop().call_later(SEEN_INTERVAL_S, self._tell)
        self._seen[session_id] = self._clock()

    async def open(
        self,
        session_id: str,
        *,
        scope: str,
        protocol_version: str,
        client_info: JsonObject,
        capabilities: JsonObject,
        principal: str = "",
    ) -> Session:
        """See `Sessions.open`."""
        row: Session = await self._manager.call(
            OpenSession(session_id, scope, protocol_version, client_info, capabilities, principal)
        )
        return row

    async def update(
        self,
        session_id: str,
        *,
        log_level: str | None = None,
        subscribe: str | None = None,
        unsubscribe: str | None = None,
    ) -> Session:
        """See `Sessions.update`."""
        row: Session = await self._manager.call(UpdateSession(session_id, log_level, subscribe, unsubscribe))
        return row

    async def close(self, session_id: str, reason: str = "deleted") -> bool:
        """See `Sessions.close`."""
        existed: bool = await self._manager.call(CloseSession(session_id, reason))
        return existed

    def __len__(self) -> int:
        return len(self._table)

    def _tell(self) -> None:
        seen, self._seen = self._seen, {}
        self._manager.cast(SessionsSeen(seen))


HOLD_AGAIN_S: Final = 1.0
"""How often it is said that a version is needed, however often it is used."""
HOLDS_MAX: Final = 1_000
"""Versions of which is remembered when that was last said."""


class ManagedHolds:
    """`Holds` of the hold keeper. Runs in: the node's loop.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._keeper = registry.via(names.HOLDS)
        self._clock = clock
        self._said_s: dict[VersionKey, float] = {}

    def hold(self, version: VersionKey, hold_s: float) -> None:
        """See `Holds.hold`."""
        now_s = self._clock()
        if now_s - self._said_s.get(version, -HOLD_AGAIN_S) < HOLD_AGAIN_S:
            return
        if len(self._said_s) >= HOLDS_MAX:
            self._said_s.clear()
        self._said_s[version] = now_s
        self._keeper.cast(HoldVersion(version, hold_s))


class ManagedTasks:
    """`TaskStore` over the keeper's table. Runs in: the node's loop.

    Args:
        table: The table `henslowe.actors.tasks.TASKS`.
    """

    def __init__(self, table: Table[TaskRow]) -> None:
        self._table = table
        self._keeper = registry.via(names.TASKS)

    def get(self, task_id: str) -> TaskRow | None:
        """See `TaskStore.get`."""
        return self._table.lookup(task_id) if len(task_id) <= TASK_ID_CHARS_MAX else None

    def rows(self) -> Iterable[TaskRow]:
        """See `TaskStore.rows`."""
        return self._table.rows()

    def of_unit(self, unit: str) -> Iterable[TaskRow]:
        """See `TaskStore.of_unit`."""
        return self._table.by("unit", unit)

    async def keep(self, row: TaskRow) -> None:
        """See `TaskStore.keep`."""
        await self._keeper.call(KeepTask(row.model_dump()))

    def seen(self, task_id: str, status: str, expires_s: float) -> None:
        """See `TaskStore.seen`."""
        self._keeper.cast(TaskSeen(task_id, status, expires_s))

    async def finish(self, task_id: str, status: str, expires_s: float, final: JsonObject | None) -> None:
        """See `TaskStore.finish`."""
        await self._keeper.call(TaskSeen(task_id, status, expires_s, final))


class ManagedReplay:
    """`ReplayStore` over the keeper's table. Runs in: the node's loop.

    Args:
        table: The table `henslowe.actors.replay.REPLAY`.
    """

    def __init__(self, table: Table[ReplayRow]) -> None:
        self._table = table
        self._keeper = registry.via(names.REPLAY)

    def rows(self) -> Iterable[ReplayRow]:
        """See `ReplayStore.rows`."""
        return self._table.rows()

    def change(self, added: list[JsonObject], dropped: list[tuple[str, str]]) -> None:
        """See `ReplayStore.change`."""
        self._keeper.cast(ReplayChanged(tuple(added), tuple(dropped)))


class ManagedResults:
    """`ResultStore` over the keeper's table. Runs in: the node's loop.

    Args:
        table: The table `henslowe.actors.results.RESULTS`.
    """

    def __init__(self, table: Table[ResultRow]) -> None:
        self._table = table
        self._keeper = registry.via(names.RESULTS)

    def rows(self) -> Iterable[ResultRow]:
        """See `ResultStore.rows`."""
        return self._table.rows()

    def change(self, added: list[JsonObject], dropped: list[str]) -> None:
        """See `ResultStore.change`."""
        self._keeper.cast(ResultsChanged(tuple(added), tuple(dropped)))
