"""Clients that shake hands: what the gateway answers itself, sessions, batches, cancellation and change streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.routes import Route
from henslowe.transport.gateway import add_gateway
from henslowe.transport.http_guard import Guard
from henslowe.transport.mcp.large_json import LargeText
from tests.transport.access.doors import guarded_by
from tests.transport.gateway.world import (
    ACCEPT,
    LocalServer,
    World,
    echo,
    events,
    initialize_body,
    saying,
    text,
    until,
    version,
    world,
)

V1, V2 = version("hello", 1), version("hello", 2)
TOOLS = "notifications/tools/list_changed"


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("2025-11-25", "2025-11-25"),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", "2024-11-05"),
        ("1999-01-01", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ],
)
async def test_initialize_agrees_on_a_revision(gw: World, asked: str, agreed: str) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}, prompts=("p",)))
    status, answer, headers = await gw.post("/mcp/hello", initialize_body(asked))
    assert status == 200
    assert len(headers["Mcp-Session-Id"]) >= 32
    assert answer["result"] == {
        "protocolVersion": agreed,
        "capabilities": {"tools": {"listChanged": True}, "prompts": {"listChanged": True}, "logging": {}},
        "serverInfo": {"name": "hello", "version": "1"},
        "instructions": "I am hello@1",
    }


async def test_the_aggregate_introduces_itself_and_its_services(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}, prompts=("p",)))
    gw.serve(LocalServer(version("other"), {"x": echo}))
    _, answer, _ = await gw.post("/mcp", initialize_body())
    result = answer["result"]
    assert result["capabilities"]["resources"] == {"listChanged": True}, "a service that has some may come any time"
    assert result["serverInfo"] == {"name": "henslowe", "version": "0"}
    assert set(result["capabilities"]) == {"tools", "prompts", "resources", "logging"}
    assert result["instructions"] == "# hello\nI am hello@1\n\n# other\nI am other@1"


async def test_initialize_waits_for_an_instance_and_then_gives_up_with_words() -> None:
    async with world(wait_for_instance_s=0.05) as gw:
        gw.route(Route(V1.service, V1))
        status, answer, headers = await gw.post("/mcp/hello", initialize_body())
        assert (status, answer["error"]["data"]["code"]) == (503, "unavailable")
        assert "Mcp-Session-Id" not in headers


async def test_what_belongs_to_the_session_never_reaches_the_server_as_its_own(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    assert (await gw.legacy("/mcp/hello", session, "ping"))[1] == {"jsonrpc": "2.0", "id": 7, "result": {}}
    assert (await gw.legacy("/mcp/hello", session, "logging/setLevel", {"level": "error"}))[1]["result"] == {}
    wrong = await gw.legacy("/mcp/hello", session, "logging/setLevel", {"level": "loud"})
    assert (wrong[0], wrong[1]["error"]["code"]) == (200, -32602)
    assert (await gw.legacy("/mcp/hello", session, "server/discover"))[1]["error"]["code"] == -32602, "a modern method"
    await gw.legacy("/mcp/hello", session, "tools/call", {"name": "echo"})
    assert (server.calls, server.level) == (["logging/setLevel", "echo"], "info"), "the level is for all who share it"


@pytest.mark.parametrize("message", [{"method": "notifications/initialized"}, {"id": 3, "result": {}}], ids=repr)
async def test_notifications_and_responses_are_accepted(gw: World, message: JsonObject) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    status, body, _ = await gw.post("/mcp/hello", {"jsonrpc": "2.0", **message}, Mcp_Session_Id=session)
    assert (status, body) == (202, None)


async def test_logs_are_sent_from_the_sessions_level_on(gw: World) -> None:
    async def chatty(_params: JsonObject, notify: OnNotification) -> JsonObject:
        for level in ("debug", "warning", "emergency"):
            notify({"method": "notifications/message", "params": {"level": level, "data": level}})
        return text("done")

    gw.serve(LocalServer(V1, {"chatty": chatty}))
    session = await gw.initialize("/mcp/hello")
    body = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "chatty"}}
    headers = {"Mcp-Session-Id": session, "Accept": ACCEPT}

    async def levels() -> list[str]:
        async with gw.http.post(f"{gw.url}/mcp/hello", json=body, headers=headers) as response:
            assert response.content_type == "text/event-stream"
            got = [message async for _, message in events(response)]
        assert (got[-1]["id"], got[-1]["result"]["content"][0]["text"]) == (9, "done")
        return [message["params"]["level"] for message in got[:-1]]

    assert await levels() == ["debug", "warning", "emergency"]
    await gw.legacy("/mcp/hello", session, "logging/setLevel", {"level": "warning"})
    assert await levels() == ["warning", "emergency"]


async def test_a_client_that_takes_json_only_gets_json(gw: World) -> None:
    async def chatty(_params: JsonObject, notify: OnNotification) -> JsonObject:
        notify({"method": "notifications/message", "params": {"level": "info", "data": "x"}})
        return text("done")

    gw.serve(LocalServer(V1, {"chatty": chatty}))
    session = await gw.initialize("/mcp/hello")
    body = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "chatty"}}
    status, answer, _ = await gw.post("/mcp/hello", body, Mcp_Session_Id=session, Accept="application/json")
    assert (status, answer["result"]["content"][0]["text"]) == (200, "done")


async def test_a_silent_call_is_kept_alive() -> None:
    async with world(sse_keepalive_s=1) as gw:
        finish = asyncio.Event()

        async def slow(_params: JsonObject, _notify: OnNotification) -> JsonObject:
            await finish.wait()
            return text("done")

        gw.serve(LocalServer(V1, {"slow": slow}))
        session = await gw.initialize("/mcp/hello")
        body = {"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": {"name": "slow"}}
        headers = {"Mcp-Session-Id": session, "Accept": ACCEPT}
        async with gw.http.post(f"{gw.url}/mcp/hello", json=body, headers=headers) as response:
            assert response.content_type == "text/event-stream"
            assert (await response.content.readline()).startswith(b"id: "), "an id to resume from"
            assert await response.content.readuntil(b"\n\n") == b"data: \n\n"
            assert (await response.content.readline()).startswith(b": keepalive")
            finish.set()
            [(_, answer)] = [event async for event in events(response)]
            assert answer["result"]["content"][0]["text"] == "done"


async def test_a_client_cancels_its_own_request_and_no_other(gw: World) -> None:
    started: asyncio.Queue[str] = asyncio.Queue()
    release = asyncio.Event()

    async def wait(params: JsonObject, _notify: OnNotification) -> JsonObject:
        started.put_nowait("")
        await release.wait()
        return text("done")

    server = gw.serve(LocalServer(V1, {"wait": wait}))
    mine, other = await gw.initialize("/mcp/hello"), await gw.initialize("/mcp/hello")
    calls = [
        asyncio.create_task(gw.legacy("/mcp/hello", session, "tools/call", {"name": "wait"}, request_id=5))
        for session in (mine, other)
    ]
    for _ in calls:
        await asyncio.wait_for(started.get(), 5)
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    assert (await gw.post("/mcp/hello", cancel, Mcp_Session_Id=mine))[0] == 202
    await asyncio.wait_for(server.cancelled.wait(), 5)
    status, answer, _ = await asyncio.wait_for(calls[0], 5)
    assert (status, answer["error"]["data"]) == (200, {"code": "cancelled"})
    for nobody in ({"requestId": 5}, {"requestId": "5"}, {"requestId": {}}, {}):
        await gw.post("/mcp/hello", {**cancel, "params": nobody}, Mcp_Session_Id=mine)
    release.set()
    assert (await asyncio.wait_for(calls[1], 5))[1]["result"]["content"][0]["text"] == "done"


async def test_batches_are_for_the_revisions_that_had_them(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    batch = [
        {"jsonrpc": "2.0", "id": "a", "method": "ping"},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "x"}}},
        {"jsonrpc": "2.0", "id": "c", "method": "initialize"},
        7,
    ]
    old = await gw.initialize("/mcp/hello", "2025-03-26")
    status, answers, _ = await gw.post("/mcp/hello", batch, Mcp_Session_Id=old)
    assert status == 200
    assert [(a["id"], a.get("error", {}).get("code")) for a in answers] == [
        ("a", None),
        ("b", None),
        ("c", -32600),
        (None, -32600),
    ]
    assert (await gw.post("/mcp/hello", batch[1:2], Mcp_Session_Id=old))[0] == 202
    assert (await gw.post("/mcp/hello", [], Mcp_Session_Id=old))[0] == 400
    assert (await gw.post("/mcp/hello", batch[:1] * 101, Mcp_Session_Id=old))[0] == 400
    new = await gw.initialize("/mcp/hello", "2025-06-18")
    status, answer, _ = await gw.post("/mcp/hello", batch, Mcp_Session_Id=new)
    assert (status, answer["error"]["code"]) == (400, -32600)


async def test_the_answers_in_a_batch_are_those_of_single_requests_and_share_the_budget_of_large_ones() -> None:
    async def large(params: JsonObject, _notify: OnNotification) -> JsonObject:
        return text(LargeText(memoryview(b'"%b"' % (b"x" * params["arguments"]["bytes"]))))  # as a server's long line

    async def deep(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        nested: Any = 1
        for _ in range(400):
            nested = [nested]
        return text("", structuredContent=nested)

    def asked(number: int, name: str, **arguments: int) -> JsonObject:
        params = {"name": name, "arguments": arguments}
        return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}

    async with world(unsent_bytes_max=3 * 1024 * 1024) as gw:
        gw.serve(LocalServer(V1, {"large": large, "deep": deep}))
        session = await gw.initialize("/mcp/hello", "2025-03-26")
        batch = [*(asked(number, "large", bytes=1024 * 1024) for number in range(4)), asked(4, "deep")]
        status, answers, _ = await gw.post("/mcp/hello", batch, Mcp_Session_Id=session)
        assert status == 200
        told = {each["id"]: each.get("error", {}).get("data", {}).get("code", "answered") for each in answers}
        assert sorted(told[number] for number in range(4)) == ["answered", "answered", "limit_reached", "limit_reached"]
        assert told[4] == "too_large"
        answered = [each["result"]["content"][0]["text"] for each in answers if told[each["id"]] == "answered"]
        assert answered == ["x" * 1024 * 1024] * 2
        assert gw.gateway.inline.serving.unsent.held == 0


async def test_delete_ends_the_session_and_its_stream(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as stream:
        async with gw.http.delete(f"{gw.url}/mcp/hello", headers=headers) as response:
            assert response.status == 200
        assert [event async for event in events(stream)] == []
    assert (await gw.legacy("/mcp/hello", session, "ping"))[0] == 404
    async with gw.http.delete(f"{gw.url}/mcp/hello", headers=headers) as response:
        assert response.status == 404


async def test_a_second_stream_takes_over_from_the_first(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with (
        gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as first,
        gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as second,
    ):
        assert [event async for event in events(first)] == []
        gw.serve(LocalServer(V2, {"other": echo}))
        _, message = await anext(events(second))
        assert message == {"jsonrpc": "2.0", "method": TOOLS}


async def test_a_change_that_was_missed_is_told_on_return(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as stream:
        last = (await stream.content.readline()).decode().removeprefix("id: ").strip()
        assert last, "the stream opens with an id to resume from"
    await until(lambda: gw.registry.get_sample_value("henslowe_gateway_streams") == 0)
    gw.serve(LocalServer(V2, {"other": echo}))
    async with gw.http.get(f"{gw.url}/mcp/hello", headers={**headers, "Last-Event-ID": last}) as stream:
        event_id, message = await anext(events(stream))
        assert message["method"] == TOOLS
    async with gw.http.get(f"{gw.url}/mcp/hello", headers={**headers, "Last-Event-ID": event_id}) as stream:
        gw.route(Route(V1.service, V1))
        heard = events(stream)
        assert (await anext(heard))[1]["method"] == TOOLS, "told once, not again on each return"
        gw.route(Route(V1.service, V2))
        next_id, _ = await anext(heard)
    assert int(next_id.split(".")[1]) == 3


async def test_only_what_changed_is_told_and_only_when_it_did(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}, prompts=("p",)))
    session = await gw.initialize("/mcp/hello")
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as stream:
        heard = events(stream)
        gw.serve(LocalServer(V2, {"echo": saying("other code, same contract")}, prompts=("p",)))
        await gw.legacy("/mcp/hello", session, "ping")
        gw.serve(LocalServer(version("hello", 3), {"echo": echo}, prompts=("q",)))
        assert (await anext(heard))[1]["method"] == "notifications/prompts/list_changed"


async def test_the_gateway_outlives_its_listener(gw: World) -> None:
    """A listener that restarts ends its streams, and the next one serves the same sessions and streams."""
    gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as stream:
        gw.gateway.end_streams()
        assert [event async for event in events(stream)] == []
    again = web.Application()
    add_gateway(again, gw.gateway)
    runner = web.AppRunner(again, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp/hello"
        async with gw.http.get(url, headers=headers) as stream:
            gw.serve(LocalServer(V2, {"other": echo}))
            assert (await anext(events(stream)))[1]["method"] == TOOLS
    finally:
        await runner.cleanup()


async def test_a_closed_gateway_opens_no_streams_but_still_answers(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    await gw.gateway.close()
    await gw.gateway.close()
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as response:
        assert response.status == 503
    assert (await gw.legacy("/mcp/hello", session, "tools/call", {"name": "echo"}))[0] == 200


async def test_an_allowed_page_may_read_event_streams(gw: World) -> None:
    gw.serve(LocalServer(V1, {"echo": echo}))
    guarded = web.Application(middlewares=[guarded_by(Guard("127.0.0.1", 1, hosts=("127.0.0.1",)))])
    add_gateway(guarded, gw.gateway)
    runner = web.AppRunner(guarded, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    session = await gw.initialize("/mcp/hello")
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream", "Origin": url}
        async with gw.http.get(f"{url}/mcp/hello", headers=headers) as stream:
            assert (stream.status, stream.headers["Access-Control-Allow-Origin"]) == (200, url)
    finally:
        await runner.cleanup()
