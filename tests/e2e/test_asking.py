"""A developed server of the handshake era that asks its clients, edited while a question is open."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp_types import ElicitResult

from tests.e2e.harness import Node

SERVER = (Path(__file__).parents[1] / "transport" / "mcp" / "servers" / "asking_server.py").read_text()

pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_question_asked_before_an_edit_is_answered_after_it(workspace: Path, mode: str) -> None:
    node = Node(workspace)
    node.edit("asker", SERVER)  # so that the workspace is not empty: no sample is built beside it
    with node:
        await asyncio.to_thread(node.wait_for_active, "asker", 1)
        asked, answer = asyncio.Event(), asyncio.Event()

        async def ponder(_context: Any, _params: Any) -> ElicitResult:
            asked.set()
            await answer.wait()
            return ElicitResult(action="accept", content={"name": "Ann"})

        async def said(tool: str) -> str:
            result = await asyncio.wait_for(client.call_tool(tool, {}), 20)
            return str(result.content[0].text)  # type: ignore[union-attr]

        async with Client(node.mcp("asker"), mode=mode, elicitation_callback=ponder) as client:
            before = json.loads(await said("look"))["pid"]
            calling = asyncio.ensure_future(said("ask_name"))
            await asyncio.wait_for(asked.wait(), 10)
            assert "asker@1~1" in str(await asyncio.to_thread(node.api.get, "/tree"))
            await asyncio.to_thread(node.edit, "asker", SERVER.replace("Hello", "Good day"))
            await asyncio.to_thread(node.wait_for_active, "asker", 2)
            assert json.loads(await said("look"))["pid"] != before
            answer.set()
            assert await calling == "Hello Ann"
            assert await said("ask_name") == "Good day Ann"


@pytest.mark.timeout(120)
async def test_no_call_of_clients_that_are_asked_fails_while_their_server_is_edited(workspace: Path) -> None:
    answered: list[str] = []
    stop = asyncio.Event()

    async def accept(_context: Any, _params: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ann"})

    async def load(mode: str) -> None:
        async with Client(node.mcp("asker"), mode=mode, elicitation_callback=accept) as client:
            while not stop.is_set():
                result = await asyncio.wait_for(client.call_tool("ask_name", {}), 20)
                answered.append(result.content[0].text)  # type: ignore[union-attr]
                await asyncio.sleep(0.01)  # a person's pace, and room for the node on the same cores

    async def until_answered(greeting: str) -> None:
        async with asyncio.timeout(30):
            while f"{greeting} Ann" not in answered:
                await asyncio.sleep(0.01)

    node = Node(workspace)
    node.edit("asker", SERVER)  # so that the workspace is not empty: no sample is built beside it
    with node:
        await asyncio.to_thread(node.wait_for_active, "asker", 1)
        async with asyncio.TaskGroup() as clients:
            for mode in ("legacy", "2026-07-28", "legacy", "2026-07-28"):
                clients.create_task(load(mode))
            await until_answered("Hello")
            for number in (2, 3):
                await asyncio.to_thread(node.edit, "asker", SERVER.replace("Hello", f"Greetings {number},"))
                await asyncio.to_thread(node.wait_for_active, "asker", number)
                await until_answered(f"Greetings {number},")
            stop.set()
    assert set(answered) == {"Hello Ann", "Greetings 2, Ann", "Greetings 3, Ann"}
