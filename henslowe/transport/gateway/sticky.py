"""The unit of routing: what keeps one client on one version while a rollout is under way.

Handshake-era clients have a session. Modern traffic has none, so its unit is the client itself (the principal, else
what the client says it is together with where it comes from) times an epoch: for one epoch a client neither sees two
versions at once, nor does it stay in one arm for ever. Pure but for the memory of units already made.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from henslowe.actors.variants import Visitor

CLIENTS_MAX: Final = 10_000
"""Clients whose unit is remembered; one costs 3 microseconds, so forgetting is cheap."""
NAME_CHARS_MAX: Final = 256
"""Of a client's self-description; more adds nothing to telling clients apart."""


class Unit(NamedTuple):
    """A unit of traffic, as `Route.pick` takes it."""

    key: str
    is_session: bool
    visitor: Visitor | None = None
    """Who is behind it; None where no route asks."""


@dataclass(slots=True)
class StickyKeys:
    """Units of modern clients.

    Args:
        epoch_s: How long a client keeps its arm.
        clock: Unix seconds.
    """

    epoch_s: float
    clock: Callable[[], float]
    _units: dict[tuple[str, str, str, str], tuple[int, Unit]] = field(default_factory=dict)
    """By principal, name, version and peer: its epoch, and the unit for it."""

    def unit(self, principal: str, client_info: Any, peer: str) -> Unit:
        """The unit of a request: of its principal when it has one, else of its client and peer."""
        epoch = int(self.clock() // self.epoch_s)
        name, version = _self_description(client_info)
        who = principal, name, version, peer
        known = self._units.get(who)
        if known is not None and known[0] == epoch:
            return known[1]
        if len(self._units) >= CLIENTS_MAX:
            self._units.clear()
        unit = Unit(f"p:{principal}:{epoch}" if principal else f"c:{_digest(name, version, peer)}:{epoch}", False)
        self._units[who] = epoch, unit
        return unit

    def client(self, client_info: Any, peer: str) -> str:
        """A digest of a client program at an address."""
        return _digest(*_self_description(client_info), peer)


def _self_description(client_info: Any) -> tuple[str, str]:
    """The name and the version that a client gives of itself."""
    if not isinstance(client_info, dict):
        return "", ""
    return str(client_info.get("name"))[:NAME_CHARS_MAX], str(client_info.get("version"))[:NAME_CHARS_MAX]


def _digest(name: str, version: str, peer: str) -> str:
    return hashlib.sha256(f"{name}\0{version}\0{peer}".encode(errors="surrogatepass")).hexdigest()[:32]


@functools.lru_cache(CLIENTS_MAX)
def session_unit(session_id: str) -> Unit:
    """The unit of a handshake-era session: a digest, since evidence is shown to people and ids open sessions."""
    digest = hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()
    return Unit(f"s:{digest[:32]}", is_session=True)
