"""A server's own requests on one connection: each is answered once, at most so many at a time, until it is withdrawn.

Who answers is the connection's owner's to say (`OnRequest`); on a shared connection everything but `ping` is refused,
see `connector`. How an answer travels is the link's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from henslowe.actors.endpoints import JsonObject, OnRequest
from henslowe.errors import HensloweError
from henslowe.transport.mcp import jsonrpc

log = logging.getLogger(__name__)

ASKED_MAX: Final = 64
"""Most requests of one server that wait for their answers."""


class Asked:
    """The requests that wait.

    Args:
        on_request: Answers them.
        send: Sends one message to the server.
        peer: The server's name for messages.
    """

    def __init__(self, on_request: OnRequest, send: Callable[[bytes], Awaitable[None]], peer: str) -> None:
        self._on_request = on_request
        self._send = send
        self._peer = peer
        self._tasks: dict[Any, asyncio.Task[None]] = {}

    def take(self, message: JsonObject) -> None:
        """Answer a request when there is an answer. One beyond the limit, or without a proper id, is dropped."""
        request_id, method = message["id"], message["method"]
        if not isinstance(request_id, str | int) or request_id in self._tasks or len(self._tasks) >= ASKED_MAX:
            log.warning("server_request_dropped", extra={"peer": self._peer, "method": str(method)[:80]})
            return
        params = message.get("params")
        answering = self._answer(request_id, str(method), params if isinstance(params, dict) else {})
        task = self._tasks[request_id] = asyncio.ensure_future(answering)
        task.add_done_callback(lambda _: self._tasks.pop(request_id, None))

    def withdrawn(self, params: Any) -> None:
        """The server does not want to know any more (`notifications/cancelled`)."""
        request_id = params.get("requestId") if isinstance(params, dict) else None
        task = self._tasks.get(request_id) if isinstance(request_id, str | int) else None
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Drop what waits. Idempotent."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, request_id: Any, method: str, params: JsonObject) -> None:
        answer = await self._on_request(method, params, request_id)
        try:
            await self._send(jsonrpc.reply(request_id, answer))
        except (HensloweError, ConnectionError, RuntimeError, TimeoutError) as cause:
            log.info("answer_not_sent", extra={"peer": self._peer, "method": method, "cause": str(cause)})
