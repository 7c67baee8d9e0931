"""What the gateway needs of handshake-era sessions: a Protocol, and an implementation that keeps them in memory.

The durable implementation is the session manager's table, whose published rows satisfy `Session` and are read here
without a message; `MemorySessions` is the same contract without durability, for tests and embedding. Streams and calls
in flight are not sessions: they end with their connection and live in `streams` and `exchange`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Protocol

from henslowe.actors.endpoints import JsonObject
from henslowe.errors import LimitReached, NotFound

SUBSCRIPTIONS_MAX = 1_000
"""Most resources one session may subscribe to; each costs a string in its row."""


class Session(Protocol):
    """One open session as its row says; frozen, replaced as a whole."""

    @property
    def id(self) -> str:
        """The id that the gateway minted."""
        ...

    @property
    def scope(self) -> str:
        """The service, or "" for the aggregate endpoint."""
        ...

    @property
    def principal(self) -> str:
        """Whose it is; "" for an anonymous client's."""
        ...

    @property
    def protocol_version(self) -> str:
        """The revision that was agreed on."""
        ...

    @property
    def client_info(self) -> JsonObject:
        """What the client said it is."""
        ...

    @property
    def capabilities(self) -> JsonObject:
        """What the client said it can be asked."""
        ...

    @property
    def log_level(self) -> str:
        """Least level of log messages that the client wants; "" until it says."""
        ...

    @property
    def subscriptions(self) -> Collection[str]:
        """The resources it wants updates of, as it knows them."""
        ...


class Sessions(Protocol):
    """The sessions of this node. `get` and `seen` never wait; the others return after the change is kept.

    Runs in: the node's loop.
    """

    def get(self, session_id: str) -> Session | None:
        """The session, or None when there is none (or no longer)."""
        ...

    def seen(self, session_id: str) -> None:
        """Note that the session was used just now, for expiry."""
        ...

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
        """Open a session under an id that the gateway minted; `scope` is a service or "" for the aggregate.

        Raises:
            LimitReached: As many sessions are open as may be.
        """
        ...

    async def update(
        self,
        session_id: str,
        *,
        log_level: str | None = None,
        subscribe: str | None = None,
        unsubscribe: str | None = None,
    ) -> Session:
        """Change what is given.

        Raises:
            NotFound: The session is gone.
            LimitReached: It has as many subscriptions as may be.
        """
        ...

    async def close(self, session_id: str, reason: str = "deleted") -> bool:
        """End a session; whether it existed."""
        ...

    def __len__(self) -> int: ...


@dataclass(slots=True, frozen=True)
class MemorySession:
    """A session's row in memory."""

    id: str
    scope: str
    protocol_version: str
    client_info: JsonObject
    capabilities: JsonObject
    principal: str = ""
    log_level: str = ""
    subscriptions: frozenset[str] = frozenset()


@dataclass(slots=True)
class MemorySessions:
    """Sessions that live as long as the process. At `sessions_max` the one idle longest beyond `idle_s` makes room."""

    sessions_max: int = 10_000
    idle_s: float = 24 * 3600.0
    clock: Callable[[], float] = time.monotonic
    _rows: dict[str, MemorySession] = field(default_factory=dict)
    _seen_s: dict[str, float] = field(default_factory=dict)
    """In order of use, oldest first."""

    def get(self, session_id: str) -> Session | None:
        """The session, or None."""
        return self._rows.get(session_id)

    def seen(self, session_id: str) -> None:
        """Note that the session was used just now."""
        if self._seen_s.pop(session_id, None) is not None:
            self._seen_s[session_id] = self.clock()

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
        """Open a session.

        Raises:
            LimitReached: `sessions_max` are open and none is idle.
        """
        self._expire()
        if len(self._rows) >= self.sessions_max:
            raise LimitReached(
                f"cannot open a session: {self.sessions_max} are open", hint="raise gateway.sessions_max"
            )
        row = MemorySession(session_id, scope, protocol_version, client_info, capabilities, principal)
        self._rows[session_id] = row
        self._seen_s[session_id] = self.clock()
        return row

    async def update(
        self,
        session_id: str,
        *,
        log_level: str | None = None,
        subscribe: str | None = None,
        unsubscribe: str | None = None,
    ) -> Session:
        """Change what is given.

        Raises:
            NotFound: The session is gone.
            LimitReached: It has `SUBSCRIPTIONS_MAX` subscriptions.
        """
        row = self._rows.get(session_id)
        if row is None:
            raise NotFound(f"cannot update session {session_id}: there is none")
        if log_level is not None:
            row = replace(row, log_level=log_level)
        if subscribe is not None:
            row = replace(row, subscriptions=row.subscriptions | {subscribe})
        if unsubscribe is not None:
            row = replace(row, subscriptions=row.subscriptions - {unsubscribe})
        if len(row.subscriptions) > SUBSCRIPTIONS_MAX:
            raise LimitReached(f"cannot subscribe: the session has {SUBSCRIPTIONS_MAX} subscriptions")
        self._rows[session_id] = row
        return row

    async def close(self, session_id: str, reason: str = "deleted") -> bool:  # noqa: ARG002 (the rows' owner logs it)
        """End a session; whether it existed."""
        self._seen_s.pop(session_id, None)
        return self._rows.pop(session_id, None) is not None

    def _expire(self) -> None:
        horizon_s = self.clock() - self.idle_s
        while self._seen_s:
            session_id, seen_s = next(iter(self._seen_s.items()))
            if seen_s > horizon_s:
                break
            del self._seen_s[session_id]
            self._rows.pop(session_id, None)

    def __len__(self) -> int:
        return len(self._rows)
