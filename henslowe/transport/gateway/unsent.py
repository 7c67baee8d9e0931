"""Large answers on their way to clients: a budget of bytes that all of them share, and the slices they are sent in.

A client that reads slowly, or not at all, keeps the rest of its answer in the node's memory. Small answers are the
connection's business; large ones are counted here until their last slice is taken, and beyond the budget a call gets
an error in place of its answer. How long a client may take for a slice is the listener's limit (`STALLED_S`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from aiohttp import web

from henslowe.errors import LimitReached
from henslowe.transport.mcp.large_json import Pieces

LARGE_BYTES: Final = 64 * 1024
"""Answers up to this size are not counted: sockets hold as much."""
_SLICE_BYTES: Final = 64 * 1024
_SLICES_AT_ONCE: Final = 2
"""Sent before others have their turn: a socket may take megabytes without a wait, at some 40 us a slice."""


class Unsent:
    """The bytes of large answers that clients have not taken yet.

    Args:
        bytes_max: The budget.

    Attributes:
        held: How many there are.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held = 0

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Count so many bytes while the block runs.

        Raises:
            LimitReached: They are beyond the budget. A single answer never is when nothing else is held.
        """
        if count > LARGE_BYTES and self.held and self.held + count > self._bytes_max:
            raise LimitReached(
                f"cannot send the answer of {count} bytes: clients have not read {self.held} bytes of theirs",
                hint="read answers as they come, or raise gateway.unsent_bytes_max",
            )
        self.held += count
        try:
            yield
        finally:
            self.held -= count


async def send_slices(request: web.Request, response: web.StreamResponse, body: Pieces) -> web.StreamResponse:
    """Send a body as fast as its client takes it, so that the connection never buffers more than a slice."""
    response.content_length = len(body)
    with suppress(ConnectionError):  # the client is gone, and nobody else waits for it
        await response.prepare(request)
        for number, part in enumerate(body.slices(_SLICE_BYTES), 1):
            await response.write(part)
            if not number % _SLICES_AT_ONCE:
                await asyncio.sleep(0)
        await response.write_eof()
    return response
