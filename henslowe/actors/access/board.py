"""The published tokens: a frozen snapshot that the data plane checks in microseconds, without a message.

Like the routes, it outlives the actor that publishes it. Listeners hear of each change, so that what a token opened can
be closed when it is revoked.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from henslowe.actors.access import credentials
from henslowe.actors.access.principal import Principal

_EMPTY: Final[Mapping[str, Grant]] = MappingProxyType({})


@dataclass(slots=True, frozen=True)
class Grant:
    """One token as the data plane needs it: its secrets, each with the Unix time it ends, and who shows them."""

    secrets: tuple[tuple[bytes, float], ...]
    principal: Principal

    def accepts(self, digest: bytes, now_s: float) -> bool:
        """Whether this is one of the secrets, in constant time for each, and still good."""
        return any(hmac.compare_digest(digest, kept) and now_s < until_s for kept, until_s in self.secrets)


@dataclass(slots=True)
class AccessBoard:
    """The holder of the current snapshot. `current` is replaced as a whole, never changed. Runs in: the node's loop."""

    current: Mapping[str, Grant] = field(default_factory=lambda: _EMPTY)
    """By token id."""
    _used_s: dict[str, float] = field(default_factory=dict)
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    def publish(self, grants: Mapping[str, Grant]) -> None:
        """Replace the snapshot and tell the listeners."""
        self.current = MappingProxyType(dict(grants))
        for listener in tuple(self._listeners):
            listener()

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` after each publication; returns a cancel function."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def find(self, token: str, now_s: float) -> Principal | None:
        """Who shows this token; None when it is not one of ours, or over. The use is noted."""
        token_id = credentials.id_of(token)
        grant = self.current.get(token_id) if token_id is not None else None
        if grant is None or not grant.accepts(digest := credentials.digest(token), now_s):
            return None
        self._used_s[grant.principal.token_id] = now_s  # as many as there are tokens
        return grant.principal if digest == grant.principal.digest else _with_digest(grant.principal, digest)

    def holds(self, principal: Principal, now_s: float) -> bool:
        """Whether somebody who was let in would be let in now."""
        if now_s >= principal.expires_s:
            return False
        if not principal.token_id:
            return True
        grant = self.current.get(principal.token_id)
        return grant is not None and grant.accepts(principal.digest, now_s)

    def take_uses(self) -> dict[str, float]:
        """When tokens were last used, for those used since the last call."""
        used_s, self._used_s = self._used_s, {}
        return used_s


def _with_digest(principal: Principal, digest: bytes) -> Principal:
    return Principal(
        principal.name, principal.scopes, expires_s=principal.expires_s, token_id=principal.token_id, digest=digest
    )
