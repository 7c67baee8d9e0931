"""A gateway on a loopback port in front of small in-process servers: real HTTP, real clients, no child processes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from aiohttp.typedefs import Middleware
from prometheus_client import CollectorRegistry

from henslowe.actors.access import Policy
from henslowe.actors.capturing import CallCapture
from henslowe.actors.endpoints import (
    Contract,
    EndpointDirectory,
    EndpointState,
    Era,
    JsonObject,
    OnNotification,
    ServerFacts,
)
from henslowe.actors.health import HealthBoard, HealthPolicy
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.routes import Observations, Route, RouteTable
from henslowe.actors.versions import VersionRow, VersionState
from henslowe.config.settings import GatewaySettings
from henslowe.errors import UpstreamLost
from henslowe.transport.access import Resources
from henslowe.transport.connections import Runner
from henslowe.transport.gateway import Gateway, Memory, MemorySessions, PrivateConnections, add_gateway
from henslowe.transport.gateway.replay import NoReplayStore, ReplayStore
from henslowe.transport.gateway.results import NoResultStore, ResultStore
from henslowe.transport.mcp import bridge

MODERN = "2026-07-28"
ACCEPT = "application/json, text/event-stream"
PROTOCOL = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"

SERVER_INFO = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId"

ToolFunction = Callable[[JsonObject, OnNotification], Awaitable[JsonObject]]
_numbers = itertools.count(1)


def text(value: str, **more: Any) -> JsonObject:
    return {"content": [{"type": "text", "text": value}], "isError": False, **more}


def version(service: str, number: int = 1) -> VersionKey:
    return VersionKey(ServiceName(service), number)


def tool(name: str, *, annotations: JsonObject | None = None, properties: JsonObject | None = None) -> JsonObject:
    listed: JsonObject = {"name": name, "inputSchema": {"type": "object", "properties": properties or {}}}
    return {**listed, "annotations": annotations} if annotations else listed


class LocalServer:
    """An `Endpoint` whose server is a handful of coroutines in this process, bridged like any other."""

    def __init__(
        self,
        key: VersionKey,
        tools: Mapping[str, ToolFunction],
        *,
        listed: Mapping[str, JsonObject] | None = None,
        resources: Mapping[str, str] | None = None,
        prompts: tuple[str, ...] = (),
        era: Era = Era.LEGACY,
    ) -> None:
        self.version = key
        self.instance = InstanceId(f"{key}#{next(_numbers)}")
        self.state = EndpointState.READY
        self.in_flight = 0
        self.calls: list[str] = []
        self.watched: set[str] = set()
        self.level = ""
        """The log level that it was told last."""
        self.cancelled = asyncio.Event()
        self.headers: Mapping[str, str] = {}
        self._tools = tools
        self._resources = resources or {}
        capabilities: JsonObject = {"tools": {}, "logging": {}}
        if self._resources:
            capabilities["resources"] = {"subscribe": True}
        if prompts:
            capabilities["prompts"] = {}
        revision = "2025-11-25" if era is Era.LEGACY else MODERN
        self.facts = ServerFacts(
            era, revision, {"name": key.service, "version": str(key.number)}, capabilities, f"I am {key}"
        )
        lists: dict[str, tuple[JsonObject, ...]] = {
            "tools": tuple((listed or {}).get(name) or tool(name) for name in sorted(tools)),
            "prompts": tuple({"name": name} for name in prompts),
            "resources": tuple({"uri": uri, "name": uri} for uri in sorted(self._resources)),
        }
        digest = hashlib.sha256(orjson.dumps(lists)).hexdigest()
        self.contract = Contract(lists["tools"], lists["prompts"], lists["resources"], (), digest)

    async def request(
        self,
        method: str,
        params: JsonObject | None,
        *,
        era: Era,
        headers: Mapping[str, str] = {},
        timeout_s: float = 300.0,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        if self.state is not EndpointState.READY:
            raise UpstreamLost(f"cannot call {self.instance}: it is {self.state}", sent=False)
        self.headers = headers
        self.in_flight += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._answer(method, params or {}, on_notification or (lambda _message: None))
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.in_flight -= 1
        if self.facts.era is Era.MODERN and "result" in answer:
            answer = {"result": bridge.result_for_modern(answer["result"], method, self.facts.server_info)}
        return bridge.answer(answer, method, params, era, self.facts)

    def notify(self, method: str, params: JsonObject | None) -> None:
        raise AssertionError("the gateway sends no notifications")

    async def _answer(self, method: str, params: JsonObject, notify: OnNotification) -> JsonObject:
        name = str(params.get("name"))
        self.calls.append(name if method == "tools/call" else method)
        if method == "tools/call":
            function = self._tools.get(name)
            if function is None:
                return {"error": {"code": -32602, "message": f"Unknown tool: {name}"}}
            return {"result": await function(params, notify)}
        uri = str(params.get("uri"))
        if method == "resources/read":
            if uri not in self._resources:
                return {"error": {"code": -32002, "message": f"Resource not found: {uri}"}}
            return {"result": {"contents": [{"uri": uri, "text": self._resources[uri]}]}}
        if method == "prompts/get":
            return {"result": {"messages": [{"role": "user", "content": {"type": "text", "text": name}}]}}
        if method in ("resources/subscribe", "resources/unsubscribe"):
            if uri not in self._resources:
                return {"error": {"code": -32002, "message": f"Resource not found: {uri}"}}
            (self.watched.add if method == "resources/subscribe" else self.watched.discard)(uri)
            return {"result": {}}
        if method == "logging/setLevel":
            self.level = str(params["level"])
            return {"result": {}}
        lists = {"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources"}
        if method in lists:
            return {"result": {lists[method]: list(getattr(self.contract, lists[method]))}}
        return {"error": {"code": -32601, "message": f"Method not found: {method}"}}


async def echo(params: JsonObject, _notify: OnNotification) -> JsonObject:
    arguments = params.get("arguments")
    return text(str(arguments.get("text", "")) if isinstance(arguments, dict) else "")


def saying(word: str) -> ToolFunction:
    """A tool that always says the same."""

    async def say(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        return text(word)

    return say


@dataclass
class World:
    """What the tests hold on to."""

    url: str
    gateway: Gateway
    routes: RouteTable
    directory: EndpointDirectory
    observations: Observations
    sessions: MemorySessions
    registry: CollectorRegistry
    http: aiohttp.ClientSession
    app: web.Application
    now: list[float] = field(default_factory=lambda: [1_000_000.0])
    unserved: dict[str, str] = field(default_factory=dict)
    """Services without a route, and why."""
    versions: dict[VersionKey, VersionRow] = field(default_factory=dict)
    held: list[VersionKey] = field(default_factory=list)
    """Versions that the gateway wants running, each time that it says so."""

    def version(self, key: VersionKey, semver: str = "", **fields: Any) -> None:
        """Let a version be known that served, or serves."""
        known = {"state": VersionState.ARCHIVED, "launch": LaunchSpec(command=("true",)), **fields}
        self.versions[key] = VersionRow(
            service=key.service, number=key.number, semver=semver or f"{key.number}.0.0", **known
        )

    def hold(self, version: VersionKey, _hold_s: float) -> None:
        """Stands for the keeper of holds."""
        self.held.append(version)

    def versions_of(self, service: str) -> list[VersionRow]:
        """Stands for the table of versions."""
        return [row for key, row in self.versions.items() if key.service == service]

    def up(self, server: LocalServer) -> LocalServer:
        """Publish a server's endpoint."""
        if server.version not in self.versions:
            self.version(server.version)
        self.directory.add(server)
        return server

    def down(self, server: LocalServer) -> None:
        """Withdraw it."""
        server.state = EndpointState.GONE
        self.directory.remove(server)

    def route(self, *routes: Route) -> None:
        """Add or replace the routes of these services."""
        self.routes.publish({**self.routes.current, **{route.service: route for route in routes}})

    def serve(self, server: LocalServer) -> LocalServer:
        """Publish a server and send all its service's traffic to it."""
        self.up(server)
        self.route(Route(server.version.service, server.version))
        return server

    async def post(
        self, path: str, body: Any, *, raw: bytes | None = None, **headers: str
    ) -> tuple[int, Any, Mapping[str, str]]:
        """POST a JSON body; the reply is status, decoded body (None when empty), headers."""
        sent = {"Content-Type": "application/json", "Accept": ACCEPT}
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        data = orjson.dumps(body) if raw is None else raw
        async with self.http.post(self.url + path, data=data, headers=sent) as response:
            content = await response.read()
            return response.status, orjson.loads(content) if content else None, dict(response.headers)

    async def modern(self, path: str, method: str, params: JsonObject | None = None, **headers: str) -> Any:
        """A well-formed modern request; the reply as of `post`."""
        body = modern_body(method, params)
        named = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}.get(method)
        sent = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method}
        if named:
            sent["Mcp_Name"] = (params or {})[named]
        return await self.post(path, body, **{**sent, **headers})

    async def initialize(self, path: str, revision: str = "2025-11-25") -> str:
        """Open a handshake-era session; the reply is its id."""
        status, body, headers = await self.post(path, initialize_body(revision))
        assert status == 200, body
        return headers["Mcp-Session-Id"]

    async def legacy(
        self, path: str, session: str, method: str, params: JsonObject | None = None, request_id: Any = 7
    ) -> Any:
        """A request in a session; the reply as of `post`."""
        body = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params or {}}
        return await self.post(path, body, Mcp_Session_Id=session)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until the condition holds, for 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def initialize_body(revision: str = "2025-11-25") -> JsonObject:
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    return {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}


