"""One gateway behind three listeners, at two of which every request has a task; its server misbehaves as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry

from henslowe.actors.access import AccessBoard, Policy, Principal
from henslowe.actors.access.board import Grant
from henslowe.actors.access.credentials import digest, mint
from henslowe.actors.capturing import Exchange
from henslowe.actors.endpoints import EndpointDirectory, Era
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import CallRecord, Observations, Route, RouteTable
from henslowe.config.settings import GatewaySettings, InstanceSettings, PolicyRule
from henslowe.transport.access import Authenticator, Door, LiveRequests, Resources
from henslowe.transport.connections import DIRECT, INLINE, ClientConnection, Runner
from henslowe.transport.gateway import Gateway, MemorySessions, add_gateway
from henslowe.transport.gateway.inline import InlineCall
from henslowe.transport.http_guard import Guard, guard_middleware
from henslowe.transport.inline import InlineDoor
from henslowe.transport.mcp import McpConnector, McpEndpoint
from henslowe.transport.rate_limit import RateLimiter
from tests.transport.gateway.inline_server import Server
from tests.transport.gateway.world import ACCEPT, MODERN, call_body, initialize_body

ROOT_TOKEN = "r" * 32
KEY = VersionKey(ServiceName("shop"), 1)


def seen(exchange: Exchange) -> tuple[Any, ...]:
    """An exchange without its times."""
    names = "service instance unit era method params answer outcome error request_id"
    return tuple(getattr(exchange, name) for name in names.split())


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
    """One gateway behind three listeners: at the second every request has a task, at the third a router, too."""

    gateway: Gateway
    server: Server
    endpoint: McpEndpoint
    observations: Observations
    capture: Taken
    inline: Counting
    door: Door
    routes: RouteTable
    board: AccessBoard
    live: LiveRequests
    registry: CollectorRegistry
    inline_port: int
    task_port: int
    router_port: int
    counted: dict[tuple[Any, ...], float] = field(default_factory=dict)

    async def session(self, **capabilities: Any) -> str:
        body = initialize_body()
        body["params"]["capabilities"] = capabilities
        async with Client.of(self.task_port) as client:
            client.send(body)
            return (await client.answer())[1]["mcp-session-id"]

    def token(self, name: str) -> str:
        """The `Authorization` of somebody with a token of the node's."""
        token = mint("0123456789ab")
        who = Principal(f"token:{name}", frozenset({"mcp"}), token_id="0123456789ab", digest=digest(token))
        self.board.publish({who.token_id: Grant(((who.digest, time.time() + 60),), who)})
        return f"Bearer {token}"

    def recorded(self) -> tuple[list[CallRecord], list[tuple[Any, ...]], dict[tuple[Any, ...], float]]:
        """What was recorded since this was asked last: as evidence, in the capture, and as figures. Without times."""
        records = [replace(each, latency_s=0.0, time_s=0.0) for each in self.observations.take()]
        exchanges, self.capture.exchanges = self.capture.exchanges, []
        counted = {
            (sample.name, *sample.labels.values()): sample.value
            for metric in self.registry.collect()
            for sample in metric.samples
            if sample.name.endswith(("_total", "_count"))
        }
        before, self.counted = self.counted, counted
        grown = {key: value - before.get(key, 0) for key, value in counted.items() if value != before.get(key, 0)}
        return records, [seen(each) for each in exchanges], grown

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
async def over_http(server: Server) -> AsyncIterator[McpEndpoint]:
    """The endpoint of a server that listens."""
    backend = web.Application()
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
        try:
            yield endpoint
        finally:
            server.release.set()
            await endpoint.close()


@contextlib.asynccontextmanager
async def place(
    era: Era = Era.MODERN,
    *,
    open_mcp: bool = True,
    rate_per_s: float = 0.0,
    rules: Mapping[str, PolicyRule] = {},
    reached: Callable[[Server], contextlib.AbstractAsyncContextManager[McpEndpoint]] = over_http,
    **limits: Any,
) -> AsyncIterator[Place]:
    server = Server(era)
    async with reached(server) as endpoint:
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
            registry=(registry := CollectorRegistry()),
            node_info={"name": "henslowe", "version": "0"},
            capture=capture,
            policy=Policy.of(rules),
        )
        authenticator = Authenticator(ROOT_TOKEN, board := AccessBoard())
        limiter = RateLimiter(rate_per_s, burst=3) if rate_per_s else None
        door = Door(authenticator, Resources(), open_mcp=open_mcp, open_rest=True, limiter=limiter)
        live = LiveRequests(authenticator.holds)
        guard = Guard("127.0.0.1", 80)
        apps = [web.Application(middlewares=[guard_middleware(guard, door, live)]) for _ in range(3)]
        for app in apps:
            add_gateway(app, gateway)
        inline = Counting(apps[0][DIRECT], guard, door, live, gateway.inline)
        apps[0][INLINE] = inline
        del apps[2][DIRECT]
        async with (
            listening(apps[0]) as (_, inline_port),
            listening(apps[1]) as (_, task_port),
            listening(apps[2]) as (_, router_port),
        ):
            try:
                parts = gateway, server, endpoint, observations, capture, inline, door, routes, board, live
                there = Place(*parts, registry, inline_port, task_port, router_port)
                async with Client.of(task_port) as warm:  # the gateway makes its endpoint at its first request
                    warm.send(call_body("echo"), Authorization=f"Bearer {ROOT_TOKEN}", **modern("echo"))
                    await warm.answer()
                there.recorded()
                yield there
            finally:
                server.release.set()
                live.close()
                await gateway.close()


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
    return [await asked(port, body, **headers) for port in (at.inline_port, at.task_port)]


async def each(at: Place, body: Any, **headers: str) -> list[tuple[tuple[int, dict[str, str], bytes], Any]]:
    """The same, and what was recorded for each."""
    return [(await asked(port, body, **headers), at.recorded()) for port in (at.inline_port, at.task_port)]


async def asked(port: int, body: Any, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The answer of one listener, on a connection of its own."""
    async with Client.of(port) as client:
        client.send(body, **headers)
        return await client.answer()
