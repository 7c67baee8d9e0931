"""Calls without a task: the same answers as with one, and an exchange like any other when something is unusual."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from henslowe.actors.access.board import AccessBoard
from henslowe.actors.capturing import Exchange
from henslowe.actors.endpoints import EndpointDirectory, EndpointState, Era
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import CallRecord, Observations, Outcome, Route, RouteTable
from henslowe.config.settings import GatewaySettings, InstanceSettings
from henslowe.transport.access import Authenticator, Door, LiveRequests, Resources
from henslowe.transport.connections import DIRECT, INLINE, ClientConnection, Runner
from henslowe.transport.gateway import Gateway, MemorySessions, add_gateway
from henslowe.transport.gateway.inbound import check_modern_again
from henslowe.transport.gateway.inline import InlineCall
from henslowe.transport.http_guard import Guard, guard_middleware
from henslowe.transport.inline import InlineDoor
from henslowe.transport.mcp import McpConnector, McpEndpoint
from henslowe.transport.rate_limit import RateLimiter
from tests.transport.gateway.world import ACCEPT, MODERN, call_body, initialize_body, until

ROOT_TOKEN = "r" * 32
HUGE_BYTES = 14 * 1024 * 1024
"""More than sockets hold, and less than a message may have."""
KEY = VersionKey(ServiceName("shop"), 1)
TOOLS = [
    {"name": "echo", "inputSchema": {"type": "object"}},
    {"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}},
    {
        "name": "priced",
        "inputSchema": {"type": "object", "properties": {"price": {"type": "string", "x-mcp-header": "Price"}}},
    },
]


class Server:
    """An MCP server over HTTP whose tools misbehave as they are told."""

    def __init__(self, era: Era) -> None:
        self.era = era
        self.calls: list[str] = []
        self.cancelled = asyncio.Event()
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.told: list[str] = []
        self.fields: list[tuple[tuple[bytes, bytes], ...]] = []

    async def post(self, request: web.Request) -> web.StreamResponse:
        self.fields.append(request.raw_headers)
        message = orjson.loads(await request.read())
        method, params = message["method"], message.get("params") or {}
        if "id" not in message:
            self.told.append(method)
            return web.Response(status=202)
        if method == "server/discover":
            if self.era is Era.LEGACY:
                return self.said(message, error={"code": -32601, "message": "Method not found"})
            return self.said(message, {"supportedVersions": [MODERN], "capabilities": {"tools": {}}})
        if method == "initialize":
            info = {"name": "shop", "version": "1"}
            revision = params["protocolVersion"]
            return self.said(message, {"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": info})
        if method == "tools/list":
            return self.said(message, {"tools": TOOLS})
        if method != "tools/call":
            return self.said(message, error={"code": -32601, "message": "Method not found"})
        return await self.tool(request, message, params.get("name"), params.get("arguments") or {})

    async def refuse(self, _request: web.Request) -> web.Response:
        return web.Response(status=405)

    async def tool(self, request: web.Request, message: Any, name: Any, arguments: Any) -> web.StreamResponse:
        self.calls.append(str(name))
        content = {"content": [{"type": "text", "text": str(arguments)}], "isError": name == "fails"}
        if name == "refuses":
            return self.said(message, error={"code": -32603, "message": "no", "data": {"why": "because"}})
        if name == "busy":
            return self.said(message, error={"code": -32000, "message": "later", "data": {"retry_after_s": 3}})
        if name == "http_500":
            return web.Response(status=500, text="broken")
        if name == "rubbish":
            return web.Response(body=b"{rubbish", content_type="application/json")
        if name == "huge":
            return self.said(message, {**content, "content": [{"type": "text", "text": "x" * HUGE_BYTES}]})
        if name == "large":
            return self.said(message, {**content, "content": [{"type": "text", "text": "x" * 100_000}]})
        if name == "drops" or (name == "drops_once" and self.calls.count(name) % 2):
            assert request.transport is not None
            request.transport.abort()
        if name == "asks":
            questions = {"q": {"method": "elicitation/create", "params": {"message": "which?"}}}
            return self.said(message, {"resultType": "input_required", "inputRequests": questions})
        if name == "waits":
            self.entered.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if name not in ("streams", "batches"):
            return self.said(message, content)
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "busy"}}
        answer = {"jsonrpc": "2.0", "id": message["id"], "result": content}
        if name == "batches":
            return web.Response(body=orjson.dumps([log, answer]), content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for each in (log, answer):
            await response.write(b"data: " + orjson.dumps(each) + b"\n\n")
        return response

    def said(self, message: Any, result: Any = None, **error: Any) -> web.Response:
        answer = {"result": result} if result is not None else error
        body = {"jsonrpc": "2.0", "id": message["id"], **answer}
        return web.Response(body=orjson.dumps(body), content_type="application/json")


@dataclass
class Taken:
    """A capture that takes everything."""

    exchanges: list[Exchange] = field(default_factory=list)

    def wants(self, service: str, method: str, unit: str) -> bool:
        return True

    def record(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


class Counting(InlineDoor):
    """Remembers what became of the requests that it was asked about."""

    begun = 0
    client: ClientConnection | None = None
    call: InlineCall | None = None

    def begin(self, client: ClientConnection, head: Any, raw: bytes, at: int) -> InlineCall | None:
        call = super().begin(client, head, raw, at)
        self.begun += call is not None
        self.client, self.call = client, call
        return call


@dataclass
class Place:
    """One gateway behind two listeners: at one of them every request has a task."""

    gateway: Gateway
    server: Server
    endpoint: McpEndpoint
    observations: Observations
    capture: Taken
    inline: Counting
    door: Door
    inline_port: int
    task_port: int

    async def session(self, **capabilities: Any) -> str:
        body = initialize_body()
        body["params"]["capabilities"] = capabilities
        async with Client.of(self.task_port) as client:
            client.send(body)
            return (await client.answer())[1]["mcp-session-id"]

    def at_rest(self) -> bool:
        """Whether nothing is counted as under way."""
        serving = self.gateway.inline.serving
        left = self.gateway.inline.caller.in_flight, self.endpoint.in_flight, self.endpoint._link.in_flight  # type: ignore[attr-defined]
        return not any(left) and not serving._open and not serving._inline


@contextlib.asynccontextmanager
async def listening(app: web.Application, **options: Any) -> AsyncIterator[tuple[Runner, int]]:
    runner = Runner(app, access_log=None, handler_cancellation=True, shutdown_timeout=2.0, **options)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner, runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def place(
    era: Era = Era.MODERN, *, open_mcp: bool = True, rate_per_s: float = 0.0, **limits: Any
) -> AsyncIterator[Place]:
    server, backend = Server(era), web.Application()
    backend.router.add_post("/mcp", server.post)
    backend.router.add_route("*", "/mcp", server.refuse)
    async with listening(backend) as (_, port):
        endpoint = await McpConnector(InstanceSettings()).connect_http(
            KEY,
            InstanceId("shop@1#1"),
            f"http://127.0.0.1:{port}/mcp",
            headers={},
            on_server_event=lambda *_: None,
            on_closed=lambda _reason: None,
            timeout_s=5,
        )
        assert endpoint.facts.era is era
        routes, directory, observations, capture = RouteTable(), EndpointDirectory(), Observations(), Taken()
        directory.add(endpoint)
        routes.publish({KEY.service: Route(KEY.service, KEY)})
        gateway = Gateway(
            routes=routes,
            directory=directory,
            observations=observations,
            sessions=MemorySessions(100),
            settings=GatewaySettings(wait_for_instance_s=0.2, **{"call_timeout_s": 4.0, **limits}),
            registry=CollectorRegistry(),
            node_info={"name": "henslowe", "version": "0"},
            capture=capture,
        )
        authenticator = Authenticator(ROOT_TOKEN, AccessBoard())
        limiter = RateLimiter(rate_per_s, burst=3) if rate_per_s else None
        door = Door(authenticator, Resources(), open_mcp=open_mcp, open_rest=True, limiter=limiter)
        live = LiveRequests(authenticator.holds)
        guard = Guard("127.0.0.1", 80)
        apps = [web.Application(middlewares=[guard_middleware(guard, door, live)]) for _ in range(2)]
        for app in apps:
            add_gateway(app, gateway)
        inline = Counting(apps[0][DIRECT], guard, door, live, gateway.inline)
        apps[0][INLINE] = inline
        async with listening(apps[0]) as (_, inline_port), listening(apps[1]) as (_, task_port):
            try:
                there = Place(gateway, server, endpoint, observations, capture, inline, door, inline_port, task_port)
                async with Client.of(task_port) as warm:  # the gateway makes its endpoint at its first request
                    warm.send(call_body("echo"), Authorization=f"Bearer {ROOT_TOKEN}", **modern("echo"))
                    await warm.answer()
                yield there
            finally:
                server.release.set()
                await gateway.close()
                await endpoint.close()


@dataclass
class Client:
    """A client that writes what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @staticmethod
    @contextlib.asynccontextmanager
    async def of(port: int) -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    def send(self, body: Any, path: str = "/mcp/shop", **headers: str) -> None:
        self.writer.write(request_bytes(body, path, headers))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The response; without what differs from one to the next."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 100"):
                head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().splitlines()
            fields = (line.partition(": ") for line in lines if line)
            headers = {name.lower(): value for name, _, value in fields if name.lower() != "date"}
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                body = b"".join([chunk async for chunk in self.chunks()])
            return int(first.split()[1]), headers, body

    async def chunks(self) -> AsyncIterator[bytes]:
        while size := int(await self.reader.readline(), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readline()


def request_bytes(body: Any, path: str = "/mcp/shop", headers: dict[str, str] | None = None) -> bytes:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    sent = {
        "Host": "localhost:80",
        "Content-Type": "application/json",
        "Accept": ACCEPT,
        "Content-Length": str(len(data)),
        **{name.replace("_", "-"): value for name, value in (headers or {}).items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items() if value)
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("utf-8", "surrogateescape") + data


def modern(tool: str) -> dict[str, str]:
    return {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": tool}


def legacy_body(tool: str, request_id: Any = 7, **params: Any) -> dict[str, Any]:
    given = {"name": tool, "arguments": {"a": 1}, **params}
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": given}


async def both(at: Place, body: Any, **headers: str) -> list[tuple[int, dict[str, str], bytes]]:
    """The answers of both listeners to the same bytes."""
    answers = []
    for port in (at.inline_port, at.task_port):
        async with Client.of(port) as client:
            client.send(body, **headers)
            answers.append(await client.answer())
    return answers


def figures(records: list[CallRecord]) -> list[tuple[Any, ...]]:
    return [(r.version, r.arm, r.unit, r.tool, r.outcome, r.error, r.principal, r.instance) for r in records]


def seen(exchange: Exchange) -> tuple[Any, ...]:
    return tuple(
        getattr(exchange, name)
        for name in ("service", "instance", "unit", "era", "method", "params", "answer", "outcome", "request_id")
    )


OUTCOMES = {
    "echo": (Outcome.OK,),
    "read": (Outcome.OK,),
    "fails": (Outcome.TOOL_ERROR,),
    "refuses": (Outcome.INTERNAL_ERROR,),
    "busy": (Outcome.INTERNAL_ERROR,),
    "http_500": (Outcome.TRANSPORT,),
    "rubbish": (Outcome.INTERNAL_ERROR,),
    "large": (Outcome.OK,),
    "streams": (Outcome.OK,),
    "batches": (Outcome.OK,),
    "drops": (Outcome.TRANSPORT,),
}


@pytest.mark.parametrize("tool", OUTCOMES)
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_whatever_becomes_of_a_call_is_told_and_recorded_as_with_a_task(era: Era, tool: str) -> None:
    async with place(era) as at:
        body, headers = call_body(tool, {"a": 1}), modern(tool)
        at.observations.take()
        at.capture.exchanges.clear()
        first, second = await both(at, body, **headers)
        assert first == second
        assert at.inline.begun == 1
        records = at.observations.take()
        assert figures(records[: len(records) // 2]) == figures(records[len(records) // 2 :])
        assert tuple(record.outcome for record in records) == 2 * OUTCOMES[tool]
        one, other = at.capture.exchanges
        assert seen(one) == seen(other)
        await until(at.at_rest)


@pytest.mark.parametrize("tool", [*OUTCOMES, "asks"])
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_a_session_s_calls_are_the_same_too(era: Era, tool: str) -> None:
    async with place(era) as at:
        session = await at.session()
        accept = "application/json" if tool == "asks" else ACCEPT  # nobody there who could be asked
        first, second = await both(at, legacy_body(tool), Mcp_Session_Id=session, Accept=accept)
        assert first[0] == second[0] == 200
        assert without_event_ids(first) == without_event_ids(second)
        assert at.inline.begun == 1
        await until(at.at_rest)


@pytest.mark.parametrize("method", ["tools/\u00e9", "tools/\u0142", "tools/a b", "\U0001f600"])
async def test_a_method_in_any_letters_is_sent_on(method: str) -> None:
    async with place() as at:
        fields = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method}
        first, second = await both(at, {**call_body("echo"), "method": method}, **fields)
        assert first == second
        assert orjson.loads(first[2])["error"]["message"] == "Method not found"
        assert at.inline.begun == 1
        await until(at.at_rest)


@pytest.mark.parametrize("method", ["x\r\nX-Evil: 1", "x\nX-Evil: 1", "x\r\n\r\nPOST /mcp HTTP/1.1", "x\0", "\u0142"])
async def test_a_session_s_method_breaks_out_of_no_header(method: str) -> None:
    async with place() as at:
        session = await at.session()
        sent = len(at.server.fields)
        for answer in await both(at, {**legacy_body("echo"), "method": method}, Mcp_Session_Id=session):
            assert orjson.loads(answer[2])["error"]["message"] == "Method not found"
        said = at.server.fields[sent:]
        assert [dict(fields)[b"Mcp-Method"][:9] for fields in said] == [b"=?base64?"] * 2
        assert not any(b"evil" in name.lower() for fields in said for name, _ in fields)
        await until(at.at_rest)


def test_no_body_makes_the_gateway_remember_more_than_its_head_has() -> None:
    agreed: set[tuple[Any, ...]] = set()
    body = {**call_body("echo"), "method": "theirs"}
    for number in range(3):
        body["params"][""] = str(number) * 50_000
        check_modern_again(body, {"mcp-protocol-version": MODERN, "mcp-method": "theirs"}, agreed)
    assert len(orjson.dumps(list(agreed))) < 1_000


def without_event_ids(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], list[bytes]]:
    return *answer[:2], [line for line in answer[2].splitlines() if not line.startswith(b"id: ")]


values = st.none() | st.booleans() | st.integers(-5, 5) | st.text(st.characters(codec="utf-8"), max_size=5)
meta_changes = st.sampled_from(
    [
        ("io.modelcontextprotocol/protocolVersion", "2025-11-25"),
        ("io.modelcontextprotocol/clientCapabilities", {"elicitation": {}}),
        ("io.modelcontextprotocol/clientInfo", {"name": "a", "version": "1"}),
        ("io.modelcontextprotocol/logLevel", "debug"),
        ("progressToken", 5),
        ("theirs", {"a": [1]}),
    ]
)
param_changes = st.sampled_from(
    [
        ("name", "fails"),
        ("name", "refuses"),
        ("name", "priced"),
        ("name", 5),
        ("arguments", {"price": "1"}),
        ("arguments", None),
        ("requestState", "x"),
        ("task", {}),
        ("theirs", "\U0001f600"),
        ("_meta", None),
    ]
)
message_changes = st.one_of(
    st.tuples(st.just("id"), values),
    st.tuples(st.just("params"), values),
    st.sampled_from(
        [
            ("jsonrpc", "1.0"),
            ("method", "tools/list"),
            ("method", "prompts/get"),
            ("method", "ping"),
            ("method", "tasks/get"),
            ("method", "server/discover"),
            ("method", 5),
            ("result", {}),
        ]
    ),
)
field_changes = st.sampled_from(
    [
        ("Accept", "application/json"),
        ("Accept", "text/event-stream"),
        ("Accept", "*/*"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Type", "Application/JSON"),
        ("Content-Type", "text/plain"),
        ("Content-Type", ""),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("MCP-Protocol-Version", "1999-01-01"),
        ("Mcp-Method", "ping"),
        ("Mcp-Name", "fails"),
        ("Mcp-Name", "=?base64?ZWNobw==?="),
        ("Mcp-Name", "\udcff"),
        ("mcp-name", "echo"),
        ("Mcp-Param-Price", "1"),
        ("Mcp-Param-Price", "2"),
        ("Mcp-Session-Id", "nobody"),
        ("Origin", "http://localhost:80"),
        ("Origin", "http://evil.example"),
        ("Host", "evil.example"),
        ("Host", "127.0.0.1:80"),
        ("Host", ""),
        ("Authorization", f"Bearer {ROOT_TOKEN}"),
        ("Authorization", "Bearer no"),
        ("Authorization", "Basic no"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Connection", "close"),
        ("Expect", "100-continue"),
        ("Content-Length", "0"),
        ("Content-Length", "+5"),
        ("X-Length", "7"),
    ]
)
paths = st.sampled_from([*["/mcp/shop"] * 9, "/mcp/none", "/mcp/sh%6Fp", "/mcp", "/mcp/shop@1", "/mcp/shop?a=b"])


def few(changes: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Seldom more than one change."""
    return st.one_of(st.just([]), st.just([]), st.lists(changes, max_size=2)).map(dict)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A request that is nearly right, without its session, and whether it is of the handshake era."""
    legacy = draw(st.booleans())
    body: Any = legacy_body("echo") if legacy else call_body("echo", {"a": 1})
    body["params"].get("_meta", {}).update(draw(few(meta_changes)))
    body["params"].update(draw(few(param_changes)))
    body.update(draw(few(message_changes)))
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.sampled_from([b"", b"{", b"[]", b"7", [body], [], {}]))
    fields = {"Mcp-Session-Id": "SESSION"} if legacy else {k.replace("_", "-"): v for k, v in modern("echo").items()}
    return request_bytes(body, draw(paths), {**fields, **draw(few(field_changes))}), legacy


@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_any_request_is_answered_as_it_is_with_a_task(era: Era) -> None:
    loop = asyncio.get_running_loop()
    async with place(era) as at:
        session = await at.session()

        async def compare(request: bytes) -> None:
            said = []
            for port in (at.inline_port, at.task_port):
                async with Client.of(port) as client:
                    client.writer.write(request.replace(b"SESSION", session.encode()))
                    status, fields, content = await client.answer()
                    fields.pop("mcp-session-id", None)
                    said.append((status, fields, content))
            assert said[0] == said[1]

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests())
        def check(request: tuple[bytes, bool]) -> None:
            asyncio.run_coroutine_threadsafe(compare(request[0]), loop).result(20)

        await asyncio.to_thread(check)
        assert at.inline.begun > 40
        await until(at.at_rest)


async def test_a_silent_call_becomes_an_event_stream() -> None:
    async with place(sse_keepalive_s=1) as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        head = await asyncio.wait_for(client.reader.readuntil(b": keepalive\n\n"), 5)
        assert b"text/event-stream" in head
        assert at.inline.begun == 1
        at.server.release.set()
        rest = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), 5)
        assert b'"isError":false' in rest
        await until(at.at_rest)


async def test_a_client_that_leaves_cancels_its_call() -> None:
    async with place() as at:
        async with Client.of(at.inline_port) as client:
            client.send(call_body("waits"), **modern("waits"))
            await asyncio.wait_for(at.server.entered.wait(), 5)
        await asyncio.wait_for(at.server.cancelled.wait(), 5)
        await until(at.at_rest)
        assert [record.tool for record in at.observations.take()] == ["echo"]  # it says nothing about the version


async def test_a_session_s_client_cancels_its_call_by_id() -> None:
    async with place(Era.LEGACY) as at, Client.of(at.inline_port) as client:
        session = await at.session()
        client.send(legacy_body("waits", 42), Mcp_Session_Id=session)
        await asyncio.wait_for(at.server.entered.wait(), 5)
        async with Client.of(at.inline_port) as other:
            params = {"requestId": 42}
            other.send(
                {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}, Mcp_Session_Id=session
            )
            assert (await other.answer())[0] == 202
        status, _, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["data"]["code"]) == (200, "cancelled")
        assert at.inline.begun == 1
        await until(lambda: "notifications/cancelled" in at.server.told and at.at_rest())
        client.send(legacy_body("echo", 43), Mcp_Session_Id=session)  # the connection goes on
        assert (await client.answer())[0] == 200


async def test_a_call_ends_when_its_time_is_over() -> None:
    async with place(call_timeout_s=0.2) as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        error = orjson.loads((await client.answer())[2])["error"]
        assert error["data"]["reason"] == "timeout"
        assert at.inline.begun == 1
        assert [record.outcome for record in at.observations.take()][-1:] == [Outcome.TIMEOUT]
        await until(at.at_rest)


async def test_requests_in_a_queue_are_answered_in_their_order() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        for number in range(5):
            client.send({**call_body("echo", {"n": number}), "id": number}, **modern("echo"))
        assert [orjson.loads((await client.answer())[2])["id"] for _ in range(5)] == list(range(5))
        client.send(call_body("echo"), **modern("echo"))
        before = at.inline.begun
        await client.answer()
        assert at.inline.begun == before or at.inline.begun > 0


async def test_a_request_in_pieces_is_left_to_a_task_and_the_next_one_is_not() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        whole = request_bytes(call_body("echo"), headers=modern("echo"))
        for pieces in ((whole[:40], whole[40:]), (whole[:-5], whole[-5:])):
            client.writer.write(pieces[0])
            await client.writer.drain()
            await until(lambda: at.inline.client is not None or True)
            await asyncio.sleep(0)
            client.writer.write(pieces[1])
            assert (await client.answer())[0] == 200


async def test_a_drain_waits_for_a_call_without_a_task() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        await asyncio.wait_for(at.server.entered.wait(), 5)
        draining = asyncio.ensure_future(at.endpoint.drain())
        await asyncio.sleep(0)
        assert at.endpoint.state is EndpointState.DRAINING
        assert not draining.done()
        at.server.release.set()
        assert (await client.answer())[0] == 200
        await asyncio.wait_for(draining, 5)


async def test_a_listener_that_ends_waits_for_a_call_without_a_task() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        await asyncio.wait_for(at.server.entered.wait(), 5)
        assert at.inline.client is not None
        ending = asyncio.ensure_future(at.inline.client.shutdown(5.0))
        await asyncio.sleep(0)
        at.server.release.set()
        assert (await client.answer())[0] == 200
        await asyncio.wait_for(ending, 5)
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        await until(at.at_rest)


async def test_who_may_not_come_in_is_turned_away_as_with_a_task() -> None:
    async with place(open_mcp=False) as at:
        for token in ("", "Bearer wrong", f"Bearer {ROOT_TOKEN}"):
            first, second = await both(at, call_body("echo"), Authorization=token, **modern("echo"))
            assert first == second
            assert first[0] == (200 if ROOT_TOKEN in token else 401)
        assert at.inline.begun == 1


async def test_each_request_is_counted_once_by_the_limit_of_its_client() -> None:
    async with place(rate_per_s=0.001) as at, Client.of(at.inline_port) as client:
        said = []
        for _ in range(4):
            client.send(call_body("echo"), **modern("echo"))
            said.append((await client.answer())[0])
        assert said == [200, 200, 200, 429]
        assert at.door.limiter is not None
        assert at.door.limiter.refused == 1


async def test_a_read_that_its_server_lets_be_kept_is_asked_once() -> None:
    async with place(Era.LEGACY, cache_tools={"shop/read": 60_000}) as at, Client.of(at.inline_port) as client:
        for _ in range(3):
            client.send(call_body("read"), **modern("read"))
            assert (await client.answer())[0] == 200
        assert at.server.calls.count("read") == 1
        assert at.inline.begun == 1


async def test_a_large_answer_that_nobody_reads_is_counted_until_its_client_is_gone() -> None:
    async with place() as there:
        unsent = there.gateway.inline.serving.unsent
        async with Client.of(there.inline_port) as client:
            client.send(call_body("huge"), Authorization=f"Bearer {ROOT_TOKEN}", **modern("huge"))
            await until(lambda: unsent.held > HUGE_BYTES)
            assert there.inline.begun == 1
        await until(lambda: unsent.held == 0 and there.at_rest())
