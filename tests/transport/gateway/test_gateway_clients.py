"""Real clients of the SDK, in every mode, against a running gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.subscriptions import ToolsListChanged

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.routes import Route
from tests.transport.gateway.world import LocalServer, World, echo, saying, text, tool, until, version

MODES = ["legacy", "auto", "2026-07-28"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_lists_calls_and_reads_a_service(gw: World, mode: str) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}, resources={"file:///a": "content"}, prompts=("greet",)))
    async with Client(f"{gw.url}/mcp/hello", mode=mode) as client:
        assert [t.name for t in (await client.list_tools()).tools] == ["echo"]
        result = await client.call_tool("echo", {"text": "hi"})
        assert result.content[0].text == "hi"  # type: ignore[union-attr]
        assert (await client.read_resource("file:///a")).contents[0].text == "content"  # type: ignore[union-attr]
        assert [p.name for p in (await client.list_prompts()).prompts] == ["greet"]


@pytest.mark.parametrize("mode", MODES)
async def test_a_client_sees_all_services_under_one_address(gw: World, mode: str) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}, resources={"file:///a": "from hello"}, prompts=("greet",)))
    gw.serve(LocalServer(version("a__b_"), {"_c__d": saying("odd")}, resources={"file:///a": "from a"}))
    async with Client(f"{gw.url}/mcp", mode=mode) as client:
        names = [t.name for t in (await client.list_tools()).tools]
        assert names == ["a_._b_.___c__d", "hello__echo"]
        assert (await client.call_tool(names[0], {})).content[0].text == "odd"  # type: ignore[union-attr]
        uris = [str(r.uri) for r in (await client.list_resources()).resources]
        assert uris == ["mcp+a..b.+file:///a", "mcp+hello+file:///a"]
        read = await client.read_resource(uris[1])
        assert (str(read.contents[0].uri), read.contents[0].text) == (uris[1], "from hello")  # type: ignore[union-attr]
        assert (await client.get_prompt("hello__greet")).messages[0].content.text == "greet"  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", MODES)
async def test_progress_reaches_the_client_before_the_answer(gw: World, mode: str) -> None:
    async def slow(params: JsonObject, notify: OnNotification) -> JsonObject:
        for step in (1, 2):
            progress = {"progressToken": "the server's", "progress": step, "total": 2}
            notify({"jsonrpc": "2.0", "method": "notifications/progress", "params": progress})
        return text("done")

    gw.serve(LocalServer(version("hello"), {"slow": slow}))
    seen: list[float] = []

    async def on_progress(progress: float, _total: float | None, _message: str | None) -> None:
        seen.append(progress)

    async with Client(f"{gw.url}/mcp/hello", mode=mode) as client:
        result = await client.call_tool("slow", {}, progress_callback=on_progress)
        assert result.content[0].text == "done"  # type: ignore[union-attr]
        assert seen == [1, 2]


async def test_a_session_survives_a_version_swap_and_hears_of_the_new_tools(gw: World) -> None:
    first = gw.serve(LocalServer(version("hello", 1), {"echo": echo}))
    heard = asyncio.Event()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            heard.set()

    async with Client(f"{gw.url}/mcp/hello", mode="legacy", message_handler=on_message) as client:
        await client.call_tool("echo", {"text": "1"})
        await _streams(gw, 1)
        gw.serve(LocalServer(version("hello", 2), {"echo": echo, "shout": saying("HEY")}))
        gw.down(first)
        await asyncio.wait_for(heard.wait(), 5)
        assert [t.name for t in (await client.list_tools()).tools] == ["echo", "shout"]
        assert (await client.call_tool("shout", {})).content[0].text == "HEY"  # type: ignore[union-attr]
    assert len(gw.sessions) == 0, "the client's DELETE ends the session"


async def test_a_stateless_client_that_listens_hears_of_the_new_tools(gw: World) -> None:
    gw.serve(LocalServer(version("hello", 1), {"echo": echo}))
    async with (
        Client(f"{gw.url}/mcp/hello", mode="2026-07-28") as client,
        client.listen(tools_list_changed=True, prompts_list_changed=True) as subscription,
    ):
        gw.serve(LocalServer(version("hello", 2), {"shout": saying("HEY")}))
        event = await asyncio.wait_for(anext(subscription), 5)
        assert event == ToolsListChanged()
        assert [t.name for t in (await client.list_tools()).tools] == ["shout"]
        await gw.gateway.close()
        with pytest.raises(StopAsyncIteration):  # the stream ends with its closing message, not with a lost connection
            await asyncio.wait_for(anext(subscription), 5)


async def test_the_aggregate_hears_of_services_that_come_and_go(gw: World) -> None:
    gw.serve(LocalServer(version("hello"), {"echo": echo}))
    async with (
        Client(f"{gw.url}/mcp", mode="2026-07-28") as client,
        client.listen(tools_list_changed=True) as subscription,
    ):
        gw.serve(LocalServer(version("other"), {"x": echo}))
        assert await asyncio.wait_for(anext(subscription), 5) == ToolsListChanged()
        gw.routes.publish({"hello": gw.routes.current["hello"]})  # type: ignore[dict-item]
        assert await asyncio.wait_for(anext(subscription), 5) == ToolsListChanged()
        assert [t.name for t in (await client.list_tools()).tools] == ["hello__echo"]


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")  # that is why it is still to be tested
async def test_a_resource_update_reaches_both_eras(gw: World) -> None:
    server = gw.serve(LocalServer(version("hello"), {}, resources={"file:///a": "1", "file:///b": "2"}))
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def on_message(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            heard.put_nowait(str(message.params.uri))

    async with (
        Client(f"{gw.url}/mcp/hello", mode="legacy", message_handler=on_message) as old,
        Client(f"{gw.url}/mcp", mode="2026-07-28") as new,
        new.listen(resource_subscriptions=["mcp+hello+file:///a"]) as subscription,
    ):
        await old.session.subscribe_resource("file:///a")
        await _streams(gw, 2)
        for uri in ("file:///b", "file:///a"):
            message = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}}
            gw.gateway.server_event(server.version, message)
        assert await asyncio.wait_for(heard.get(), 5) == "file:///a"
        event: Any = await asyncio.wait_for(anext(subscription), 5)
        assert event.uri == "mcp+hello+file:///a"
    await until(lambda: not server.watched)


async def test_clients_of_both_eras_keep_calling_while_versions_change(gw: World) -> None:
    """Twenty swaps under load: the old instance leaves only after the route has moved on, and no call fails."""
    current = gw.serve(LocalServer(version("hello", 1), {"echo": echo}))
    stop = asyncio.Event()
    done = 0

    async def load(mode: str) -> None:
        nonlocal done
        async with Client(f"{gw.url}/mcp/hello", mode=mode) as client:
            while not stop.is_set():
                result = await client.call_tool("echo", {"text": mode})
                assert result.content[0].text == mode  # type: ignore[union-attr]
                done += 1

    loads = [asyncio.create_task(load(mode)) for mode in ("legacy", "2026-07-28")]
    for number in range(2, 22):
        seen = done
        await until(lambda seen=seen: done >= seen + 4 or any(task.done() for task in loads))  # type: ignore[misc]
        successor = gw.serve(LocalServer(version("hello", number), {"echo": echo}))
        gw.down(current)
        current = successor
    stop.set()
    await asyncio.wait_for(asyncio.gather(*loads), 5)
    assert {record.outcome for record in gw.observations.take()} <= {"ok"}


async def test_a_tool_with_header_parameters_is_called_with_its_headers(gw: World) -> None:
    properties = {"region": {"type": "string", "x-mcp-header": "Region"}}
    server = LocalServer(version("hello"), {"find": echo}, listed={"find": tool("find", properties=properties)})
    gw.serve(server)
    async with Client(f"{gw.url}/mcp/hello", mode="2026-07-28") as client:
        await client.list_tools()
        await client.call_tool("find", {"region": "Zürich", "text": "x"})
    assert server.headers["mcp-param-region"].startswith("=?base64?")


async def test_a_canary_meets_only_its_units(gw: World) -> None:
    gw.up(LocalServer(version("hello", 1), {"v": saying("stable")}))
    gw.up(LocalServer(version("hello", 2), {"v": saying("canary")}))
    gw.route(Route(version("hello").service, version("hello", 1), version("hello", 2), 5_000, "salt"))
    answers: dict[str, set[str]] = {}
    for number in range(12):
        async with Client(f"{gw.url}/mcp/hello", mode="legacy") as client:
            said = {(await client.call_tool("v", {})).content[0].text for _ in range(3)}  # type: ignore[union-attr]
            answers[str(number)] = said
    assert all(len(said) == 1 for said in answers.values()), "a session never sees two versions"
    assert {*answers["0"]}.union(*answers.values()) == {"stable", "canary"}


async def _streams(gw: World, count: int) -> None:
    """Wait until that many change streams are open."""
    await until(lambda: gw.registry.get_sample_value("henslowe_gateway_streams") == count)
