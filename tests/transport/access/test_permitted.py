"""What of an endpoint a principal sees and may call, over HTTP in both eras, with the SDK's client and by hand."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from henslowe.actors.access import AccessBoard, Policy, Principal
from henslowe.actors.access.board import Grant
from henslowe.actors.access.credentials import digest, mint
from henslowe.config.settings import PolicyRule
from henslowe.transport.access import Authenticator, Door, LiveRequests, Resources
from henslowe.transport.http_guard import Guard, guard_middleware
from tests.transport.gateway.world import LocalServer, World, events, modern_body, saying, version, world

ROOT_TOKEN = "0123456789abcdef"
RULES = {
    "careful": PolicyRule(
        principals=("token:reader",),
        services=("files",),
        allow_tools=("read*",),
        deny_prompts=("secret*",),
        allow_resources=("file:///public/*",),
    ),
    "step-up": PolicyRule(services=("mail",), deny_tools=("send",), unless_scopes=("mail:send",)),
}
SCOPES = {
    "all": frozenset({"mcp"}),
    "reader": frozenset({"mcp"}),
    "files": frozenset({"mcp:files"}),
    "sender": frozenset({"mcp", "mail:send"}),
}


class House:
    """A gateway behind a door, two services, and tokens for everybody."""

    def __init__(self, gw: World, board: AccessBoard, live: LiveRequests) -> None:
        self.gw = gw
        self.board = board
        self.live = live
        self.tokens: dict[str, str] = {}
        for number, name in enumerate(SCOPES):
            self.tokens[name] = mint(f"{number:012x}")
        self.publish(*SCOPES)

    def publish(self, *names: str) -> None:
        """Let these tokens be the ones that are good."""
        grants = {}
        for number, name in enumerate(SCOPES):
            if name in names:
                secret = digest(self.tokens[name])
                who = Principal(f"token:{name}", SCOPES[name], token_id=f"{number:012x}", digest=secret)
                grants[who.token_id] = Grant(((secret, time.time() + 60),), who)
        self.board.publish(grants)

    def auth(self, name: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    async def modern(self, name: str, path: str, method: str, params: Any = None) -> Any:
        return await self.gw.modern(path, method, params, **self.auth(name))

    async def listed(self, name: str, path: str, method: str) -> list[str]:
        """Names or URIs of a list."""
        status, body, _ = await self.modern(name, path, method)
        assert status == 200, body
        (items,) = (value for value in body["result"].values() if isinstance(value, list))
        return [each.get("name") or each.get("uri") for each in items]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    board = AccessBoard()
    authenticator = Authenticator(ROOT_TOKEN, board)
    door = Door(authenticator, Resources(), open_mcp=False, open_rest=False)
    live = LiveRequests(authenticator.holds)
    board.on_change(live.review)
    guarded = guard_middleware(Guard("127.0.0.1", 1, hosts=("127.0.0.1",)), door, live)
    async with world(guarded=guarded, policy=Policy.of(RULES)) as gw:
        tools = {name: saying(name) for name in ("read", "read_all", "write")}
        resources = {"file:///public/a": "a", "file:///secret": "s"}
        gw.serve(LocalServer(version("files"), tools, resources=resources, prompts=("plain", "secret_plan")))
        gw.serve(LocalServer(version("mail"), {"send": saying("sent"), "look": saying("seen")}))
        try:
            yield House(gw, board, live)
        finally:
            live.close()


async def test_what_is_denied_is_not_listed(house: House) -> None:
    assert await house.listed("reader", "/mcp/files", "tools/list") == ["read", "read_all"]
    assert await house.listed("all", "/mcp/files", "tools/list") == ["read", "read_all", "write"]
    assert await house.listed("reader", "/mcp/files", "prompts/list") == ["plain"]
    assert await house.listed("reader", "/mcp/files", "resources/list") == ["file:///public/a"]
    everything = await house.listed("reader", "/mcp", "tools/list")
    assert everything == ["files__read", "files__read_all", "mail__look"]
    assert await house.listed("sender", "/mcp", "tools/list") == [
        "files__read",
        "files__read_all",
        "files__write",
        "mail__look",
        "mail__send",
    ]


async def test_a_scope_of_one_service_shows_that_one_on_the_aggregate(house: House) -> None:
    assert await house.listed("files", "/mcp", "tools/list") == ["files__read", "files__read_all", "files__write"]
    _, body, _ = await house.modern("files", "/mcp", "server/discover")
    assert "I am files@1" in body["result"]["instructions"]
    assert "mail" not in body["result"]["instructions"]
    status, body, _ = await house.modern("files", "/mcp", "tools/call", {"name": "mail__look", "arguments": {}})
    assert (status, body["error"]["data"]["scopes"]) == (403, ["mcp:mail"])
    assert (await house.modern("files", "/mcp/mail", "tools/list"))[0] == 403


@pytest.mark.parametrize(
    ("path", "method", "params"),
    [
        ("/mcp/files", "tools/call", {"name": "write", "arguments": {}}),
        ("/mcp", "tools/call", {"name": "files__write", "arguments": {}}),
        ("/mcp/files", "prompts/get", {"name": "secret_plan"}),
        ("/mcp/files", "resources/read", {"uri": "file:///secret"}),
        ("/mcp/files", "resources/read", {"uri": "file:///public/../secret"}),
        ("/mcp", "resources/read", {"uri": "mcp+files+file:///secret"}),
        (
            "/mcp/files",
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "secret_plan"}, "argument": {"name": "a", "value": ""}},
        ),
    ],
)
async def test_a_call_of_what_is_denied_is_answered_with_the_policys_name(
    house: House, path: str, method: str, params: dict[str, Any]
) -> None:
    status, body, _ = await house.modern("reader", path, method, params)
    assert status == 200
    assert body["error"]["data"] == {
        "code": "forbidden",
        "policy": "careful",
        "hint": "see access.policy.careful in henslowe.toml",
    }
    assert "token:reader" in body["error"]["message"]
    status, body, _ = await house.modern("all", path, method, params)
    assert "policy" not in str(body.get("error", {}).get("data"))


async def test_where_a_scope_would_help_a_403_asks_for_it(house: House) -> None:
    for path, name in (("/mcp/mail", "send"), ("/mcp", "mail__send")):
        status, body, headers = await house.modern("all", path, "tools/call", {"name": name, "arguments": {}})
        assert (status, body["error"]["data"]["policy"], body["id"]) == (403, "step-up", 1)
        assert headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", realm="henslowe"'
        status, body, _ = await house.modern("sender", path, "tools/call", {"name": name, "arguments": {}})
        assert body["result"]["content"][0]["text"] == "sent"


async def test_lists_are_private_where_others_may_see_other_ones(house: House) -> None:
    for name in ("all", "reader"):
        _, body, _ = await house.modern(name, "/mcp/files", "tools/list")
        assert body["result"]["cacheScope"] == "private"


async def test_the_handshake_era_is_held_to_the_same(house: House) -> None:
    gw, auth = house.gw, house.auth("reader")
    async with aiohttp.ClientSession(headers=auth) as http:
        gw.http, before = http, gw.http
        session = await gw.initialize("/mcp/files")
        _, body, _ = await gw.legacy("/mcp/files", session, "tools/list")
        assert [tool["name"] for tool in body["result"]["tools"]] == ["read", "read_all"]
        for method, params in (
            ("tools/call", {"name": "write"}),
            ("resources/subscribe", {"uri": "file:///secret"}),
        ):
            status, body, _ = await gw.legacy("/mcp/files", session, method, params)
            assert (status, body["error"]["data"]["policy"]) == (200, "careful")
        status, body, _ = await gw.legacy("/mcp/files", session, "tools/call", {"name": "read"})
        assert body["result"]["content"][0]["text"] == "read"
        gw.http = before


async def test_nobody_is_told_of_a_resource_that_he_may_not_read(house: House) -> None:
    wanted = {"resourceSubscriptions": ["file:///secret", "file:///public/a"]}
    headers = {
        **house.auth("reader"),
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
        "Accept": "application/json, text/event-stream",
    }
    body = modern_body("subscriptions/listen", {"notifications": wanted})
    async with house.gw.http.post(f"{house.gw.url}/mcp/files", json=body, headers=headers) as stream:
        async with asyncio.timeout(5):
            _, first = await anext(events(stream))
        assert first["params"]["notifications"] == {"resourceSubscriptions": ["file:///public/a"]}


async def test_the_sdks_client_works_with_a_token_and_sees_its_share(house: House) -> None:
    for mode in ("legacy", "2026-07-28"):
        async with contextlib.AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=house.auth("reader")))
            transport = streamable_http_client(f"{house.gw.url}/mcp/files", http_client=http)
            client = await stack.enter_async_context(Client(transport, mode=mode))
            async with asyncio.timeout(5):
                assert [tool.name for tool in (await client.list_tools()).tools] == ["read", "read_all"]
                result = await client.call_tool("read", {})
                assert result.content[0].text == "read"  # type: ignore[union-attr]


# -- what a token opened ends with it ----------------


async def test_a_revoked_token_ends_its_streams_and_calls_at_once(house: House) -> None:
    gw = house.gw
    waiting = asyncio.Event()

    async def wait(_params: Any, _notify: Any) -> Any:
        waiting.set()
        await asyncio.Event().wait()

    slow = gw.serve(LocalServer(version("slow"), {"wait": wait}))
    headers = {
        **house.auth("all"),
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
        "Accept": "application/json, text/event-stream",
    }
    body = modern_body("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    call = asyncio.ensure_future(house.modern("all", "/mcp/slow", "tools/call", {"name": "wait", "arguments": {}}))
    async with gw.http.post(f"{gw.url}/mcp/files", json=body, headers=headers) as stream, asyncio.timeout(5):
        assert stream.status == 200
        await stream.content.readline()
        await waiting.wait()
        assert len(house.live) == 2
        house.publish("reader")
        with pytest.raises(aiohttp.ClientError):
            await stream.content.read()
        with pytest.raises(aiohttp.ClientError):
            await call
        await slow.cancelled.wait()
    async with asyncio.timeout(5):
        while len(house.live):
            await asyncio.sleep(0)
    assert house.live.cut == 2
    assert (await house.modern("all", "/mcp/files", "tools/list"))[0] == 401
    assert (await house.modern("reader", "/mcp/files", "tools/list"))[0] == 200


async def test_an_expired_token_ends_its_streams_within_the_tick(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("henslowe.transport.access.live.TICK_S", 0.05)
    secret = digest(house.tokens["all"])
    who = Principal("token:all", SCOPES["all"], expires_s=time.time() + 0.5, token_id="0" * 12, digest=secret)
    house.board.publish({"0" * 12: Grant(((secret, who.expires_s),), who)})
    headers = {
        **house.auth("all"),
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "subscriptions/listen",
        "Accept": "application/json, text/event-stream",
    }
    body = modern_body("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    async with house.gw.http.post(f"{house.gw.url}/mcp/files", json=body, headers=headers) as stream:
        assert stream.status == 200
        async with asyncio.timeout(5):
            with pytest.raises(aiohttp.ClientError):
                await stream.content.read()


async def test_a_session_is_nobody_elses(house: House) -> None:
    gw = house.gw
    before = gw.http
    async with aiohttp.ClientSession(headers=house.auth("all")) as mine:
        gw.http = mine
        session = await gw.initialize("/mcp/files")
        assert (await gw.legacy("/mcp/files", session, "tools/list"))[0] == 200
        async with aiohttp.ClientSession(headers=house.auth("sender")) as other:
            gw.http = other
            status, body, _ = await gw.legacy("/mcp/files", session, "tools/list")
            assert (status, body["error"]["message"]) == (404, "Session not found")
            async with other.delete(f"{gw.url}/mcp/files", headers={"Mcp-Session-Id": session}) as response:
                assert response.status == 404
            stream = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
            async with other.get(f"{gw.url}/mcp/files", headers=stream) as response:
                assert response.status == 404
        gw.http = mine
        assert (await gw.legacy("/mcp/files", session, "tools/list"))[0] == 200
    gw.http = before
