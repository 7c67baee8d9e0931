"""Calls that are begun without a task: sent at once, and their answers told by a function call.

Most calls are sent on a connection that rests, and answered in one piece; for them a task, a future and a coroutine per
layer cost more than the work itself. Whoever begins a call so is told of a plain answer. Of anything else (the
connection was lost, the answer is a stream, the time is over) it is only told that there is more to do, and awaits
`Begun.answer`, which goes on where an ordinary exchange would be: no rule of an exchange exists twice.

Here are the two sides' shapes, and what every link's calls have in common. See `http` and `stdio` for the links.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from henslowe.actors.endpoints import JsonObject


class Told(Protocol):
    """Whoever began a call. Each method runs in the loop, and none may raise."""

    def answered(self, answer: JsonObject, size: int) -> None:
        """It is over, with `{"result": ...}` or `{"error": ...}`, which came in so many bytes."""
        ...

    def troubled(self) -> None:
        """It needs more than an answer: await `Begun.answer`, or `abandon` it."""
        ...


class Begun(Protocol):
    """A call under way."""

    async def answer(self) -> JsonObject:
        """The rest of the exchange, once; from here on nobody is told anything.

        Raises:
            UpstreamLost, LimitReached, TimeoutError: As `Endpoint.request`.
        """
        ...

    def abandon(self) -> None:
        """Nobody waits for it any more: the server is told to cancel. Only before `answer`."""
        ...


class Reply:
    """Where a connection puts what came, as it would into a future. Runs in: the node's loop."""

    __slots__ = ("_failure", "_over", "_waiting", "told")

    def __init__(self, told: Told) -> None:
        self.told = told
        self._over = False
        self._failure: Exception | None = None
        self._waiting: asyncio.Future[None] | None = None

    def done(self) -> bool:
        """Whether something came."""
        return self._over

    def set_exception(self, failure: Exception) -> None:
        """Take the exchange's failure."""
        self._failure = failure
        if not self._woken():
            self.told.troubled()

    def exception(self) -> Exception | None:
        """Its failure, if it has one."""
        return self._failure

    def _woken(self) -> bool:
        """Whether a coroutine waits, which now goes on."""
        self._over = True
        waiting = self._waiting
        if waiting is None:
            return False
        if not waiting.done():
            waiting.set_result(None)
        return True

    async def _came(self) -> None:
        """Return once something came.

        Raises:
            Exception: The failure.
        """
        if not self._over:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._failure is not None:
            raise self._failure
