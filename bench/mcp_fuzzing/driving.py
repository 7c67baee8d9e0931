"""Sends requests in pipelines over raw sockets, and keeps what came of them. Not here: where they come from."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from bench.gateway import INITIALIZE, post

SESSIONS_EACH = 25
SESSION_PATHS = ("/mcp", "/mcp/fixture")
CONNECTIONS = 16
PIPELINE = 8
ANSWER_S = 30.0
"""Longest wait for the answers of one pipeline, on a busy machine."""
SHOWN_MAX = 5
SHOWN_BYTES = 1_500
LEFT = re.compile(rb'"reason":"timeout"|"code":"upstream_lost"')
"""In an answer of the node: the server had the request and did not answer it."""
SUSPECTS_MAX = 20


@dataclass(slots=True)
class Figures:
    """What the requests brought."""

    seed: int
    sent: int = 0
    took_s: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    hung_up: int = 0
    """Connections that the node ended: the rest of their pipelines was sent again over others."""
    growth_mb: float = 0.0
    left: int = 0
    """Requests that the server left unanswered."""
    suspects: list[str] = field(default_factory=list)
    """The first of them."""
    broken: list[str] = field(default_factory=list)


class Sessions:
    """Open sessions, by the path of their endpoint."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.of = {path: [self._open(path) for _ in range(SESSIONS_EACH)] for path in SESSION_PATHS}

    def renew(self, ended_by: bytes) -> None:
        """Opens another session in place of the one that a request ended: without it the rest would meet none."""
        for path, sessions in self.of.items():
            for at, session in enumerate(sessions):
                if session.encode() in ended_by:
                    sessions[at] = self._open(path)

    def _open(self, path: str) -> str:
        return post(self._url + path, INITIALIZE, {})[0]


class Source(Protocol):
    """Where requests come from."""

    def request(self) -> bytes:
        """The bytes of the next one."""
        ...


class Driver:
    """Connections that send pipelines until enough was sent."""

    def __init__(
        self, url: str, fuzzer: Source, figures: Figures, requests: int, renew: Callable[[bytes], None]
    ) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._fuzzer = fuzzer
        self._figures = figures
        self._requests = requests
        self._renew = renew

    async def run(self) -> None:
        """Send all requests."""
        await asyncio.gather(*(self._connection() for _ in range(CONNECTIONS)))

    async def _connection(self) -> None:
        while self._figures.sent < self._requests and len(self._figures.broken) < SHOWN_MAX:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                while self._figures.sent < self._requests and await self._pipeline(reader, writer):
                    pass
            except (ConnectionError, asyncio.IncompleteReadError):
                self._figures.hung_up += 1
            finally:
                writer.close()

    async def _pipeline(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One pipeline; whether the connection is still good."""
        requests = [self._fuzzer.request() for _ in range(PIPELINE)]
        writer.write(b"".join(requests))
        for request in requests:
            self._figures.sent += 1
            try:
                async with asyncio.timeout(ANSWER_S):
                    status, body, good = await _response(reader, head_only=request.startswith(b"HEAD"))
            except TimeoutError:
                self._broken("no answer", request)
                return False
            statuses = self._figures.statuses
            statuses[str(status)] = statuses.get(str(status), 0) + 1
            if status >= 500 and status != 503:
                self._broken(f"{status} {body[:300]!r}", request)
            elif body and b'"jsonrpc"' in body and not _is_rpc(body):
                self._broken(f"no JSON-RPC: {body[:300]!r}", request)
            elif LEFT.search(body):
                self._left(request)
            if request.startswith(b"DELETE") and status in (200, 204):
                await asyncio.to_thread(self._renew, request)
            if not good:
                return False
        return True

    def _broken(self, what: str, request: bytes) -> None:
        self._figures.broken.append(f"{what} to {request[:SHOWN_BYTES]!r}")

    def _left(self, request: bytes) -> None:
        self._figures.left += 1
        if len(self._figures.suspects) < SUSPECTS_MAX:
            self._figures.suspects.append(repr(request[:SHOWN_BYTES]))


async def _response(reader: asyncio.StreamReader, *, head_only: bool) -> tuple[int, bytes, bool]:
    """Status, body, and whether the connection can be used again: not after a stream."""
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        if status >= 200:  # an interim answer comes before the real one
            break
    if head_only or status in (204, 304):
        return status, b"", True
    _, found, rest = head.partition("content-length:")
    if not found:
        return status, b"", False
    body = await reader.readexactly(int(rest.split("\r\n", 1)[0]))
    return status, body, "connection: close" not in head


def _is_rpc(body: bytes) -> bool:
    """Whether a body is a JSON-RPC response, or a batch of them."""
    try:
        found = json.loads(body)
    except ValueError:
        return False
    answers = found if isinstance(found, list) else [found]
    return all(isinstance(a, dict) and a.get("jsonrpc") == "2.0" and ("result" in a) != ("error" in a) for a in answers)
