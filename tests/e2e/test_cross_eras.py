"""Every feature of the protocol, between clients and servers of both eras, over pipes and over HTTP, through one node.

The servers are the SDK's (`tests/conformance/sdk_server.py`), one that knows both eras and one that knows handshakes
only; the clients are the SDK's, pinned to an era each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPError

from tests.e2e.harness import Node
from tests.e2e.load import ERAS, LEGACY

FIXTURE = Path(__file__).parents[1] / "conformance" / "sdk_server.py"
SERVERS = {
    "pipes": ("stdio",),
    "http": ("{port}",),
    "old-pipes": ("--legacy", "stdio"),
    "old-http": ("--legacy", "{port}"),
}
WATCHED = "test://watched-resource"
STEP_S = 10.0

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with all four servers active."""
    workspace = tmp_path_factory.mktemp("eras") / "workspace"
    workspace.mkdir()
    tables = []
    for name, arguments in SERVERS.items():
        tables.append(f"[services.{name}]\ncommand = {[sys.executable, str(FIXTURE), *arguments]!r}")
        if "{port}" in arguments:
            tables.append('url = "http://127.0.0.1:{port}/mcp"')
    (workspace / "henslowe.toml").write_text("\n".join(tables))
    with Node(workspace) as node:
        for name in SERVERS:
            node.wait_for_active(name, 1)
        yield node


@dataclass
class Heard:
    """What a client was told and asked."""

    progress: list[float] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)
    updated: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    async def elicit(self, _context: Any, params: Any) -> types.ElicitResult:
        self.asked.append("elicitation")
        answers = {"username": "Ada", "email": "ada@example.org", "name": "Ada", "color": "red"}
        wanted = params.requested_schema["properties"]
        return types.ElicitResult(action="accept", content={name: answers[name] for name in wanted})

    async def sample(self, _context: Any, _params: Any) -> types.CreateMessageResult:
        self.asked.append("sampling")
        content = types.TextContent(type="text", text="Paris")
        return types.CreateMessageResult(role="assistant", content=content, model="test")

    async def roots(self, _context: Any) -> types.ListRootsResult:
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root(uri="file:///work", name="work")])  # type: ignore[arg-type]

    async def log(self, params: Any) -> None:
        self.logs.append(params.data)

    async def message(self, message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification) and str(message.params.uri) == WATCHED:
            self.updated.set()

    async def step(self, progress: float, _total: float | None, _message: str | None) -> None:
        self.progress.append(progress)


@asynccontextmanager
async def client(url: str, era: str, *, asked: bool) -> AsyncIterator[tuple[Client, Heard]]:
    """A client of an era; one that is asked questions gets connections of its own at servers of the handshake era."""
    heard = Heard()
    answering: dict[str, Any] = {}
    if asked:
        answering = {
            "elicitation_callback": heard.elicit,
            "sampling_callback": heard.sample,
            "list_roots_callback": heard.roots,
        }
    async with Client(
        url,
        mode=era,
        cache=None,
        logging_callback=heard.log,
        log_level=None if era == LEGACY else "info",
        message_handler=heard.message,
        **answering,
    ) as connected:
        yield connected, heard


async def said(client: Client, tool: str, **arguments: Any) -> str:
    async with asyncio.timeout(STEP_S):
        result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    return " ".join(getattr(block, "text", "") for block in result.content)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("server", SERVERS)
async def test_what_clients_ask_is_answered(servers: Node, server: str, era: str) -> None:
    async with client(servers.mcp(server), era, asked=False) as (connected, heard):
        assert "test_simple_text" in {tool.name for tool in (await connected.list_tools()).tools}
        assert await said(connected, "test_simple_text") == "This is a simple text response for testing."

        assert "test_prompt_with_arguments" in {prompt.name for prompt in (await connected.list_prompts()).prompts}
        prompt = await connected.get_prompt("test_prompt_with_arguments", {"arg1": "one", "arg2": "two"})
        assert "one" in str(prompt.messages[0].content)

        assert WATCHED in {str(resource.uri) for resource in (await connected.list_resources()).resources}
        assert (await connected.list_resource_templates()).resource_templates
        read = await connected.read_resource("test://static-text")
        assert "static text resource" in read.contents[0].text  # type: ignore[union-attr]
        with pytest.raises(MCPError):
            await connected.read_resource("test://nowhere")

        reference = types.PromptReference(type="ref/prompt", name="test_prompt_with_arguments")
        completed = await connected.complete(reference, {"name": "arg1", "value": "par"})
        assert completed.completion.values is not None

        async with asyncio.timeout(STEP_S):
            await connected.call_tool("test_tool_with_progress", {}, progress_callback=heard.step)
        assert heard.progress == sorted(heard.progress)
        assert len(heard.progress) >= 2

        if era == LEGACY:
            await connected.set_logging_level("info")
        await said(connected, "test_tool_with_logging")
        assert len(heard.logs) >= 1


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("server", SERVERS)
async def test_what_servers_ask_is_answered(servers: Node, server: str, era: str) -> None:
    async with client(servers.mcp(server), era, asked=True) as (connected, heard):
        assert "Ada" in await said(connected, "test_elicitation", message="Who are you?")
        assert "Paris" in await said(connected, "test_sampling", prompt="Capital of France?")
        await said(connected, "test_input_required_result_list_roots")
        assert heard.asked == ["elicitation", "sampling", "roots"]
        await said(connected, "test_input_required_result_multi_round")
        assert heard.asked[3:] == ["elicitation", "elicitation"], "one question after the other"


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_client_hears_of_the_resource_that_it_watches(servers: Node, server: str, era: str) -> None:
    async with client(servers.mcp(server), era, asked=False) as (connected, heard):
        if era == LEGACY:
            await connected.subscribe_resource(WATCHED)
            await _updated_until(connected, heard.updated)
            return
        async with connected.listen(resource_subscriptions=[WATCHED]) as stream:

            async def first() -> None:
                async for event in stream:
                    if isinstance(event, ResourceUpdated):
                        heard.updated.set()

            listening = asyncio.create_task(first())
            await _updated_until(connected, heard.updated)
            listening.cancel()


async def _updated_until(connected: Client, heard: asyncio.Event) -> None:
    """The server says so again and again: the node's subscription at it begins a moment after the client's."""
    async with asyncio.timeout(STEP_S):
        while not heard.is_set():
            await said(connected, "test_resource_update")
            with_pause = asyncio.create_task(heard.wait())
            await asyncio.wait([with_pause], timeout=0.1)
            with_pause.cancel()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("server", SERVERS)
async def test_a_call_that_its_client_gives_up_is_given_up_by_the_server(servers: Node, server: str, era: str) -> None:
    async with client(servers.mcp(server), era, asked=False) as (connected, _):

        async def hung() -> dict[str, int]:
            return dict(json.loads(await said(connected, "test_hung")))

        before = (await hung())["cancelled"]
        calling = asyncio.create_task(connected.call_tool("test_hang", {}))
        async with asyncio.timeout(STEP_S):
            while not (await hung())["now"]:
                await asyncio.sleep(0.01)
            calling.cancel()
            while (now := await hung())["now"]:
                await asyncio.sleep(0.01)
        assert now["cancelled"] == before + 1
        with pytest.raises(asyncio.CancelledError):
            await calling
