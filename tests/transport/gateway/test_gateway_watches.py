"""Subscriptions to resources, shared by clients and carried over from version to version."""

from __future__ import annotations

import aiohttp

from henslowe.actors.endpoints import JsonObject
from tests.transport.gateway.world import ACCEPT, MODERN, LocalServer, World, events, modern_body, until, version

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
