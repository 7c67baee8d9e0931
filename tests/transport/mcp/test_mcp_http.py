"""The HTTP link against real servers: the SDK's, and one written here that does what servers in the wild do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from henslowe.actors.endpoints import EndpointState, Era, JsonObject
from henslowe.config.settings import InstanceSettings
from henslowe.errors import ConfigError, InstanceFailed, UpstreamLost
from henslowe.transport.mcp import McpConnector, pool
from henslowe.transport.mcp.deadlines import Deadlines
from henslowe.transport.mcp.endpoint import McpEndpoint
from henslowe.transport.mcp.http_begun import HttpBegun
from tests.transport.gateway.world import until
from tests.transport.mcp.harness import INSTANCE, MODERN_META, SDK, VERSION, Heard, call, running


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def connected(
    url: str, *, heard: Heard | None = None, timeout_s: float = 20, headers: dict[str, str] | None = None, **limits: Any
) -> AsyncIterator[McpEndpoint]:
    heard = heard or Heard()
    endpoint = await McpConnector(InstanceSettings(**limits)).connect_http(
        VERSION,
        INSTANCE,
        url,
        headers=headers or {},
        on_server_event=heard.on_event,
        on_closed=heard.on_closed,
        timeout_s=timeout_s,
    )
    try:
        yield endpoint
    finally:
        await endpoint.close()


@dataclass
class LegacyServer:
    """A legacy Streamable HTTP server of the rougher kind, with sessions."""

    tools: list[str] = field(default_factory=lambda: ["echo"])
    sessions: set[str] = field(default_factory=set)
    requests: list[tuple[str, JsonObject, dict[str, str]]] = field(default_factory=list)
    on_call: Callable[[web.Request, JsonObject], Any] | None = None
    listeners: list[web.StreamResponse] = field(default_factory=list)
    listening: asyncio.Event = field(default_factory=asyncio.Event)
    resumed: list[str] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        if request.method == "GET":
            return await self.listen(request, headers)
        if request.method == "DELETE":
            self.sessions.discard(headers["mcp-session-id"])
            return web.Response(status=204)
        message = await request.json()
        self.requests.append((message.get("method", ""), message, headers))
        if message.get("method") == "initialize":
            session = f"s{len(self.requests)}"
            self.sessions.add(session)
            info = {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "rough"},
            }
            return web.json_response(self.answer(message, info), headers={"Mcp-Session-Id": session})
        if "mcp-session-id" not in headers:
            return web.Response(status=400, text="Bad Request: no session")
        if headers["mcp-session-id"] not in self.sessions:
            return web.Response(status=404, text="Session not found")
        if "id" not in message or "method" not in message:
            return web.Response(status=202)
        if message["method"] == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in self.tools]
            return web.json_response(self.answer(message, {"tools": tools}))
        if self.on_call is not None:
            response: web.StreamResponse = await self.on_call(request, message)
            return response
        return web.json_response(self.answer(message, {"content": [], "structuredContent": {"headers": headers}}))

    async def listen(self, request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        if "last-event-id" in headers:
            self.resumed.append(headers["last-event-id"])
            # A notification may have come after it.
            message = next(each for _, each, _ in reversed(self.requests) if "id" in each)
            await stream.write(sse(self.answer(message, {"content": [], "resumed": True})))
            return stream
        self.listeners.append(stream)
        self.listening.set()
        await asyncio.Event().wait()
        return stream

    @staticmethod
    def answer(message: JsonObject, result: JsonObject) -> JsonObject:
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def sse(message: JsonObject, event_id: str = "") -> bytes:
    import orjson

    return (f"id: {event_id}\n".encode() if event_id else b"") + b"data: " + orjson.dumps(message) + b"\n\n"


@asynccontextmanager
async def serving(server: LegacyServer, port: int = 0) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/mcp", server.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["event streams", "json"])
async def test_the_sdks_server_serves_clients_of_both_eras_over_http(form: tuple[str, ...]) -> None:
    port = free_port()
    async with (
        running((*SDK, str(port), *form)),
        connected(f"http://127.0.0.1:{port}/mcp") as endpoint,
    ):
        assert endpoint.facts.era is Era.MODERN
        assert "greet" in [tool["name"] for tool in endpoint.contract.tools]
        for era in Era:
            answer = await call(endpoint, "greet", era, name="Ann")
            assert answer["result"]["structuredContent"] == {"result": "Hello Ann"}
        missing = await endpoint.request("resources/read", {"uri": "memo://ü"}, era=Era.LEGACY)
        assert missing["error"]["code"] == -32002
        unknown = await endpoint.request("no/such", {"_meta": MODERN_META}, era=Era.MODERN)
        assert unknown["error"]["code"] == -32601


async def test_arguments_in_headers_are_added_for_legacy_clients_and_passed_on_for_modern_ones() -> None:
    port = free_port()
    async with running((*SDK, str(port))), connected(f"http://127.0.0.1:{port}/mcp") as endpoint:
        await call(endpoint, "rearrange")
        legacy = await call(endpoint, "where", region="eu west ö")
        assert legacy["result"]["structuredContent"] == {"result": "eu west ö"}
        without = await call(endpoint, "where", Era.MODERN, region="eu")
        assert without["error"]["code"] == -32020
        params = {"name": "where", "arguments": {"region": "eu"}, "_meta": MODERN_META}
        modern = await endpoint.request("tools/call", params, era=Era.MODERN, headers={"mcp-param-region": "eu"})
        assert modern["result"]["structuredContent"] == {"result": "eu"}


async def test_progress_and_changes_of_the_sdks_server_arrive_over_http() -> None:
    port, heard, seen = free_port(), Heard(), []
    async with running((*SDK, str(port))), connected(f"http://127.0.0.1:{port}/mcp", heard=heard) as endpoint:
        params = {"name": "count", "arguments": {"to": 2}, "_meta": {"progressToken": "mine"}}
        await endpoint.request("tools/call", params, era=Era.LEGACY, on_notification=seen.append)
        assert [n["params"]["progressToken"] for n in seen] == ["mine", "mine"]
        await endpoint.request("resources/subscribe", {"uri": "memo://one"}, era=Era.LEGACY)
        await call(endpoint, "touch")
        await heard.next()
        assert heard.events[0]["params"]["uri"] == "memo://one"


async def test_a_legacy_server_over_http_serves_a_modern_client_in_one_upstream_session() -> None:
    server = LegacyServer()
    async with serving(server) as url:
        async with connected(url, headers={"X-Key": "k"}) as endpoint:
            assert endpoint.facts.era is Era.LEGACY
            params = {"name": "echo", "_meta": MODERN_META}
            sent = {"Authorization": "Bearer client", "traceparent": "00-1"}
            answer = await endpoint.request("tools/call", params, era=Era.MODERN, headers=sent)
            headers = answer["result"]["structuredContent"]["headers"]
            assert headers["mcp-session-id"] in server.sessions
            assert (headers["x-key"], headers["traceparent"]) == ("k", "00-1")
            assert headers["mcp-protocol-version"] == "2025-11-25"
            assert "authorization" not in headers
            assert len(server.sessions) == 1
        assert server.sessions == set()


async def test_a_session_that_the_server_forgot_is_opened_again_without_the_caller_noticing() -> None:
    server, heard = LegacyServer(), Heard()
    async with serving(server) as url, connected(url, heard=heard) as endpoint:
        server.sessions.clear()
        server.tools.append("newer")
        answers = await asyncio.gather(*(call(endpoint, "echo") for _ in range(3)))
        assert all("result" in answer for answer in answers)
        assert len(server.sessions) == 1
        await heard.next()
        assert [event["method"] for event in heard.events] == ["notifications/tools/list_changed"]
        assert [tool["name"] for tool in endpoint.contract.tools] == ["echo", "newer"]


async def test_the_event_stream_of_a_legacy_server_is_listened_to() -> None:
    server, heard = LegacyServer(), Heard()
    async with serving(server) as url, connected(url, heard=heard):
        async with asyncio.timeout(5):
            await server.listening.wait()
        await server.listeners[0].write(sse({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        await heard.next()
        assert heard.events[0]["method"] == "notifications/tools/list_changed"


async def test_a_stream_that_is_broken_off_is_taken_up_where_it_ended() -> None:
    server = LegacyServer()

    async def half(request: web.Request, _message: JsonObject) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"retry: 10\nid: e7\ndata:\n\n")
        return stream

    server.on_call = half
    async with serving(server) as url, connected(url) as endpoint:
        answer = await call(endpoint, "echo")
        assert answer["result"]["resumed"] is True
        assert server.resumed == ["e7"]


async def test_cancelling_a_call_tells_a_legacy_server() -> None:
    server, started, told = LegacyServer(), asyncio.Event(), asyncio.Event()

    async def wait(_request: web.Request, message: JsonObject) -> web.StreamResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            told.set()
        return web.Response()

    server.on_call = wait
    async with serving(server) as url, connected(url) as endpoint:
        waiting = asyncio.ensure_future(call(endpoint, "echo"))
        async with asyncio.timeout(5):
            await started.wait()
            waiting.cancel()
            await told.wait()
            while server.requests[-1][0] != "notifications/cancelled":
                await asyncio.sleep(0.001)
        number = next(message["id"] for method, message, _ in server.requests if method == "tools/call")
        assert server.requests[-1][1]["params"] == {"requestId": number}
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_connection_that_the_server_dropped_while_it_rested_is_replaced() -> None:
    server = LegacyServer()
    port = free_port()
    async with serving(server, port) as url, connected(url) as endpoint:
        await call(endpoint, "echo")
        link = endpoint._link
        for connection in link._pool._all:  # type: ignore[attr-defined]
            connection._transport._sock.shutdown(socket.SHUT_RDWR)
        assert "result" in await endpoint.request("tools/list", {}, era=Era.LEGACY)
        assert "result" in await call(endpoint, "echo")


async def test_a_call_whose_connection_broke_is_not_repeated_since_it_may_have_run() -> None:
    server, calls = LegacyServer(), []

    async def die(request: web.Request, message: JsonObject) -> web.StreamResponse:
        calls.append(message)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.on_call = die
    async with serving(server) as url, connected(url) as endpoint:
        with pytest.raises(UpstreamLost) as lost:
            await call(endpoint, "echo")
        assert lost.value.details["sent"] is True
        assert len(calls) == 1


async def test_a_server_error_is_a_loss_and_a_refusal_is_an_answer() -> None:
    server, status = LegacyServer(), [500]

    async def refuse(_request: web.Request, _message: JsonObject) -> web.StreamResponse:
        return web.Response(status=status[0], text="nope")

    server.on_call = refuse
    async with serving(server) as url, connected(url) as endpoint:
        with pytest.raises(UpstreamLost) as lost:
            await call(endpoint, "echo")
        assert lost.value.details == {"sent": True, "status": 500}
        status[0] = 403
        error = (await call(endpoint, "echo"))["error"]
        assert error["message"] == "the server answered 403 Forbidden"
        assert error["data"] == {"status": 403, "body": "nope"}


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[tuple[pool.Pool, asyncio.Event]]:
    """Connections to a server that answers any request with these pieces, each after the event was set once more."""
    more, tasks = asyncio.Event(), set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for piece in pieces:
                    await more.wait()
                    more.clear()
                    writer.write(piece)
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    connections = pool.Pool(
        f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/", peer="hello", body_bytes_max=1_000
    )
    try:
        yield connections, more
    finally:
        connections.close()
        listener.close()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("times", [1, 3])
async def test_an_interim_response_in_a_piece_of_its_own_is_not_taken_for_the_answer(times: int) -> None:
    said = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nnope"
    loop = asyncio.get_running_loop()
    async with answering(b"HTTP/1.1 100 Continue\r\n\r\n", said) as (connections, more):
        connection = await connections.fresh()
        for _ in range(times):
            head: asyncio.Future[None] = loop.create_future()
            connection.begin(b"GET / HTTP/1.1\r\n\r\n", head)
            more.set()
            await until(lambda: connection._parser is not None)
            assert not head.done()
            more.set()
            await asyncio.wait_for(head, 5)
            assert (connection.status, connection.headers["content-type"]) == (404, "text/plain")
            assert (connection.body(), connection.usable) == (b"nope", True)


@dataclass
class Listening:
    """Whoever began a call without a task, and leaves it when it turns out to need one."""

    over: asyncio.Event = field(default_factory=asyncio.Event)
    answers: list[JsonObject] = field(default_factory=list)

    def answered(self, answer: JsonObject, size: int) -> None:
        self.answers.append(answer)
        self.over.set()

    def troubled(self) -> None:
        self.over.set()


async def test_a_call_that_is_left_after_its_answer_leaves_the_connection_to_the_next_one() -> None:
    server = LegacyServer()

    async def refuse(_request: web.Request, _message: JsonObject) -> web.StreamResponse:
        return web.Response(status=500, text="nope")

    server.on_call = refuse
    async with serving(server) as url, connected(url) as endpoint:
        left = Listening()
        begun = endpoint.begin(
            "tools/call", {}, era=Era.LEGACY, headers={}, timeout_s=5, on_notification=None, told=left
        )
        assert begun is not None
        async with asyncio.timeout(5):
            await left.over.wait()
        loop = asyncio.get_running_loop()
        next_one = endpoint._link._pool.idle(loop.time())  # type: ignore[attr-defined]
        begun.abandon()
        assert left.answers == []
        assert next_one.usable
        assert endpoint._link.in_flight == 0
        assert not any(method == "notifications/cancelled" for method, _, _ in server.requests)


async def test_a_connection_that_rests_holds_nothing_of_its_last_call() -> None:
    async with serving(LegacyServer()) as url, connected(url) as endpoint:
        told = Listening()
        begun = endpoint.begin(
            "tools/call", {}, era=Era.LEGACY, headers={}, timeout_s=5, on_notification=None, told=told
        )
        assert begun is not None
        async with asyncio.timeout(5):
            await told.over.wait()
        assert told.answers
        client = weakref.ref(told)
        del begun, told
        assert client() is None
        (connection,) = (each for each in endpoint._link._pool._all if each.idle)  # type: ignore[attr-defined]
        assert not any(isinstance(each, HttpBegun) for each in gc.get_referents(connection))


async def test_a_body_beyond_the_limit_fails_its_own_call_only() -> None:
    server, size = LegacyServer(), [100_000]

    async def big(_request: web.Request, message: JsonObject) -> web.StreamResponse:
        return web.json_response(server.answer(message, {"content": [], "text": "x" * size[0]}))

    server.on_call = big
    async with serving(server) as url, connected(url, message_bytes_max=50_000) as endpoint:
        assert (await call(endpoint, "echo"))["error"]["data"]["code"] == "limit_reached"
        size[0] = 10_000
        assert len((await call(endpoint, "echo"))["result"]["text"]) == 10_000


async def test_a_server_that_starts_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    server, port, refused = LegacyServer(), free_port(), asyncio.Event()
    fresh = pool.Pool.fresh

    async def connecting_anew(self: pool.Pool) -> pool.Connection:
        try:
            return await fresh(self)
        except UpstreamLost:
            refused.set()
            raise

    monkeypatch.setattr(pool.Pool, "fresh", connecting_anew)
    connecting = asyncio.ensure_future(_connect_and_call(f"http://127.0.0.1:{port}/mcp"))
    async with asyncio.timeout(5):
        await refused.wait()
        async with serving(server, port):
            assert "result" in await connecting


async def _connect_and_call(url: str) -> JsonObject:
    async with connected(url) as endpoint:
        return await call(endpoint, "echo")


async def test_nobody_listening_is_said_at_the_deadline() -> None:
    with pytest.raises(InstanceFailed, match=r"nobody listens at http://127.0.0.1:\d+/mcp after 0.2 s"):
        async with connected(f"http://127.0.0.1:{free_port()}/mcp", timeout_s=0.2):
            pass


async def test_an_address_that_is_no_mcp_server_is_said() -> None:
    app = web.Application()
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        with pytest.raises(InstanceFailed) as failed:
            async with connected(f"http://127.0.0.1:{runner.addresses[0][1]}/nothing"):
                pass
    finally:
        await runner.cleanup()
    assert "the server answered 404 Not Found" in failed.value.message
    assert "url" in failed.value.hint


@pytest.mark.parametrize("url", ["ftp://host/mcp", "http:///mcp", "http://user:secret@host/mcp"])
async def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        async with connected(url):
            pass


async def test_a_server_that_refuses_connections_is_gone() -> None:
    server, heard = LegacyServer(), Heard()
    async with serving(server) as url:
        endpoint_context = connected(url, heard=heard)
        endpoint = await endpoint_context.__aenter__()
    async with asyncio.timeout(5):
        while endpoint._link._pool._all:  # type: ignore[attr-defined]  # until the end of the connections arrived
            await asyncio.sleep(0)
    for _ in range(3):
        with pytest.raises(UpstreamLost) as lost:
            await call(endpoint, "echo")
        assert lost.value.details["sent"] is False
    await heard.next()
    assert heard.closed == ["hello@1#1 refuses connections"]
    assert endpoint.state is EndpointState.GONE
    await endpoint_context.__aexit__(None, None, None)


async def test_connections_are_kept_and_reused() -> None:
    server = LegacyServer()
    async with serving(server) as url, connected(url) as endpoint:
        await call(endpoint, "echo")
        async with asyncio.timeout(5):
            await server.listening.wait()
        connections = set(endpoint._link._pool._all)  # type: ignore[attr-defined]
        for _ in range(5):
            await call(endpoint, "echo")
        assert set(endpoint._link._pool._all) == connections  # type: ignore[attr-defined]
        await asyncio.gather(*(call(endpoint, "echo") for _ in range(10)))
        assert len(endpoint._link._pool._all) <= 11  # type: ignore[attr-defined]


async def test_a_rested_connection_is_replaced_before_the_server_may_drop_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = LegacyServer()
    monkeypatch.setattr(pool, "IDLE_S", -1.0)
    async with serving(server) as url, connected(url) as endpoint:
        before = set(endpoint._link._pool._all)  # type: ignore[attr-defined]
        await call(endpoint, "echo")
        assert set(endpoint._link._pool._all) - before  # type: ignore[attr-defined]


def test_servers_are_called_over_http_on_uvloop_too() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def called() -> JsonObject:
        async with serving(LegacyServer()) as url, connected(url) as endpoint:
            return await call(endpoint, "echo")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert "result" in runner.run(asyncio.wait_for(called(), 5))


async def test_a_connection_is_lent_again_only_after_its_response_was_read() -> None:
    async with serving(LegacyServer()) as url:
        connections = pool.Pool(url, peer="hello", body_bytes_max=1_000)
        request = f"POST {connections.target} HTTP/1.1\r\nHost: {connections.host}\r\nContent-Length: 2\r\n\r\n{{}}"
        loop = asyncio.get_running_loop()
        first = await connections.fresh()
        await first.send(request.encode(), Deadlines(loop), 5)
        assert connections.idle(loop.time()) is None
        assert (first.status, first.body()) == (400, b"Bad Request: no session")
        assert connections.idle(loop.time()) is first
        connections.close()
