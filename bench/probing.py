"""Calls one after the other, as fast as they are answered, that tell which version answers when.

They are of the stateless era and have no session: whatever the gateway does to all new calls shows in them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, Self

import aiohttp

_CLIENT: Final = {"name": "prober", "version": "1"}
CALL: Final = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {
        "name": "greet",
        "arguments": {"name": "Ada"},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": _CLIENT,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
}
HEADERS: Final = {
    "Accept": "application/json, text/event-stream",
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Mcp-Name": "greet",
}


class Prober:
    """Calls `greet` while the block lasts; of each answer the start of its call and the number at its end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._task: asyncio.Task[None] | None = None
        self.answered: list[tuple[float, int]] = []
        self.failures: list[str] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._call())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _call(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                began_s = time.monotonic()
                try:
                    async with session.post(self._url, json=CALL, headers=HEADERS) as response:
                        body: dict[str, Any] = await response.json()
                    text = str(body["result"]["content"][0]["text"])
                    self.answered.append((began_s, int(text.rpartition(" ")[2])))
                except (aiohttp.ClientError, TimeoutError, LookupError, ValueError) as error:
                    self.failures.append(f"probe: {type(error).__name__}: {error}")
                    await asyncio.sleep(0.01)


def switch_lags_ms(asked: Sequence[tuple[float, float, int]], answered: Sequence[tuple[float, int]]) -> list[float]:
    """Per switch, sorted: milliseconds until the start of the last call that another version answered; 0 for none.

    Args:
        asked: From when to when each switch is looked at, and to which version it goes, in order.
        answered: When each call began, and which version answered it, in order.
    """
    lags = []
    for began_s, ends_s, version in asked:
        wrong = (at_s - began_s for at_s, answering in answered if began_s <= at_s < ends_s and answering != version)
        lags.append(1_000 * max(wrong, default=0.0))
    return sorted(lags)
