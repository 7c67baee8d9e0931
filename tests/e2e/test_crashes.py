"""Kills: of a server, and of the node itself. Clients keep their sessions, and nothing is left over."""

import asyncio
import os
import signal
from pathlib import Path

from tests.e2e.harness import Node, quick, wait_until
from tests.e2e.load import LEGACY, Load

CLIENTS = 8


async def test_a_killed_server_is_restarted_and_no_call_fails(quick_workspace: Path) -> None:
    with Node(quick_workspace) as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=40) as load:
            for _ in range(3):
                await load.more_calls(20)
                (pid,) = await asyncio.to_thread(node.servers, "hello")
                os.kill(pid, signal.SIGKILL)
                await asyncio.to_thread(_another_server, node, pid)
            await load.more_calls(20)
        assert load.tally.failures == []
        assert load.tally.sessions_opened == CLIENTS
        downs = node.events(service="hello", type="INSTANCE_DOWN", limit=10)
        assert len(downs) == 3


def _another_server(node: Node, pid: int) -> None:
    wait_until(
        lambda: [found for found in node.servers("hello") if found != pid], "another server to run", said=node.report
    )


async def test_a_node_killed_twice_comes_back_with_its_sessions_and_its_history(quick_workspace: Path) -> None:
    with Node(quick_workspace) as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        history = node.events(stream="lifecycle", limit=1_000)
        async with Load(node.mcp("hello"), clients=CLIENTS, calls_per_s=40, patient=True) as load:
            for _ in range(2):
                await load.more_calls(40)
                await asyncio.to_thread(node.kill)
                # The servers end with their node: whoever is started next meets nobody.
                await asyncio.to_thread(node.wait_for_no_processes, 5.0)
                await asyncio.to_thread(node.start)
                await asyncio.to_thread(node.wait_for_active, "hello", 1)
            await load.more_calls(40)
        assert load.tally.failures == []
        assert load.tally.sessions_opened == CLIENTS, "the sessions outlived the node"
        assert load.tally.retries > 0, "the clients noticed"
        after = {event["seq"]: event for event in node.events(stream="lifecycle", limit=1_000)}
        assert [after.get(event["seq"]) for event in history] == history, "what was acknowledged is there"
        assert node.stop() == 0


async def test_a_node_that_was_busy_when_it_was_killed_makes_canaries_at_once_when_it_is_back(
    quick_workspace: Path,
) -> None:
    with Node(quick_workspace, "delivery.strategy=auto") as node:
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        async with Load(node.mcp("hello"), clients=24, eras=(LEGACY,), calls_per_s=60) as load:
            await load.more_calls(100)  # two seconds of the router, which writes within one that there are so many
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        await asyncio.to_thread(node.wait_for_active, "hello", 1)
        node.edit("hello", quick("Hi"))
        row = await asyncio.to_thread(node.wait_for_state, "hello", 2, "CANARY", "ACTIVE")
        assert row["state"] == "CANARY", "nobody has called since the restart, but many did just before"


def test_a_node_that_is_asked_to_stop_leaves_nothing_behind(quick_workspace: Path) -> None:
    with Node(quick_workspace) as node:
        node.wait_for_active("hello", 1)
        assert node.stop() == 0
        assert not (node.data / "node.json").exists()
        node.wait_for_no_processes(2.0)
