"""A client for the authorization scenarios of the MCP conformance suite, with a node as the resource server.

    conformance client --command "python tests/conformance/auth_client.py" --scenario auth/metadata-default

The suite gives the address of its own MCP server, which names its authorization server, and watches what a client does
there. Here that server's metadata and first challenge are read as an operator reads a manual: they say which issuer and
scopes to configure. A node is started with them and takes the server's place: the SDK's client, whose connections to
that address end at the node, discovers the issuer through the node's metadata and challenges, logs in at the suite's
authorization server, and comes back with its token.

The suite's tokens are opaque and its authorization server tells nobody about them, so the introspection that a node
needs (RFC 7662) is played here, with what the token's owner was told of its scopes.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import aiohttp
import httpx2
from aiohttp import web
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

ROOT: Final = Path(__file__).parent.parent.parent
if str(ROOT) not in sys.path:  # when run as a script
    sys.path.insert(0, str(ROOT))

from tests.e2e.harness import Node  # noqa: E402 (needs the path)

SERVER: Final = ROOT / "tests" / "transport" / "mcp" / "servers" / "raw_server.py"
CLIENT_METADATA: Final = "https://conformance-test.local/client-metadata.json"
WELL_KNOWN: Final = "/.well-known/oauth-protected-resource"
STEP_UP: Final = {"auth/scope-step-up": ("mcp:write",), "auth/scope-retry-limit": ("mcp:admin",)}
"""Scopes that tools ask for beyond those of the first challenge. In the second scenario no token ever has them."""
MIGRATION: Final = "auth/authorization-server-migration"
CLIENT_S: Final = 30.0


@dataclass
class Manual:
    """What the suite's server says of itself."""

    url: str
    metadata: dict[str, Any]
    challenge_scopes: list[str]

    @property
    def issuer(self) -> str:
        return str(self.metadata["authorization_servers"][0])


@dataclass
class Login:
    """The client's side of the flow: what it keeps, and a browser that agrees to everything at once."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    scopes: dict[str, str] = field(default_factory=dict)
    """Per access token, the scopes that it was given."""
    _asked: str = ""
    _answer: dict[str, list[str]] = field(default_factory=dict)

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.scopes[tokens.access_token] = tokens.scope or self._asked

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info

    async def visit(self, url: str) -> None:
        """Open the authorization page; it redirects at once."""
        self._asked = parse_qs(urlsplit(url).query).get("scope", [""])[0]
        async with aiohttp.ClientSession() as http, http.get(url, allow_redirects=False) as response:
            self._answer = parse_qs(urlsplit(response.headers["Location"]).query)

    async def come_back(self) -> AuthorizationCodeResult:
        """What the redirect said."""
        first = {name: values[0] for name, values in self._answer.items()}
        return AuthorizationCodeResult(code=first["code"], state=first.get("state"), iss=first.get("iss"))


async def read_manual(url: str) -> Manual:
    """The metadata, where the challenge or the specification says it is."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=body, headers={"Accept": "application/json, text/event-stream"}) as response:
            challenge = response.headers.get("WWW-Authenticate", "")
        said = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        places = [said.get("resource_metadata", ""), f"{origin}{WELL_KNOWN}{parts.path}", f"{origin}{WELL_KNOWN}"]
        for place in filter(None, places):
            async with http.get(place) as response:
                if response.status == 200:
                    return Manual(url, await response.json(), said.get("scope", "").split())
    raise AssertionError(f"expected metadata of {url}, found none")


def settings_of(manual: Manual, scenario: str, introspection: str) -> str:
    """The node's file that an operator writes with this manual."""
    resource = urlsplit(manual.metadata["resource"])  # in one scenario of another host, which clients must notice
    lines = [
        "[gateway]",
        f'hosts = ["{urlsplit(manual.url).netloc}"]',
        "[access]",
        'mode = "oauth"',
        f'public_url = "{resource.scheme}://{resource.netloc}"',
        "[access.oauth]",
        f'issuer = "{manual.issuer}"',
        f'introspection_url = "{introspection}"',
        f'resource = "{manual.metadata["resource"] if resource.path in ("", "/") else ""}"',
        'scopes_granted = ["mcp"]',
        f"scopes_supported = {json.dumps(manual.metadata.get('scopes_supported', []))}",
        f"challenge_scopes = {json.dumps(manual.challenge_scopes)}",
    ]
    if scenario in STEP_UP:
        lines += ["[access.policy.step-up]", 'deny_tools = ["*"]', f"unless_scopes = {json.dumps(STEP_UP[scenario])}"]
    lines += ["[services.tool]", f"command = {json.dumps([sys.executable, str(SERVER)])}"]
    return "\n".join(lines) + "\n"


