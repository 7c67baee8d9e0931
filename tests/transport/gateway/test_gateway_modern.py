"""Stateless clients: discover, caching, listen streams, logs, and what is forwarded."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.routes import Route
from tests.transport.gateway.world import (
    ACCEPT,
    LOG_LEVEL,
    MODERN,
    SERVER_INFO,
    SUBSCRIPTION_ID,
    LocalServer,
    World,
    call_body,
    echo,
    events,
    modern_body,
    text,
    version,
    world,
)

V1, V2 = version("hello", 1), version("hello", 2)
LISTEN = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen", "Accept": ACCEPT}


async def test_discover_is_answered_from_what_the_server_said(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"echo": echo}))
    status, answer, headers = await gw.modern("/mcp/hello", "server/discover")
    assert status == 200
    assert answer["result"] == {
        "supportedVersions": ["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"],
        "capabilities": {"tools": {"listChanged": True}, "logging": {}},
        "instructions": "I am hello@1",
        "resultType": "complete",
        "ttlMs": 5_000,
        "cacheScope": "private",
        "_meta": {SERVER_INFO: {"name": "hello", "version": "1"}},
    }
    assert server.calls == []
    assert "Mcp-Session-Id" not in headers


@pytest.mark.parametrize("path", ["/mcp/hello", "/mcp"])
async def test_lists_may_be_cached_briefly_and_shortest_in_a_rollout(gw: World, path: str) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))

    async def policy() -> tuple[int, str]:
        result = (await gw.modern(path, "tools/list"))[1]["result"]
        return result["ttlMs"], result["cacheScope"]

    assert await policy() == (5_000, "private")
    gw.up(LocalServer(V2, {"echo": echo}))
    for holdback in (False, True):
        gw.route(Route(V1.service, V1, V2, 500, "salt", holdback=holdback))
        assert await policy() == (1_000, "private")


async def test_a_tool_call_carries_no_cache_policy(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    _, answer, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "echo", "arguments": {"text": "x"}})
    assert set(answer["result"]) == {"content", "isError", "resultType", "_meta"}


async def test_logs_come_only_when_asked_for(gw: World) -> None:
    async def chatty(_params: JsonObject, notify: OnNotification) -> JsonObject:
        notify({"method": "notifications/message", "params": {"level": "info", "data": "x"}})
        notify({"method": "notifications/message", "params": {"level": "error", "data": "y"}})
        return text("done")

    gw.serve(LocalServer(V1, {"chatty": chatty}))
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "chatty", "Accept": ACCEPT}
    async with gw.http.post(f"{gw.url}/mcp/hello", json=call_body("chatty"), headers=headers) as response:
        assert response.content_type == "application/json"
    body = call_body("chatty", **{LOG_LEVEL: "error"})
    async with gw.http.post(f"{gw.url}/mcp/hello", json=body, headers=headers) as response:
        assert response.content_type == "text/event-stream"
        got = [message async for _, message in events(response)]
    assert [m.get("params", {}).get("data") for m in got] == ["y", None]
    assert got[-1]["result"]["resultType"] == "complete"


async def test_a_listen_stream_acknowledges_first_and_tags_everything(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}, prompts=("p",)))
    wanted = {
        "toolsListChanged": True,
        "promptsListChanged": False,
        "other": ["x"],
        "resourceSubscriptions": [],
    }
    body = {**modern_body("subscriptions/listen", {"notifications": wanted}), "id": "L1"}
    async with gw.http.post(f"{gw.url}/mcp/hello", json=body, headers=LISTEN) as stream:
        heard = events(stream)
        _, first = await anext(heard)
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"] == {"notifications": {"toolsListChanged": True}, "_meta": {SUBSCRIPTION_ID: "L1"}}
        gw.serve(LocalServer(V2, {"other": echo}, prompts=("q",)))
        _, second = await anext(heard)
        assert second["method"] == "notifications/tools/list_changed", "prompts changed too, but were not asked for"
        assert second["params"] == {"_meta": {SUBSCRIPTION_ID: "L1"}}
        await gw.gateway.close()
        rest: list[Any] = [message async for _, message in heard]
        assert rest == [
            {"jsonrpc": "2.0", "id": "L1", "result": {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: "L1"}}}
        ]


async def test_a_listener_moves_on_with_its_epoch() -> None:
    """In a rollout the arm of a stateless client changes with the epoch; its lists then change without any event."""
    async with world(sse_keepalive_s=1) as gw:
        gw.up(LocalServer(V1, {"one": echo}))
        gw.up(LocalServer(V2, {"two": echo}))
        gw.route(Route(V1.service, V1, V2, 5_000, "salt"))
        body = modern_body("subscriptions/listen", {"notifications": {"toolsListChanged": True}})

        async def tools() -> str:
            return str((await gw.modern("/mcp/hello", "tools/list"))[1]["result"]["tools"][0]["name"])

        before = await tools()
        async with gw.http.post(f"{gw.url}/mcp/hello", json=body, headers=LISTEN) as stream:
            heard = events(stream)
            await anext(heard)
            while await tools() == before:
                gw.now[0] += 300
            _, message = await anext(heard)
            assert message["method"] == "notifications/tools/list_changed"


async def test_notifications_are_accepted_and_mean_nothing(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert (await gw.post("/mcp/hello", note, MCP_Protocol_Version=MODERN))[:2] == (202, None)


async def test_only_trace_context_and_parameters_travel_on(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"echo": echo}))
    await gw.modern(
        "/mcp/hello",
        "tools/call",
        {"name": "echo"},
        Traceparent="00-1-2-03",
        Mcp_Param_Region="eu",
        Authorization="Bearer secret",
        Cookie="secret",
    )
    assert dict(server.headers) == {"traceparent": "00-1-2-03", "mcp-param-region": "eu"}


@pytest.mark.parametrize("name", ["nope", "nope__echo", "hello__nope", "__echo", ""])
async def test_the_aggregate_refuses_names_it_never_listed(gw: World, name: str) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    status, answer, _ = await gw.modern("/mcp", "tools/call", {"name": name})
    assert (status, answer["error"]["code"]) == (400, -32602)


async def test_the_aggregate_has_one_page_and_no_cursor(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    status, answer, _ = await gw.modern("/mcp", "tools/list", {"cursor": "2"})
    assert (status, answer["error"]["code"]) == (400, -32602)


async def test_resources_in_results_of_the_aggregate_can_be_read_back(gw: World) -> None:
    async def links(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        content = [
            {"type": "resource_link", "uri": "file:///a", "name": "a"},
            {"type": "resource", "resource": {"uri": "file:///a", "text": "inline"}},
            {"type": "text", "text": "file:///a"},
        ]
        return {"content": content}

    gw.serve(LocalServer(version("a_b"), {"links": links}, resources={"file:///a": "read"}))
    result = (await gw.modern("/mcp", "tools/call", {"name": "a_b__links"}))[1]["result"]
    uri = "mcp+a.b+file:///a"
    assert [result["content"][0]["uri"], result["content"][1]["resource"]["uri"]] == [uri, uri]
    assert result["content"][2]["text"] == "file:///a"
    read = (await gw.modern("/mcp", "resources/read", {"uri": uri}))[1]["result"]
    assert read["contents"] == [{"uri": uri, "text": "read"}]
