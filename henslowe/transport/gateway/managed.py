"""What the gateway has of the node's actors: its sessions, and connections that belong to one client each.

Sessions are read from the published table and changed by message; connections are opened and ended by message.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from henslowe.actors import names
from henslowe.actors.endpoints import Endpoint, JsonObject, SoleClient
from henslowe.actors.ids import VersionKey
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    ClosePrivate,
    CloseSession,
    OpenPrivate,
    OpenSession,
    SessionsSeen,
    UpdateSession,
)
from henslowe.transport.gateway.sessions import Session

SEEN_INTERVAL_S: Final = 1.0
"""How often the manager is told which sessions were used."""


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
        self, session_id: str, *, scope: str, protocol_version: str, client_info: JsonObject, capabilities: JsonObject
    ) -> Session:
        """See `Sessions.open`."""
        row: Session = await self._manager.call(
            OpenSession(session_id, scope, protocol_version, client_info, capabilities)
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
