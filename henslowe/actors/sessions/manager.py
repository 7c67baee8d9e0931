"""The session manager: owner of the sessions table. A change is durable, with its event, before the caller is answered.

Reads never come here: the gateway looks a session up in the table. That a session was used is told in bulk
(`SessionsSeen`), kept in memory, and written once a minute. A session ends when its client says so, after
`session_idle_s` without use, or when the node is full and another client needs the place.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from henslowe.actors.journal import draft
from henslowe.actors.kernel import LoopActor, Reply
from henslowe.actors.messages import CloseSession, OpenSession, SessionsSeen, UpdateSession
from henslowe.actors.sessions.expiry import crowded_out, expired
from henslowe.actors.sessions.rows import SESSIONS, SessionRow
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.settings import GatewaySettings
from henslowe.errors import Conflict, LimitReached, NotFound, StorageError
from henslowe.storage import EventDraft, Store

log = logging.getLogger(__name__)
T = TypeVar("T")

TICK_S: Final = 60.0
"""How often idle sessions are looked for and last uses are written; expiry is a matter of hours."""
SUBSCRIPTIONS_MAX: Final = 1_000
"""Most resource subscriptions of one session; each is a string in its row."""
NAME_CHARS_MAX: Final = 100
"""Of a client's name, in events."""
CHANGES_PER_COMMIT: Final = 500
"""Most rows that one tick changes in one commit: others wait for it no longer than for their own."""


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to SESSION_MANAGER, from its own timer: close what expired, write what was used."""


class SessionManager(LoopActor):
    """Opens, changes and closes gateway sessions.

    Args:
        store: Holds the table `SESSIONS`.
        settings: `sessions_max` and `session_idle_s`.
        now_s: The clock, in Unix seconds.
    """

    def __init__(self, store: Store, settings: GatewaySettings, *, now_s: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._store = store
        self._settings = settings
        self._now_s = now_s
        self._sessions = store.table(SESSIONS)
        self._last_seen_s: dict[str, float] = {}

    def init(self) -> None:
        """Go on with the sessions of the last life."""
        self._last_seen_s = {row.id: row.last_seen_s for row in self._sessions.rows()}
        self.send_after(TICK_S, Tick())

    async def handle_call(self, message: OpenSession | UpdateSession | CloseSession, _sender: Reply) -> object:
        """Open, change or close one session; the mailbox waits for the commit, so changes of a session never race."""
        match message:
            case OpenSession():
                return await self._open(message)
            case UpdateSession():
                return await self._update(message)
            case CloseSession(session_id, reason):
                return await self._close([session_id], reason) > 0

    def handle_cast(self, message: SessionsSeen) -> None:
        """Remember when sessions were used; unknown ones were closed meanwhile."""
        for name, seen_s in message.last_seen_s.items():
            known_s = self._last_seen_s.get(name)
            if known_s is not None:
                self._last_seen_s[name] = max(known_s, seen_s)

    async def handle_info(self, message: Tick) -> None:
        """The minute's work. Storage that refuses writes is tried again next minute."""
        try:
            gone = expired(self._last_seen_s, now_s=self._now_s(), idle_s=self._settings.session_idle_s)
            for names in _chunks(gone):
                await self._close(names, "expired")
            await self._write_last_uses()
        except (StorageError, LimitReached) as error:
            log.warning("sessions_not_written", extra={"reason": str(error)})
        self.send_after(TICK_S, message)

    # -- one session ----------------

    async def _open(self, message: OpenSession) -> SessionRow:
        if self._sessions.member(message.session_id):
            raise Conflict(f"cannot open session {_short(message.session_id)}: it is open")
        now_s = self._now_s()
        await self._make_room(now_s)
        row = SessionRow(
            id=message.session_id,
            scope=message.scope,
            principal=message.principal,
            protocol_version=message.protocol_version,
            client_info=message.client_info,
            capabilities=message.capabilities,
            opened_s=now_s,
            last_seen_s=now_s,
        )
        txn = self._store.transaction()
        txn.put(self._sessions, row)
        client = _printable(row.client_info.get("name", ""))
        txn.append(_event(EventType.SESSION_OPENED, row, client=client, by=row.principal))
        await txn.commit()
        self._last_seen_s[row.id] = now_s
        return row

    async def _update(self, message: UpdateSession) -> SessionRow:
        row = self._sessions.lookup(message.session_id)
        if row is None:
            raise NotFound(
                f"cannot update session {_short(message.session_id)}: no such session", hint="initialize again"
            )
        self._last_seen_s[row.id] = self._now_s()
        changed = row.model_copy(
            update={
                "log_level": row.log_level if message.log_level is None else message.log_level,
                "subscriptions": _subscriptions(row, message),
            }
        )
        if changed != row:
            await self._sessions.insert(changed.model_copy(update={"last_seen_s": self._last_seen_s[row.id]}))
        return self._sessions.lookup(row.id, changed)

    # -- many sessions ----------------

    async def _close(self, names: list[str], reason: str) -> int:
        """Remove rows with their events in one commit; how many existed."""
        rows = [row for row in map(self._sessions.lookup, names) if row is not None]
        now_s = self._now_s()
        txn = self._store.transaction()
        for row in rows:
            txn.delete(self._sessions, row.id)
            txn.append(_event(EventType.SESSION_CLOSED, row, reason=reason, open_s=round(now_s - row.opened_s, 3)))
        if rows:
            await txn.commit()
        for name in names:
            self._last_seen_s.pop(name, None)
        return len(rows)

    async def _make_room(self, now_s: float) -> None:
        crowded = crowded_out(self._last_seen_s, now_s=now_s, sessions_max=self._settings.sessions_max)
        if crowded is None:
            raise LimitReached(
                f"cannot open a session: all {len(self._last_seen_s)} sessions are in use",
                hint="raise gateway.sessions_max",
            )
        for names in _chunks(crowded):
            await self._close(names, "crowded_out")

    async def _write_last_uses(self) -> None:
        """Bring the rows' `last_seen_s` up to date, so that a restart does not expire who is still there."""
        seen_s = self._last_seen_s
        stale = [row for row in self._sessions.rows() if seen_s.get(row.id, 0.0) - row.last_seen_s >= TICK_S]
        for rows in _chunks(stale):
            await self._sessions.insert(*(row.model_copy(update={"last_seen_s": seen_s[row.id]}) for row in rows))


