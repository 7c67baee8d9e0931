"""Real children and real endpoints for the tests of the wire."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from henslowe.actors.endpoints import Era, JsonObject
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.config.settings import InstanceSettings
from henslowe.transport.mcp import McpConnector, eras
from henslowe.transport.mcp.endpoint import McpEndpoint

SERVERS = Path(__file__).parent / "servers"
RAW = (sys.executable, "-S", "-E", str(SERVERS / "raw_server.py"))
SDK = (sys.executable, str(SERVERS / "sdk_server.py"))
VERSION = VersionKey(ServiceName("hello"), 1)
INSTANCE = InstanceId("hello@1#1")
MODERN_META: JsonObject = {eras.PROTOCOL_VERSION_META: eras.LATEST_MODERN, eras.CLIENT_CAPABILITIES_META: {}}


@dataclass
class Heard:
    """What the owner of an endpoint was told."""

    events: list[JsonObject] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    something: asyncio.Event = field(default_factory=asyncio.Event)

    def on_event(self, _version: VersionKey, event: JsonObject) -> None:
        self.events.append(event)
        self.something.set()

    def on_closed(self, reason: str) -> None:
        self.closed.append(reason)
        self.something.set()

    async def next(self) -> None:
        async with asyncio.timeout(5):
            await self.something.wait()
        self.something.clear()


@dataclass
class Child:
    """A child process as `StdioProcess`."""

    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def stdin(self) -> Any:
        return self.process.stdin

    @property
    def stdout(self) -> Any:
        return self.process.stdout


@asynccontextmanager
async def running(argv: tuple[str, ...]) -> AsyncIterator[Child]:
    """A child, which is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # else its pipes warn when they are collected


@asynccontextmanager
async def opened(
    *argv: str, heard: Heard | None = None, connector: McpConnector | None = None, timeout_s: float = 20, **limits: Any
) -> AsyncIterator[McpEndpoint]:
    """An endpoint to a child that is started for it."""
    heard = heard or Heard()
    async with running(argv) as child:
        endpoint = await (connector or McpConnector(InstanceSettings(**limits))).connect_stdio(
            VERSION, INSTANCE, child, on_server_event=heard.on_event, on_closed=heard.on_closed, timeout_s=timeout_s
        )
        try:
            yield endpoint
        finally:
            await endpoint.close()


async def call(endpoint: McpEndpoint, tool: str, era: Era = Era.LEGACY, **arguments: Any) -> JsonObject:
    """Call a tool as a client of the era."""
    params: JsonObject = {"name": tool, "arguments": arguments}
    if era is Era.MODERN:
        params["_meta"] = MODERN_META
    return await endpoint.request("tools/call", params, era=era, timeout_s=10)
