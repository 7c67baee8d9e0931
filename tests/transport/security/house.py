"""A whole node with neighbours: an authorization server, a server behind the gateway that tells what it was sent, and a
listener that nobody may be sent to. One per worker, shared by tests that leave it as it was."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.e2e.harness import Node, wait_until
from tests.transport.access.issuers import IssuerServer

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
DEEP = 400
"""Levels of nesting in an answer: what arrives can be read, and cannot be written again."""


@dataclass
class Upstream:
    """A stateless MCP server over HTTP that keeps the headers and bodies it got."""

    canary: str
    heard: list[tuple[dict[str, str], Any]] = field(default_factory=list)

    def routes(self, app: web.Application) -> None:
        app.router.add_post("/mcp", self.answer)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        self.heard.append(({name.lower(): value for name, value in request.headers.items()}, message))
        if "id" not in message:
            return web.Response(status=202)
        result = self.result(message["method"], message.get("params") or {}, dict(request.headers))
        if result is None:
            error = {"code": -32601, "message": "Method not found"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=404)
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    def result(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> Any:
        named = {"resultType": "complete", "_meta": {META + "serverInfo": {"name": "echo", "version": "1"}}}
        cached = {**named, "ttlMs": 0, "cacheScope": "private"}
        if method == "server/discover":
            return {**cached, "supportedVersions": [MODERN], "capabilities": {"tools": {}, "resources": {}}}
        if method == "tools/list":
            schema = {"type": "object", "properties": {"a": {"$ref": f"{self.canary}/schema.json"}}}
            return {**cached, "tools": [{"name": name, "inputSchema": schema} for name in ("headers", "deep", "write")]}
        if method == "resources/list":
            return {**cached, "resources": [{"uri": "file:///public/a", "name": "a"}]}
        if method == "resources/templates/list":
            return {**cached, "resourceTemplates": []}
        if method == "resources/read":
            return {**cached, "contents": [{"uri": params["uri"], "text": "content"}]}
        if method == "tools/call" and params["name"] == "deep":
            nested: Any = 1
            for _ in range(DEEP):
                nested = [nested]
            return {**named, "content": [], "structuredContent": {"deep": nested}}
        if method == "tools/call":
            return {**named, "content": [{"type": "text", "text": json.dumps(headers)}]}
        return None


@dataclass
class House:
    """What the tests hold on to."""

    node: Node
    issuer: IssuerServer
    upstream: Upstream
    visits: list[str]
    """Paths of the canary that were asked for."""
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.node.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def root(self) -> str:
        """The admin token."""
        return (self.node.data / "admin.token").read_text().strip()

    def token(self, name: str, *scopes: str, expires_in_s: float | None = None) -> str:
        """A token of the node, made once per name."""
        if name not in self.tokens:
            body = {"name": name, "scopes": list(scopes) or ["mcp"], "expires_in_s": expires_in_s}
            self.tokens[name] = self.node.api.post("/tokens", body)["token"]
        return self.tokens[name]

    def ask(
        self, method: str, path: str, body: bytes | None = None, token: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One HTTP request; headers by their names with `_` for `-`."""
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return response.status, found, response.read()
        finally:
            connection.close()

    def mcp(
        self,
        method: str,
        params: dict[str, Any] | None = None,
        *,
        token: str | None,
        path: str = "/mcp/echo",
        **headers: str,
    ) -> tuple[int, dict[str, str], Any]:
        """One stateless MCP request."""
        meta = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**(params or {}), "_meta": meta}}
        named = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}.get(method)
        sent = {
            "Content_Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP_Protocol_Version": MODERN,
            "Mcp_Method": method,
            **({"Mcp_Name": (params or {})[named]} if named else {}),
            **headers,
        }
        status, found, content = self.ask("POST", path, json.dumps(message).encode(), token, **sent)
        return status, found, json.loads(content) if content else None

    def raw(self, data: bytes, *, timeout_s: float = 10.0, begin_only: bool = False) -> bytes:
        """What the node answers to these bytes until it closes the connection, or how that begins."""
        with socket.create_connection(self.address, timeout=timeout_s) as connection:
            connection.sendall(data)
            answer = bytearray()
            with contextlib.suppress(ConnectionError):
                while chunk := connection.recv(65536):
                    answer += chunk
                    if begin_only:
                        break
            return bytes(answer)

    def log(self) -> str:
        """The node's own log so far."""
        return self.node.logs[-1].read_text(errors="replace")

    def alive(self) -> bool:
        """Whether the node still answers."""
        return self.ask("GET", "/livez")[0] == 200


@contextlib.contextmanager
def neighbours() -> Iterator[tuple[IssuerServer, Upstream, str, list[str]]]:
    """The issuer, the upstream with its URL, and the visits of the canary; on a thread with a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="neighbours")
    thread.start()
    visits: list[str] = []
    runners: list[web.AppRunner] = []

    async def open_app(app: web.Application) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, max_line_size=65536, max_field_size=65536)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def visited(request: web.Request) -> web.Response:
        visits.append(request.path)
        return web.json_response({})

    async def open_all() -> tuple[IssuerServer, Upstream, str]:
        canary = web.Application()
        canary.router.add_route("*", "/{rest:.*}", visited)
        upstream = Upstream(await open_app(canary))
        app = web.Application()
        upstream.routes(app)
        issuer = IssuerServer()
        issuer.url = await open_app(issuer.made())
        return issuer, upstream, await open_app(app)

    async def close_all() -> None:
        for runner in runners:
            await runner.cleanup()

    try:
        issuer, upstream, url = asyncio.run_coroutine_threadsafe(open_all(), loop).result(10)
        yield issuer, upstream, url, visits
    finally:
        asyncio.run_coroutine_threadsafe(close_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


@contextlib.contextmanager
def house_in(folder: Path) -> Iterator[House]:
    """A node that takes OAuth tokens and its own, with one service behind it and a policy in front."""
    workspace = folder / "workspace"
    workspace.mkdir(parents=True)
    with neighbours() as (issuer, upstream, url, visits):
        (workspace / "henslowe.toml").write_text(
            f'''
[access]
mode = "oauth"
failures_per_minute = 100000

[access.oauth]
issuer = "{issuer.url}"

[access.policy.public-only]
principals = ["token:guest"]
allow_resources = ["file:///public/*"]
deny_tools = ["write"]

[admin]
rate_per_s = 50.0

[gateway]
read_timeout_s = 1.0

[services.echo]
url = "{url}/mcp"
headers = {{ X-Upstream-Key = "upstream-credential" }}
'''
        )
        with Node(workspace) as node:
            node.wait_for_active("echo", 1)
            house = House(node, issuer, upstream, visits)
            wait_until(lambda: house.mcp("tools/list", token=house.root)[0] == 200, "the service to answer")
            yield house
