"""What clients asked for once, subscriptions and log levels, outlives the server, its version and the node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.harness import Node
from tests.transport.gateway.world import ACCEPT, MODERN, call_body, initialize_body, modern_body

SERVER = Path(__file__).parents[1] / "transport" / "mcp" / "servers" / "asking_server.py"
WATCHED = "file:///watched"
STEP_S = 20.0


@dataclass
class Place:
    """A node, and a client of it."""

    node: Node
    http: aiohttp.ClientSession

    async def post(self, body: Any, **headers: str) -> Any:
        sent = {"Accept": ACCEPT, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.http.post(self.node.mcp("asking"), json=body, headers=sent) as response:
            answer = await response.json() if response.content_type == "application/json" else None
            return answer, response.headers.get("Mcp-Session-Id", "")

    async def session(self, **capabilities: Any) -> str:
        """A session that subscribes and wants errors only."""
        body = initialize_body()
        body["params"]["capabilities"] = capabilities
        _, session = await self.post(body)
        await self.ask(session, "resources/subscribe", uri=WATCHED)
        await self.ask(session, "logging/setLevel", level="error")
        return str(session)

    async def ask(self, session: str, method: str, **params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer, _ = await self.post(body, Mcp_Session_Id=session)
        return answer

    async def look(self, session: str) -> Any:
        """What the session's server has seen; its calls may fail while there is none."""
        async with asyncio.timeout(STEP_S):
            while "result" not in (answer := await self.ask(session, "tools/call", name="look")):
                pass
        return json.loads(answer["result"]["content"][0]["text"])

    async def stream(self, session: str) -> aiohttp.ClientResponse:
        headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        return await self.http.get(self.node.mcp("asking"), headers=headers)

    async def listen(self) -> aiohttp.ClientResponse:
        """The stream of a stateless client."""
        body = modern_body("subscriptions/listen", {"notifications": {"resourceSubscriptions": [WATCHED]}})
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen", "Accept": ACCEPT}
        return await self.http.post(self.node.mcp("asking"), json=body, headers=headers)


def save(node: Node, version: int) -> None:
    """Saves the service as one more version."""
    command = json.dumps([sys.executable, "-S", "-E", str(SERVER)])
    node.edit("asking", f"[launch]\ncommand = {command}\nenv = {{ NUMBER = '{version}' }}\n", "service.toml")


@pytest.fixture
async def place(workspace: Path) -> AsyncIterator[Place]:
    prepared = Node(workspace, "delivery.strategy=immediate", "delivery.drain_s=1")
    save(prepared, 1)
    with prepared as node:
        await asyncio.to_thread(node.wait_for_active, "asking", 1)
        async with aiohttp.ClientSession() as http:
            yield Place(node, http)


async def updated(place: Place, session: str, *streams: aiohttp.ClientResponse) -> None:
    """Returns when all streams have told of an update, of a resource that the session touches again and again."""

    async def heard(stream: aiohttp.ClientResponse) -> None:
        async for line in stream.content:
            if line.startswith(b"data: {") and b"notifications/resources/updated" in line:
                return
        raise AssertionError("the stream ended")

    async with asyncio.timeout(STEP_S):
        waiting = {asyncio.create_task(heard(stream)) for stream in streams}
        while waiting:
            await place.ask(session, "tools/call", name="touch")
            done, waiting = await asyncio.wait(waiting, timeout=0.05)
            for task in done:
                task.result()


async def test_subscriptions_and_levels_outlive_the_servers_process_and_the_node(place: Place) -> None:
    shared, own = await place.session(), await place.session(roots={})
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(s) for s in (await place.stream(shared), await place.listen())]
        alone = await stack.enter_async_context(await place.stream(own))
        await updated(place, shared, *streams)
        await updated(place, own, alone)
        before = {session: await place.look(session) for session in (shared, own)}
        assert (before[shared]["level"], before[own]["level"]) == ("info", "error")
        assert before[shared]["pid"] != before[own]["pid"]

        for seen in before.values():
            os.kill(seen["pid"], signal.SIGKILL)
        await updated(place, shared, *streams)
        await updated(place, own, alone)
        after = {session: await place.look(session) for session in (shared, own)}
        assert all(after[session]["pid"] != before[session]["pid"] for session in before)
        assert (after[shared]["level"], after[own]["level"]) == ("info", "error")

    await asyncio.to_thread(place.node.kill)
    await asyncio.to_thread(place.node.start)
    await asyncio.to_thread(place.node.wait_for_active, "asking", 1)
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(s) for s in (await place.stream(shared), await place.listen())]
        alone = await stack.enter_async_context(await place.stream(own))
        await updated(place, shared, *streams)
        await updated(place, own, alone)
        anew = {session: await place.look(session) for session in (shared, own)}
        assert (anew[shared]["level"], anew[own]["level"]) == ("info", "error")
        body = call_body("look")
        headers = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": "look"}
        answer, _ = await place.post(body, **headers)
        assert json.loads(answer["result"]["content"][0]["text"])["watched"] == [WATCHED]


async def test_subscriptions_and_levels_outlive_the_version(place: Place) -> None:
    shared, own = await place.session(), await place.session(roots={})
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(s) for s in (await place.stream(shared), await place.listen())]
        alone = await stack.enter_async_context(await place.stream(own))
        await updated(place, shared, *streams)
        await updated(place, own, alone)
        met = [{session: await place.look(session) for session in (shared, own)}]
        for way in ("forward", "back"):
            if way == "forward":
                save(place.node, 2)
                await asyncio.to_thread(place.node.wait_for_active, "asking", 2)
            else:
                await asyncio.to_thread(place.node.api.post, "/services/asking/actions/rollback", {"to_version": 1})
                await asyncio.to_thread(place.node.wait_for_active, "asking", 1)
            await updated(place, shared, *streams)  # streams that were open before
            await updated(place, own, alone)
            seen = {session: await place.look(session) for session in (shared, own)}
            assert (seen[shared]["level"], seen[own]["level"]) == ("info", "error")
            assert all(seen[session]["pid"] != met[-1][session]["pid"] for session in seen)
            assert seen[shared]["watched"] == seen[own]["watched"] == [WATCHED]
            met.append(seen)
