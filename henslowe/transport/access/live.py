"""The requests that are open now, by whom: a token that ends takes them with it, event streams and calls alike.

A request is held for as long as its handler runs. When the published tokens change, and once a second for tokens that
expire, whoever would not be let in any more is cut off: the connection is closed, and the client that comes back is
told why by the door.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from henslowe.actors.access.principal import Principal

TICK_S: Final = 1.0


class Held(Protocol):
    """A request, or who stands for one."""

    @property
    def transport(self) -> asyncio.Transport | None:
        """Its connection; None when that has ended."""
        ...


class LiveRequests:
    """Runs in: the node's loop.

    Args:
        holds: Whether a principal would be let in now.
    """

    def __init__(self, holds: Callable[[Principal], bool]) -> None:
        self._holds = holds
        self._open: dict[int, tuple[Held, Principal]] = {}
        self._numbers = itertools.count()
        self._ticking: asyncio.TimerHandle | None = None
        self.cut = 0
        """Requests ended so far, for metrics."""

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, request: Held, principal: Principal) -> Iterator[None]:
        """Keep the request among the open ones while its handler runs."""
        number = self.begin(request, principal)
        try:
            yield
        finally:
            self.end(number)

    def begin(self, request: Held, principal: Principal) -> int:
        """Keep the request among the open ones until its `end`."""
        number = next(self._numbers)
        self._open[number] = (request, principal)
        if self._ticking is None:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        return number

    def end(self, number: int) -> None:
        """It is over."""
        del self._open[number]

    def review(self) -> None:
        """Cut off whoever would not be let in any more."""
        judged: dict[Principal, bool] = {}
        for request, principal in tuple(self._open.values()):
            good = judged.get(principal)
            if good is None:
                good = judged[principal] = self._holds(principal)
            if not good and request.transport is not None:
                self.cut += 1
                request.transport.abort()  # cancels the handler

    def close(self) -> None:
        """Stop looking. Idempotent."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def _tick(self) -> None:
        self._ticking = None
        self.review()
        if self._open:
            self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)