def _subscriptions(row: SessionRow, message: UpdateSession) -> tuple[str, ...]:
    uris = dict.fromkeys(row.subscriptions)
    if message.unsubscribe is not None:
        uris.pop(message.unsubscribe, None)
    if message.subscribe is not None:
        uris[message.subscribe] = None
    if len(uris) > SUBSCRIPTIONS_MAX:
        raise LimitReached(f"cannot subscribe: the session has {SUBSCRIPTIONS_MAX} subscriptions, which is the limit")
    return tuple(uris)


def _event(event_type: EventType, row: SessionRow, **data: Any) -> EventDraft:
    return draft(
        event_type,
        Status.INFO,
        service=row.scope,
        session=_short(row.id),
        protocol_version=row.protocol_version,
        **data,
    )


def _short(session_id: str) -> str:
    """Enough to tell sessions apart in a log; the whole id would let a reader of the log take the session over."""
    return session_id[:8]


def _printable(name: object) -> str:
    """What a client calls itself, as a log may have it: the client is not trusted to keep to letters."""
    return "".join(c if c.isprintable() else "\ufffd" for c in str(name)[:NAME_CHARS_MAX])


def _chunks(items: list[T]) -> Iterable[list[T]]:
    return (items[at : at + CHANGES_PER_COMMIT] for at in range(0, len(items), CHANGES_PER_COMMIT))
