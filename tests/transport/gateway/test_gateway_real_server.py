"""The gateway over the real wire: a child with pipes that answers, is killed, and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from henslowe.actors.ids import InstanceId
from henslowe.actors.kernel import OsProcess, Scheduler
from henslowe.actors.routes import Route
from henslowe.config.settings import InstanceSettings
from henslowe.transport.mcp import McpConnector
from tests.transport.gateway.world import World, until, version

V1 = version("echo", 1)
BY_THE_METHOD = Path(__file__).parents[1] / "mcp" / "servers" / "raw_server.py"
"""A server to which whatever is called a cancellation is one, with an id or without."""
SERVER = """
import json, os, sys
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m:
        continue
    p = m.get("params") or {}
    if m["method"] == "initialize":
        r = {"protocolVersion": p["protocolVersion"], "capabilities": {"tools": {}},
             "serverInfo": {"name": "echo", "version": "1"}}
    elif m["method"] == "tools/list":
        tool = lambda name, **hints: {"name": name, "inputSchema": {"type": "object"}, "annotations": hints}
        r = {"tools": [tool("pid", readOnlyHint=True), tool("die", readOnlyHint=True), tool("die_writing")]}
    elif m["method"] == "tools/call":
        if p["name"].startswith("die") and not os.path.exists(sys.argv[1]):
            open(sys.argv[1], "w").close()
            os.kill(os.getpid(), 9)
        r = {"content": [{"type": "text", "text": str(os.getpid())}]}
    else:
        print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32601, "message": "?"}}), flush=True)
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": r}), flush=True)
"""


class Instances:
    """Starts the server and starts it again when it ends, as a node's instance manager does."""

    def __init__(self, gw: World, mark: Path) -> None:
        self._gw = gw
        self._mark = mark
        self._starting: set[asyncio.Task[None]] = set()
        self.children: list[OsProcess] = []
        self.keep = True

    async def start(self) -> None:
        child = await OsProcess.spawn([sys.executable, "-S", "-c", SERVER, str(self._mark)])
        self.children.append(child)

        def closed(_reason: str) -> None:
            self._gw.directory.remove(endpoint)
            if self.keep:
                task = asyncio.ensure_future(self.start())
                self._starting.add(task)
                task.add_done_callback(self._starting.discard)

        endpoint = await McpConnector(InstanceSettings()).connect_stdio(
            V1,
            InstanceId(f"echo@1#{len(self.children)}"),
            child,
            on_server_event=self._gw.gateway.server_event,
            on_closed=closed,
            timeout_s=5,
        )
        self._gw.directory.add(endpoint)

    async def stop(self) -> None:
        self.keep = False
        for task in self._starting:
            task.cancel()
        for endpoint in self._gw.directory.of(V1):
            await endpoint.close()  # type: ignore[attr-defined]
        for child in self.children:
            await child.stop(grace_s=0.1)


@pytest.fixture
async def instances(gw: World, tmp_path: Path) -> AsyncIterator[Instances]:
    Scheduler.install()
    running = Instances(gw, tmp_path / "died")
    await running.start()
    gw.route(Route(V1.service, V1))
    yield running
    await running.stop()


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_clients_outlive_kill_9(gw: World, instances: Instances, mode: str) -> None:
    async with Client(f"{gw.url}/mcp/echo", mode=mode) as client:
        pids = set()
        for _ in range(2):
            result = await asyncio.wait_for(client.call_tool("pid", {}), 5)
            pid = int(result.content[0].text)  # type: ignore[union-attr]
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
        assert len(pids) == 2
        assert [t.name for t in (await client.list_tools()).tools] == ["pid", "die", "die_writing"]


async def test_a_safe_call_that_kills_its_server_is_answered_by_the_next_one(gw: World, instances: Instances) -> None:
    status, answer, _ = await gw.modern("/mcp/echo", "tools/call", {"name": "die"})
    assert (status, answer["result"]["resultType"]) == (200, "complete")
    assert [r.outcome.value for r in gw.observations.take()] == ["crash", "ok"]


async def test_no_client_cancels_the_call_of_another_one_by_its_number_at_the_server(gw: World) -> None:
    Scheduler.install()
    child = await OsProcess.spawn([sys.executable, str(BY_THE_METHOD)])
    endpoint = await McpConnector(InstanceSettings()).connect_stdio(
        V1,
        InstanceId("echo@1#1"),
        child,
        on_server_event=gw.gateway.server_event,
        on_closed=lambda _reason: None,
        timeout_s=5,
    )
    gw.directory.add(endpoint)
    gw.route(Route(V1.service, V1))
    waiting = asyncio.ensure_future(gw.modern("/mcp/echo", "tools/call", {"name": "wait"}))
    try:
        session = await gw.initialize("/mcp/echo")

        async def state() -> Any:
            _, answer, _ = await gw.legacy("/mcp/echo", session, "tools/call", {"name": "waiting"})
            return answer["result"]["structuredContent"]

        async with asyncio.timeout(5):
            while not (numbers := (await state())["waiting"]):
                pass
        cancel = {"requestId": numbers[0], "reason": "mine"}
        for status, answer, _ in (
            await gw.legacy("/mcp/echo", session, "notifications/cancelled", cancel),
            await gw.modern("/mcp/echo", "notifications/cancelled", cancel),
        ):
            assert (status, answer["error"]["code"]) == (400, -32600)
        assert await state() == {"cancelled": [], "waiting": numbers}
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await endpoint.close()
        await child.stop(grace_s=0.1)


async def test_another_call_that_kills_its_server_may_have_run(gw: World, instances: Instances) -> None:
    status, answer, _ = await gw.modern("/mcp/echo", "tools/call", {"name": "die_writing"})
    assert (status, answer["error"]["data"]["code"], answer["error"]["data"]["sent"]) == (200, "upstream_lost", True)
    await until(lambda: bool(gw.directory.of(V1)))
