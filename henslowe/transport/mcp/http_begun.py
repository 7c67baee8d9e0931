"""Exchanges over HTTP that were begun without a task, and what an exchange is made of. See `http` and `begun`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Protocol

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.errors import UpstreamLost
from henslowe.transport.mcp.begun import Reply, Told
from henslowe.transport.mcp.pool import Connection


@dataclass(slots=True)
class Call:
    """One exchange: what it takes to send its request, once more if need be, and to read its response.

    Not frozen, see `henslowe.actors.routes.CallRecord`.
    """

    number: int
    method: str
    body: bytes
    name: str | None
    """What it names, for a header."""
    headers: Mapping[str, str]
    session: str
    """Ours at the server, when it was sent first."""
    until_s: float
    on_notification: OnNotification | None = None
    token: object = None
    """The caller's own progress token."""
    answer: JsonObject | None = None


class Exchanging(Protocol):
    """What such an exchange needs of its link: what any exchange does there."""

    def plain_answer(self, call: Call, connection: Connection, body: bytes) -> JsonObject:
        """The answer in a response that is no stream, or in its status."""
        ...

    def is_forgotten(self, call: Call, connection: Connection) -> bool:
        """Whether the server does not know our session any more."""
        ...

    def given_up(self, call: Call) -> None:
        """Nobody waits for the answer any more."""
        ...

    def over(self, begun: HttpBegun) -> None:
        """An exchange without a task has ended."""
        ...

    async def sent_afresh(self, call: Call) -> Connection:
        """The connection with the response's head, once the request was sent on one that was never used."""
        ...

    async def received(self, call: Call, connection: Connection) -> JsonObject:
        """The answer, once a response's head is there."""
        ...

    async def ended(self, call: Call, answer: Awaitable[JsonObject]) -> JsonObject:
        """The answer, or what the caller is told instead."""
        ...


def is_repeatable(call: Call) -> bool:
    """Whether a request may be sent again that no answer came to, on a connection that had rested."""
    return call.method != "tools/call"


class HttpBegun(Reply):
    """An exchange that was begun without a task. See `Begun`."""

    __slots__ = ("_call", "_connection", "_counted", "_link", "_lost")

    def __init__(self, link: Exchanging, call: Call, connection: Connection, told: Told) -> None:
        super().__init__(told)
        self._link = link
        self._call = call
        self._connection = connection
        self._counted = True
        self._lost: UpstreamLost | None = None
        """What the response says that was read: there is no answer in it."""

    def set_result(self, _result: None) -> None:
        """The response's head is there, and of no stream all of it."""
        if self._woken():
            return
        link, call, connection = self._link, self._call, self._connection
        if connection.is_stream or link.is_forgotten(call, connection):
            self.told.troubled()
            return
        try:
            body = connection.body()
            answer = link.plain_answer(call, connection, body)
        except UpstreamLost as lost:
            self._lost = lost
            self.told.troubled()
            return
        self._release()
        self.told.answered(answer, len(body))

    def set_exception(self, failure: Exception) -> None:
        """There is none: the connection was lost, the response was too large, or the time is over."""
        if isinstance(failure, TimeoutError):
            self._connection.abort()
        super().set_exception(failure)

    async def answer(self) -> JsonObject:
        """See `Begun.answer`."""
        try:
            return await self._link.ended(self._call, self._rest())
        finally:
            self._release()

    def abandon(self) -> None:
        """See `Begun.abandon`."""
        self._over = True
        if self._lost is None:  # else the response was read, and the connection may be another's by now
            self._connection.abort()
            self._link.given_up(self._call)
        self._release()

    async def _rest(self) -> JsonObject:
        if self._lost is not None:
            raise self._lost
        link, connection = self._link, self._connection
        try:
            await self._came()
        except asyncio.CancelledError:
            connection.abort()
            raise
        except UpstreamLost as lost:
            if not (is_repeatable(self._call) and connection.used and not lost.details.get("received")):
                raise
            connection = await link.sent_afresh(self._call)
        return await link.received(self._call, connection)

    def _release(self) -> None:
        if self._counted:
            self._counted = False
            self._link.over(self)
