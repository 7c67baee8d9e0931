"""The unit of routing: what keeps one client on one version while a rollout is under way.

Handshake-era clients have a session. Modern traffic has none, so its unit is the client itself (the principal, else
what the client says it is together with where it comes from) times an epoch: for one epoch a client neither sees two
versions at once, nor does it stay in one arm for ever. Pure but for the memory of digests already computed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from henslowe.actors.variants import Visitor

CLIENTS_MAX: Final = 10_000
"""Clients whose digest is remembered; a digest costs 2 microseconds, so forgetting is cheap."""
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
    _digests: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def unit(self, principal: str, client_info: Any, peer: str) -> Unit:
        """The unit of a request: of its principal when it has one, else of its client and peer."""
        epoch = int(self.clock() // self.epoch_s)
        if principal:
            return Unit(f"p:{principal}:{epoch}", is_session=False)
        return Unit(f"c:{self.client(client_info, peer)}:{epoch}", is_session=False)

    def client(self, client_info: Any, peer: str) -> str:
        """A digest of a client program at an address."""
        name = version = ""
        if isinstance(client_info, dict):
            name, version = (
                str(client_info.get("name"))[:NAME_CHARS_MAX],
                str(client_info.get("version"))[:NAME_CHARS_MAX],
            )
        who = (name, version, peer)
        digest = self._digests.get(who)
        if digest is None:
            if len(self._digests) >= CLIENTS_MAX:
                self._digests.clear()
            digest = hashlib.sha256("\0".join(who).encode(errors="surrogatepass")).hexdigest()[:32]
            self._digests[who] = digest
        return digest


@functools.lru_cache(CLIENTS_MAX)
def session_unit(session_id: str) -> Unit:
    """The unit of a handshake-era session: a digest, since evidence is shown to people and ids open sessions."""
    digest = hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()
    return Unit(f"s:{digest[:32]}", is_session=True)
