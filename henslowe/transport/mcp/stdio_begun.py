"""Exchanges over pipes that were begun without a task, and what an exchange is made of. See `stdio` and `begun`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.transport.mcp.begun import Reply, Told


@dataclass(slots=True)
class Call:
    """An exchange that waits for its response."""

    method: str
    reply: asyncio.Future[JsonObject] | StdioBegun
    on_notification: OnNotification | None
    token: object
    """The caller's own progress token, or None."""
    sent: bool = False


class Exchanging(Protocol):
    """What such an exchange needs of its link."""

    def given_up(self, number: int) -> None:
        """Nobody waits for the answer any more."""
        ...

    def over(self, number: int, begun: StdioBegun) -> None:
        """An exchange without a task has ended."""
        ...


class StdioBegun(Reply):
    """An exchange that was begun without a task. See `Begun`."""

    __slots__ = ("_answer", "_link", "_number", "size")

    def __init__(self, link: Exchanging, number: int, told: Told) -> None:
        super().__init__(told)
        self._link = link
        self._number = number
        self._answer: JsonObject | None = None
        self.size = 0
        """Bytes of the line that the answer is in; set before it."""

    def set_result(self, answer: JsonObject) -> None:
        """The server answered."""
        self._answer = answer
        if not self._woken():
            self._release()
            self.told.answered(answer, self.size)

    async def answer(self) -> JsonObject:
        """See `Begun.answer`."""
        try:
            await self._came()
        except (TimeoutError, asyncio.CancelledError):
            self._give_up()
            raise
        finally:
            self._release()
        assert self._answer is not None
        return self._answer

    def abandon(self) -> None:
        """See `Begun.abandon`."""
        self._over = True
        self._give_up()
        self._release()

    def _give_up(self) -> None:
        self._link.given_up(self._number)

    def _release(self) -> None:
        self._link.over(self._number, self)
