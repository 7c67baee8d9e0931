"""Subscriptions to resources, shared by clients and carried over from version to version."""

from __future__ import annotations

import aiohttp

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.routes import Route
from tests.transport.gateway.world import (
    ACCEPT,
    LOG_LEVEL,
    MODERN,
    LocalServer,
    World,
    call_body,
    echo,
    events,
    modern_body,
    until,
    version,
)

A, B = "file:///a", "file:///b"
RESOURCES = {A: "1", B: "2"}
V1, V2 = version("hello", 1), version("hello", 2)


def stream_of(gw: World, session: str) -> aiohttp.client._RequestContextManager:
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    return gw.http.get(f"{gw.url}/mcp/hello", headers=headers)


async def subscribe(gw: World, session: str, uri: str, verb: str = "subscribe") -> JsonObject:
    answer: JsonObject = (await gw.legacy("/mcp/hello", session, f"resources/{verb}", {"uri": uri}))[1]
    return answer


async def test_a_new_version_is_asked_for_the_same_updates(gw: World) -> None:
    gw.serve(LocalServer(V1, {}, resources=RESOURCES))
    session = await gw.initialize("/mcp/hello")
    await subscribe(gw, session, A)
    async with stream_of(gw, session) as stream:
        new = gw.serve(LocalServer(V2, {}, resources=RESOURCES))
        await until(lambda: new.watched == {A})
        message = {"method": "notifications/resources/updated", "params": {"uri": A}}
        gw.gateway.server_event(V2, message)
        assert (await anext(events(stream)))[1] == {"jsonrpc": "2.0", **message}


async def test_what_changed_during_another_versions_time_is_asked_for_after_the_rollback(gw: World) -> None:
    old = gw.serve(LocalServer(V1, {}, resources=RESOURCES))
    session = await gw.initialize("/mcp/hello")
    await subscribe(gw, session, A)
    async with stream_of(gw, session) as stream:
        new = gw.serve(LocalServer(V2, {}, resources=RESOURCES))
        await until(lambda: new.watched == {A})
        await subscribe(gw, session, B)
        await subscribe(gw, session, A, "unsubscribe")
        await until(lambda: new.watched == {B})
        gw.route(Route(V1.service, V1))
        await until(lambda: old.watched == {B})
        message = {"method": "notifications/resources/updated", "params": {"uri": B}}
        gw.gateway.server_event(V1, message)
        async for _, event in events(stream):
            if event["method"] == "notifications/resources/updated":
                assert event == {"jsonrpc": "2.0", **message}
                return
        raise AssertionError("the stream ended")


async def test_a_restarted_instance_is_asked_again(gw: World) -> None:
    first = gw.serve(LocalServer(V1, {}, resources=RESOURCES))
    session = await gw.initialize("/mcp/hello")
    async with stream_of(gw, session):
        await subscribe(gw, session, A)
        gw.down(first)
        second = gw.up(LocalServer(V1, {}, resources=RESOURCES))
        await until(lambda: second.watched == {A})


async def test_one_clients_unsubscribe_does_not_silence_another(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {}, resources=RESOURCES))
    one, two = await gw.initialize("/mcp/hello"), await gw.initialize("/mcp/hello")
    async with stream_of(gw, one), stream_of(gw, two):
        for session in (one, two):
            await subscribe(gw, session, A)
        await subscribe(gw, one, B)
        await until(lambda: server.watched == {A, B})
        await subscribe(gw, one, A, "unsubscribe")
        await subscribe(gw, one, B, "unsubscribe")
        await until(lambda: server.watched == {A})
    assert server.watched == {A}, "a client that lost its stream may come back"
    for session in (one, two):
        await gw.http.delete(f"{gw.url}/mcp/hello", headers={"Mcp-Session-Id": session})
    await until(lambda: not server.watched)


async def test_a_servers_refusal_is_the_clients(gw: World) -> None:
    gw.serve(LocalServer(V1, {}, resources=RESOURCES))
    session = await gw.initialize("/mcp/hello")
    assert (await subscribe(gw, session, "file:///none"))["error"]["code"] == -32002
    row = gw.sessions.get(session)
    assert row is not None
    assert not row.subscriptions


async def test_listen_streams_of_the_aggregate_are_watched_in_the_services_own_names(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {}, resources=RESOURCES))
    other = gw.serve(LocalServer(version("other"), {}, resources=RESOURCES))
    wanted = {"resourceSubscriptions": [f"mcp+hello+{A}", "mcp+nobody+x:y", "plain"]}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "subscriptions/listen", "Accept": ACCEPT}
    body = modern_body("subscriptions/listen", {"notifications": wanted})
    async with gw.http.post(f"{gw.url}/mcp", json=body, headers=headers):
        await until(lambda: server.watched == {A})
        assert other.watched == set()
    await until(lambda: not server.watched)


# -- log levels ----------------


async def test_servers_that_are_shared_are_told_the_lowest_level_that_a_client_wants(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {}))
    one, two = await gw.initialize("/mcp/hello"), await gw.initialize("/mcp")
    await gw.legacy("/mcp/hello", one, "logging/setLevel", {"level": "error"})
    await until(lambda: server.level == "info")  # for those who said nothing
    await gw.legacy("/mcp", two, "logging/setLevel", {"level": "debug"})
    await until(lambda: server.level == "debug")
    await gw.legacy("/mcp/hello", one, "logging/setLevel", {"level": "warning"})
    other = gw.serve(LocalServer(version("other"), {}))
    await until(lambda: other.level == "debug")
    assert server.level == "debug"


async def test_a_restarted_instance_and_a_new_version_are_told_the_level_again(gw: World) -> None:
    first = gw.serve(LocalServer(V1, {"echo": echo}))
    session = await gw.initialize("/mcp/hello")
    await gw.legacy("/mcp/hello", session, "logging/setLevel", {"level": "debug"})
    await until(lambda: first.level == "debug")
    gw.down(first)
    second = gw.up(LocalServer(V1, {"echo": echo}))
    await until(lambda: second.level == "debug")
    third = gw.serve(LocalServer(V2, {"echo": echo}))
    await until(lambda: third.level == "debug")


async def test_a_stateless_client_that_wants_logs_has_the_server_told(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"echo": echo}))
    await gw.post(
        "/mcp/hello",
        call_body("echo", **{LOG_LEVEL: "debug"}),
        MCP_Protocol_Version=MODERN,
        Mcp_Method="tools/call",
        Mcp_Name="echo",
    )
    await until(lambda: server.level == "debug")
