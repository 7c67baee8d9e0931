"""The keeper of tokens: owner of the tokens table. A change is durable, with its event, before the caller is answered.

Nobody asks it whether a token is good: it publishes all of them (`board`) after each change and at each expiry. Uses
are noted on the board, fetched once a minute and written then. A token is shown once, in the answer to `CreateToken`
or `RotateToken`; rows and events have none.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors.access import credentials, scopes
from henslowe.actors.access.board import AccessBoard, Grant
from henslowe.actors.access.principal import Principal
from henslowe.actors.access.rows import TOKENS, TokenRow
from henslowe.actors.journal import draft
from henslowe.actors.kernel import LoopActor, Reply, Timer
from henslowe.actors.messages import CreateToken, RevokeToken, RotateToken
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.errors import ConfigError, Conflict, Forbidden, LimitReached, NotFound, StorageError
from henslowe.storage import EventDraft, Store

log = logging.getLogger(__name__)

TOKENS_MAX: Final = 10_000
TICK_S: Final = 60.0
"""How often uses are written, and so how exact "last used" is."""
EXPIRED_KEPT_S: Final = 30 * 86_400.0
"""How long an expired token is listed, so that its owner sees why it stopped working."""
GRACE_MAX_S: Final = 7 * 86_400.0
"""Longest time that both secrets of a rotated token are good."""
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(slots=True, frozen=True)
class Minted:
    """A token with its row: the one time that its text is known."""

    token: str
    row: TokenRow


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to ACCESS, from its own timer: write uses, forget what expired long ago."""


@dataclass(slots=True, frozen=True)
class Expired:
    """Info to ACCESS, from its own timer: a secret's time is over."""


