"""Small messages to a server that nobody waits for: notifications and cancellations, a bounded number at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Final

log = logging.getLogger(__name__)

ERRANDS_MAX: Final = 64
"""Most that are on their way at once; more are dropped, as any notification may be."""


class Errands:
    """The errands of one link. Runs in: the node's loop.

    Args:
        peer: The server's name for messages.
    """

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = False

    def begin(self, errand: Coroutine[Any, Any, None]) -> None:
        """Send it; dropped when there are too many, or none are run any more."""
        if self._ended or len(self._tasks) >= ERRANDS_MAX:
            errand.close()
            return
        task = asyncio.ensure_future(errand)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def end(self) -> None:
        """Cancel all; none are run from here on. Idempotent."""
        self._ended = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.info("errand_failed", extra={"peer": self._peer, "cause": str(failure)})