def introspection_of(login: Login, scenario: str, audience: list[str]) -> web.Application:
    """Says of the suite's tokens what their owner was told."""

    async def introspect(request: web.Request) -> web.Response:
        token = str((await request.post())["token"])
        if token not in login.scopes:
            return web.json_response({"active": False})
        scopes = set(login.scopes[token].split())
        if scenario == "auth/scope-retry-limit":
            scopes -= set(STEP_UP[scenario])
        return web.json_response({"active": True, "sub": "conformance", "scope": " ".join(scopes), "aud": audience})

    app = web.Application()
    app.router.add_post("/introspect", introspect)
    return app


def provider_of(login: Login, url: str) -> OAuthClientProvider:
    """The SDK's own flow."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    redirect = AnyUrl("http://localhost:3000/callback")
    if "client_id" in context and login.client is None:
        login.client = OAuthClientInformationFull(
            client_id=context["client_id"],
            client_secret=context.get("client_secret"),
            token_endpoint_auth_method="client_secret_basic",
            redirect_uris=[redirect],
        )
    return OAuthClientProvider(
        server_url=url,
        client_metadata=OAuthClientMetadata(
            client_name="henslowe-conformance",
            redirect_uris=[redirect],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
        ),
        storage=login,
        redirect_handler=login.visit,
        callback_handler=login.come_back,
        client_metadata_url=CLIENT_METADATA,
    )


class Detour(httpx2.AsyncHTTPTransport):
    """Connections to one address that end at another, as after a change of DNS."""

    def __init__(self, node_url: str) -> None:
        super().__init__()
        self._node = urlsplit(node_url)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(host=self._node.hostname, port=self._node.port)
        return await super().handle_async_request(request)


async def use(url: str, node_url: str, login: Login) -> None:
    """Connect, list the tools, call one."""
    version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "2026-07-28")
    mode = version if version >= "2026" else "legacy"
    async with AsyncExitStack() as stack, asyncio.timeout(CLIENT_S):
        parts = urlsplit(url)
        mounts = {f"{parts.scheme}://{parts.netloc}": Detour(node_url)}
        http = await stack.enter_async_context(
            httpx2.AsyncClient(auth=provider_of(login, url), mounts=mounts, timeout=CLIENT_S)
        )
        client = await stack.enter_async_context(Client(streamable_http_client(url, http_client=http), mode=mode))
        await client.list_tools()
        await client.call_tool("tool__echo", {})


async def migrate(manual: Manual, login: Login) -> Manual:
    """Let the suite's server see the first token, after which it names another authorization server."""
    assert login.tokens is not None
    headers = {
        "Authorization": f"Bearer {login.tokens.access_token}",
        "Accept": "application/json, text/event-stream",
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with aiohttp.ClientSession() as http, http.post(manual.url, json=body, headers=headers):
        return await read_manual(manual.url)


async def main(url: str, scenario: str) -> None:
    manual, login = await read_manual(url), Login()
    audience = [manual.metadata["resource"]]
    runner = web.AppRunner(introspection_of(login, scenario, audience), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    introspection = f"http://127.0.0.1:{runner.addresses[0][1]}/introspect"
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        file = workspace / "henslowe.toml"
        file.write_text(settings_of(manual, scenario, introspection))
        node = Node(workspace)
        try:
            await asyncio.to_thread(node.__enter__)
            await asyncio.to_thread(node.wait_for_active, "tool", 1)
            await use(url, node.url, login)
            if scenario == MIGRATION:
                await asyncio.to_thread(node.stop)
                file.write_text(settings_of(await migrate(manual, login), scenario, introspection))
                login.scopes.clear()  # the new authorization server knows none of the old one's tokens
                await asyncio.to_thread(node.start)
                await use(url, node.url, login)
        finally:
            await asyncio.to_thread(node.__exit__)
            await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[-1], os.environ.get("MCP_CONFORMANCE_SCENARIO", "")))