class AccessKeeper(LoopActor):
    """Makes, rotates and revokes tokens.

    Args:
        store: Holds the table `TOKENS`.
        board: Where the tokens are published.
        now_s: The clock, in Unix seconds.
    """

    def __init__(self, store: Store, board: AccessBoard, *, now_s: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._store = store
        self._board = board
        self._now_s = now_s
        self._tokens = store.table(TOKENS)
        self._expiry: Timer | None = None

    def init(self) -> None:
        """Publish the tokens of the last life."""
        self._publish()
        self.send_after(TICK_S, Tick())

    async def handle_call(self, message: CreateToken | RotateToken | RevokeToken, _sender: Reply) -> object:
        """Perform one change; the mailbox waits for the commit, so changes never race."""
        match message:
            case CreateToken():
                return await self._create(message)
            case RotateToken():
                return await self._rotate(message)
            case RevokeToken():
                return await self._revoke(message)

    async def handle_info(self, message: Tick | Expired) -> None:
        """The minute's work, or the end of a secret's time."""
        if isinstance(message, Expired):
            self._publish()
            return
        try:
            await self._write_uses()
        except (StorageError, LimitReached) as error:
            log.warning("token_uses_not_written", extra={"reason": str(error)})
        self.send_after(TICK_S, message)

    # -- changes ----------------

    async def _create(self, message: CreateToken) -> Minted:
        wanted = scopes.check_scopes(message.scopes)
        if not NAME.fullmatch(message.name):
            raise ConfigError(
                f"expected a token's name of small letters, digits, '.', '_' and '-', at most 63, got: "
                f"{message.name!r:.80}",
                hint="for example ci or laptop-2",
                field="name",
            )
        if not scopes.covers_all(message.may, wanted):
            raise Forbidden(
                f"cannot make token {message.name!r}: {message.by} does not hold all of {', '.join(wanted)}",
                hint="nobody can give more than he has; use the node's own socket or admin token",
            )
        now_s = self._now_s()
        if message.expires_s is not None and message.expires_s <= now_s:
            raise ConfigError("expected a token to expire in the future, got: a time that is over", field="expires_s")
        if self._named(message.name) is not None:
            raise Conflict(
                f"cannot make token {message.name!r}: there is one of that name",
                hint=f"henslowe token rotate {message.name}, or revoke it first",
            )
        if len(self._tokens) >= TOKENS_MAX:
            raise LimitReached(f"cannot make another token: there are {TOKENS_MAX}", hint="henslowe token revoke NAME")
        token_id = credentials.mint_id()
        token = credentials.mint(token_id)
        row = TokenRow(
            id=token_id,
            name=message.name,
            digest=credentials.digest(token),
            scopes=wanted,
            created_s=now_s,
            created_by=message.by,
            expires_s=message.expires_s,
        )
        await self._put(row, _event(EventType.TOKEN_CREATED, row, message.by, scopes=list(wanted)))
        return Minted(token, row)

    async def _rotate(self, message: RotateToken) -> Minted:
        row = self._find(message.token)
        if not scopes.covers_all(message.may, row.scopes):
            raise Forbidden(f"cannot rotate token {row.name!r}: {message.by} does not hold its scopes")
        if not 0 <= message.grace_s <= GRACE_MAX_S:
            raise ConfigError(f"expected a grace of 0 to {GRACE_MAX_S:g} s, got: {message.grace_s:g}", field="grace_s")
        now_s = self._now_s()
        token = credentials.mint(row.id)
        row = row.model_copy(
            update={
                "digest": credentials.digest(token),
                "previous_digest": row.digest if message.grace_s else b"",
                "previous_until_s": now_s + message.grace_s if message.grace_s else 0.0,
                "rotated_s": now_s,
            }
        )
        await self._put(row, _event(EventType.TOKEN_ROTATED, row, message.by, grace_s=message.grace_s))
        return Minted(token, row)

    async def _revoke(self, message: RevokeToken) -> TokenRow:
        row = self._find(message.token)
        txn = self._store.transaction()
        txn.delete(self._tokens, row.id)
        txn.append(_event(EventType.TOKEN_REVOKED, row, message.by))
        await txn.commit()
        self._publish()
        return row

    async def _put(self, row: TokenRow, event: EventDraft) -> None:
        txn = self._store.transaction()
        txn.put(self._tokens, row)
        txn.append(event)
        await txn.commit()
        self._publish()

    # -- what is known ----------------

    def _named(self, name: str) -> TokenRow | None:
        return next((row for row in self._tokens.rows() if row.name == name), None)

    def _find(self, token: str) -> TokenRow:
        row = self._tokens.lookup(token) or self._named(token)
        if row is None:
            raise NotFound(f"cannot find token {token!r:.80}: there is none", hint="henslowe token list")
        return row

    def _publish(self) -> None:
        """Show the data plane what is good now, and come back when that changes by itself."""
        now_s = self._now_s()
        grants = {row.id: grant for row in self._tokens.rows() if (grant := grant_of(row, now_s)) is not None}
        self._board.publish(grants)
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        ends = [until_s for grant in grants.values() for _, until_s in grant.secrets if until_s < math.inf]
        if ends:
            self._expiry = self.send_after(min(max(0.0, min(ends) - now_s), 86_400.0) + 0.001, Expired())

    async def _write_uses(self) -> None:
        now_s = self._now_s()
        txn = self._store.transaction()
        changed = False
        for token_id, used_s in self._board.take_uses().items():
            row = self._tokens.lookup(token_id)
            if row is not None and used_s - row.last_used_s >= TICK_S:
                txn.put(self._tokens, row.model_copy(update={"last_used_s": used_s}))
                changed = True
        for row in self._tokens.rows():
            if row.expires_s is not None and row.expires_s + EXPIRED_KEPT_S < now_s:
                txn.delete(self._tokens, row.id)
                changed = True
        if changed:
            await txn.commit()


def grant_of(row: TokenRow, now_s: float) -> Grant | None:
    """What the data plane needs of a token; None when it is over."""
    until_s = math.inf if row.expires_s is None else row.expires_s
    if now_s >= until_s:
        return None
    secrets = [(row.digest, until_s)]
    if now_s < row.previous_until_s:
        secrets.append((row.previous_digest, min(until_s, row.previous_until_s)))
    principal = Principal(
        f"token:{row.name}", frozenset(row.scopes), expires_s=until_s, token_id=row.id, digest=row.digest
    )
    return Grant(tuple(secrets), principal)


def _event(event_type: EventType, row: TokenRow, by: str, **data: Any) -> EventDraft:
    return draft(event_type, Status.SUCCESS, stream=Stream.LIFECYCLE, token=row.name, token_id=row.id, by=by, **data)