def modern_body(method: str, params: JsonObject | None = None, **meta: Any) -> JsonObject:
    envelope = {PROTOCOL: MODERN, CAPABILITIES: {}, **meta}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": envelope}}


def call_body(name: str, arguments: JsonObject | None = None, **meta: Any) -> JsonObject:
    return modern_body("tools/call", {"name": name, "arguments": arguments or {}}, **meta)


async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, JsonObject]]:
    """The events of a stream: id and message; comments and events without data are passed over."""
    event_id = ""
    async with asyncio.timeout(5):
        async for line in response.content:
            if line.startswith(b"id: "):
                event_id = line[4:].strip().decode()
            elif line.startswith(b"data: ") and line[6:].strip():
                yield event_id, orjson.loads(line[6:])


@contextlib.asynccontextmanager
async def world(
    directory: EndpointDirectory | None = None,
    private: PrivateConnections | None = None,
    *,
    health: HealthPolicy | None = None,
    replay: ReplayStore | None = None,
    results: ResultStore | None = None,
    guarded: Middleware | None = None,
    policy: Policy | None = None,
    resources: Resources | None = None,
    capture: CallCapture | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """A running gateway without services; anybody may use it unless it is `guarded`."""
    routes, directory, observations = RouteTable(), directory or EndpointDirectory(), Observations()
    limits = GatewaySettings(**{"wait_for_instance_s": 2.0, "call_timeout_s": 4.0, **settings})
    sessions = MemorySessions(limits.sessions_max)
    registry = CollectorRegistry()
    now = [1_000_000.0]
    unserved: dict[str, str] = {}
    memory = Memory(
        holds=SimpleNamespace(hold=lambda version, hold_s: running.hold(version, hold_s)),
        versions=lambda service: running.versions_of(service),
        replay=replay or NoReplayStore(),
        results=results or NoResultStore(),
    )
    gateway = Gateway(
        routes=routes,
        directory=directory,
        observations=observations,
        sessions=sessions,
        settings=limits,
        registry=registry,
        node_info={"name": "henslowe", "version": "0"},
        clock=lambda: now[0],
        private=private,
        memory=memory,
        health=HealthBoard(directory, health or HealthPolicy()),
        explain=lambda service: unserved.get(service, ""),
        policy=policy,
        resources=resources,
        capture=capture,
    )
    app = web.Application(middlewares=[] if guarded is None else [guarded])
    add_gateway(app, gateway)
    runner = Runner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as http:
        url = f"http://127.0.0.1:{port}"
        try:
            running = World(url, gateway, routes, directory, observations, sessions, registry, http, app, now, unserved)
            yield running
        finally:
            await runner.cleanup()
            await gateway.close()
