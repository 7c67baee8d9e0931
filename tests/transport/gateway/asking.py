"""A gateway in front of a small node whose servers ask their clients, and clients that answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent
from pydantic import FileUrl

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import InstanceUp
from henslowe.actors.routes import Route
from henslowe.transport.gateway import ManagedConnections
from tests.actors.instances.small_node import Node, gone, small_node
from tests.transport.gateway.world import CAPABILITIES, World, world

SERVER = Path(__file__).parents[1] / "mcp" / "servers" / "asking_server.py"
ASKING = (sys.executable, "-S", "-E", str(SERVER))
ONE, TWO = (VersionKey(ServiceName("hello"), number) for number in (1, 2))
BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
NAME_ONLY = {CAPABILITIES: {"elicitation": {}}}


@dataclass
class Place:
    """A gateway in front of a small node."""

    gw: World
    node: Node

    async def up(self, version: VersionKey, *, route: bool = True) -> None:
        count = sum(isinstance(message, InstanceUp) for message in self.node.heard)
        self.node.ensure(version, *ASKING)
        await self.node.told(InstanceUp, count + 1)
        if route:
            self.gw.route(Route(version.service, version))

    @property
    def private(self) -> int:
        """Private connections that the gateway has."""
        return int(self.gw.registry.get_sample_value("henslowe_gateway_private_connections") or 0)

    def private_pids(self) -> list[int]:
        ready = [e for e in self.node.events("INSTANCE_READY") if e.data.get("private") and e.status == "SUCCESS"]
        return [event.data["pid"] for event in ready]

    def client(self, mode: str, elicit: Any = None) -> Client:
        return Client(
            f"{self.gw.url}/mcp/hello",
            mode=mode,
            elicitation_callback=elicit or elicited,
            sampling_callback=_sample,
            list_roots_callback=_roots,
        )

    async def call(
        self,
        tool: str,
        state: str | None = None,
        responses: Any = None,
        *,
        arguments: JsonObject | None = None,
        **meta: Any,
    ) -> JsonObject:
        """A call of a stateless client, without a library that answers for it."""
        params: JsonObject = {"name": tool, "arguments": arguments or {}}
        if state is not None:
            params |= {"requestState": state, "inputResponses": responses}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        envelope = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", **NAME_ONLY, **meta}
        headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": tool}
        _, answer, _ = await self.gw.post("/mcp/hello", {**body, "params": {**params, "_meta": envelope}}, **headers)
        return dict(answer)

    async def gone(self, pid: int) -> None:
        async with asyncio.timeout(5):
            while not gone(pid):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def placed(tmp_path: Path, *, private_max: int = 8, **settings: Any) -> AsyncIterator[Place]:
    async with (
        small_node(tmp_path, private_max=private_max) as node,
        world(node.directory, ManagedConnections(), **settings) as gw,
    ):
        yield Place(gw, node)


async def elicited(_context: Any, _params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Philip"})


async def _sample(_context: Any, _params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="ho"), model="m")


async def _roots(_context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///home"))])


def text_of(answer: JsonObject) -> str:
    return str(answer["result"]["content"][0]["text"])


async def said(client: Client, tool: str) -> str:
    result = await asyncio.wait_for(client.call_tool(tool, {}), 5)
    return str(result.content[0].text)  # type: ignore[union-attr]
