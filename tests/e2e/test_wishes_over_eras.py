"""What clients of both eras asked for once, subscriptions and log levels, over a crash, swaps of versions and restarts.

Sessions meet a server of the stateless era, which knows none of them: whichever instance serves them next must be told
anew. How servers of the handshake era are told is in `test_standing_wishes`, which also looks into them.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.harness import Node
from tests.transport.gateway.world import ACCEPT, MODERN, initialize_body, modern_body

FIXTURE = Path(__file__).parents[1] / "conformance" / "sdk_server.py"
WATCHED = "test://watched-resource"
STEP_S = 20.0
LAUNCH = {
    "pipes": f"command = {[sys.executable, str(FIXTURE), 'stdio']!r}",
    "http": f"wire = 'http'\ncommand = {[sys.executable, str(FIXTURE), '{port}']!r}\nurl = 'http://127.0.0.1:{{port}}/mcp'",
}


def save(node: Node, wire: str, version: int) -> None:
    """Saves the service as one more version."""
    node.edit("wished", f"[launch]\n{LAUNCH[wire]}\nenv = {{ NUMBER = '{version}' }}\n", "service.toml")


@dataclass
class Place:
    """A node, its clients, and what they are told."""

    node: Node
    http: aiohttp.ClientSession
    sessions: dict[str, str] = field(default_factory=dict)
    """By the least level of logs that they want."""

    async def open(self) -> None:
        for level in ("debug", "error"):
            async with self._post(initialize_body()) as response:
                session = self.sessions[level] = response.headers["Mcp-Session-Id"]
            await self.ask(session, "resources/subscribe", uri=WATCHED)
            await self.ask(session, "logging/setLevel", level=level)

    async def ask(self, session: str, method: str, **params: Any) -> list[Any]:
        """All messages that answer a request, the answer last."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with asyncio.timeout(STEP_S):
            while True:
                async with self._post(body, **{"Mcp-Session-Id": session}) as response:
                    text = await response.text()
                    assert response.status == 200, text
                lines = text.splitlines() if response.content_type == "text/event-stream" else [f"data: {text}"]
                said = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
                if "result" in said[-1]:
                    return said
                assert said[-1]["error"].get("data", {}).get("code") in ("upstream_lost", "unavailable"), said

    async def logged(self, level: str) -> int:
        """How many log lines a session is sent about a call that writes three at `info`."""
        said = await self.ask(self.sessions[level], "tools/call", name="test_tool_with_logging", arguments={})
        return sum(message.get("method") == "notifications/message" for message in said)

    @asynccontextmanager
    async def streams(self) -> AsyncIterator[list[aiohttp.ClientResponse]]:
        """The change streams of the sessions, and that of a stateless client."""
        async with AsyncExitStack() as stack:
            url, opened = self.node.mcp("wished"), []
            for session in self.sessions.values():
                headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
                opened.append(await stack.enter_async_context(self.http.get(url, headers=headers)))
            body = modern_body("subscriptions/listen", {"notifications": {"resourceSubscriptions": [WATCHED]}})
            headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen"}
            opened.append(await stack.enter_async_context(self._post(body, **headers)))
            yield opened

    async def kept(self, streams: list[aiohttp.ClientResponse]) -> None:
        """Returns when all that was asked for holds: updates on each stream, and each session's logs."""

        async def updated(stream: aiohttp.ClientResponse) -> None:
            async for line in stream.content:
                if line.startswith(b"data: {") and b"notifications/resources/updated" in line:
                    return
            raise AssertionError("the stream ended")

        async with asyncio.timeout(STEP_S):
            waiting = {asyncio.create_task(updated(stream)) for stream in streams}
            while waiting:
                await self.ask(self.sessions["debug"], "tools/call", name="test_resource_update", arguments={})
                done, waiting = await asyncio.wait(waiting, timeout=0.05)
                for task in done:
                    task.result()
        assert (await self.logged("debug"), await self.logged("error")) == (3, 0)

    def _post(self, body: Any, **headers: str) -> Any:
        return self.http.post(self.node.mcp("wished"), json=body, headers={"Accept": ACCEPT, **headers})


def end_instance(node: Node) -> None:
    (pid,) = node.servers("wished")
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("wire", LAUNCH)
async def test_wishes_of_both_eras_outlive_a_crash_swaps_of_versions_and_restarts(workspace: Path, wire: str) -> None:
    prepared = Node(workspace, "delivery.strategy=immediate", "delivery.drain_s=1")
    save(prepared, wire, 1)
    with prepared as node:
        await asyncio.to_thread(node.wait_for_active, "wished", 1)
        assert node.service("wished")["instances"][0]["era"] == "modern"
        async with aiohttp.ClientSession() as http:
            place = Place(node, http)
            await place.open()
            async with place.streams() as streams:
                await place.kept(streams)
                await asyncio.to_thread(end_instance, node)
                await place.kept(streams)
                save(node, wire, 2)
                await asyncio.to_thread(node.wait_for_active, "wished", 2)
                await place.kept(streams)
                await asyncio.to_thread(node.api.post, "/services/wished/actions/rollback", {"to_version": 1})
                await asyncio.to_thread(node.wait_for_active, "wished", 1)
                await place.kept(streams)
            for end in (node.stop, node.kill):
                await asyncio.to_thread(end)
                await asyncio.to_thread(node.start)
                await asyncio.to_thread(node.wait_for_active, "wished", 1)
                async with place.streams() as streams:
                    await place.kept(streams)
