"""The admin routes of tokens, and what a token's scopes open of the others."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.transport.admin.small_node import Served

V1 = "/admin/v1"


class Asker:
    """Asks over TCP with one token or another."""

    def __init__(self, served: Served, http: aiohttp.ClientSession) -> None:
        self.root = served.token
        self.http = http

    async def __call__(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.request(method, V1 + path, json=body, headers=headers) as response:
            return response.status, await response.json()

    async def made(self, name: str, *scopes: str, by: str = "") -> str:
        """A new token."""
        status, body = await self("POST", "/tokens", by or self.root, {"name": name, "scopes": scopes})
        assert status == 201, body
        return str(body["token"])


@pytest.fixture
async def ask(served: Served, remote: aiohttp.ClientSession) -> Asker:
    return Asker(served, remote)


async def test_a_token_is_in_one_answer_which_no_cache_may_keep(served: Served, ask: Asker) -> None:
    headers = {"Authorization": f"Bearer {ask.root}"}
    body = {"name": "ci", "scopes": ["admin:read"], "expires_in_s": 60}
    async with ask.http.post(V1 + "/tokens", json=body, headers=headers) as response:
        assert (response.status, response.headers["Cache-Control"]) == (201, "no-store")
        made = await response.json()
    status, listed = await ask("GET", "/tokens", ask.root)
    assert status == 200
    (row,) = listed["tokens"]
    assert made == {**row, "token": made["token"]}
    assert (row["created_by"], row["state"], row["scopes"]) == ("root", "good", ["admin:read"])
    assert row["expires_s"] == pytest.approx(row["created_s"] + 60, abs=5)


async def test_each_scope_opens_its_routes_and_no_other(ask: Asker) -> None:
    scopes = ("admin:read", "admin:write", "admin:services", "admin:tokens")
    tokens = {name: await ask.made(name.replace(":", "-"), name) for name in scopes}
    expected = {
        ("GET", "/status"): (200, 200, 403, 403),
        ("POST", "/services/hello/actions/hold"): (403, 200, 403, 403),
        ("PATCH", "/services/nobody/manifest"): (403, 403, 404, 403),
        ("DELETE", "/services/nobody"): (403, 403, 404, 403),
        ("GET", "/tokens"): (403, 403, 403, 200),
    }
    bodies: dict[str, dict[str, Any]] = {"POST": {}, "PATCH": {"set": {"strategy": "auto"}}}
    for (method, path), statuses in expected.items():
        asked = [(await ask(method, path, tokens[name], bodies.get(method)))[0] for name in scopes]
        assert tuple(asked) == statuses, path


async def test_a_keeper_of_tokens_cannot_raise_himself(ask: Asker) -> None:
    keeper = await ask.made("keeper", "admin:tokens", "mcp:hello")
    assert (await ask("POST", "/tokens", keeper, {"name": "a", "scopes": ["mcp:hello"]}))[0] == 201
    for scope in ("mcp", "admin", "admin:write", "mcp:other"):
        status, body = await ask("POST", "/tokens", keeper, {"name": "b", "scopes": [scope]})
        assert (status, body["error"]["code"]) == (403, "forbidden")
    await ask.made("boss", "admin")
    assert (await ask("POST", "/tokens/boss/rotate", keeper, {}))[0] == 403, "its secret would be in the answer"


async def test_a_revoked_token_is_refused_at_once_also_by_itself(ask: Asker) -> None:
    token = await ask.made("keeper", "admin:tokens")
    assert (await ask("POST", "/tokens/keeper/revoke", token, {}))[0] == 200
    assert (await ask("GET", "/tokens", token))[0] == 401


async def test_a_rotated_token_has_a_new_secret_under_its_name(ask: Asker) -> None:
    old = await ask.made("ci", "admin:read")
    status, body = await ask("POST", "/tokens/ci/rotate", ask.root, {"grace_s": 60})
    assert status == 200
    assert [(await ask("GET", "/status", token))[0] for token in (old, body["token"])] == [200, 200]
    _, body = await ask("POST", "/tokens/ci/rotate", ask.root, {})
    assert [(await ask("GET", "/status", token))[0] for token in (old, body["token"])] == [401, 200]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "", "scopes": ["mcp"]}, "name"),
        ({"name": "a" * 64, "scopes": ["mcp"]}, "name"),
        ({"name": "a", "scopes": []}, "scopes"),
        ({"name": "a", "scopes": ["mcp"], "expires_in_s": 0}, "expires_in_s"),
        ({"name": "a", "scopes": ["mcp"], "expires_in_s": -5}, "expires_in_s"),
        ({"name": "a", "scopes": ["mcp"], "expires_in_s": 1e12}, "expires_in_s"),
        ({"name": "a", "scopes": ["mcp"], "token": "mine"}, "token"),
    ],
)
async def test_what_is_no_token_is_refused_by_its_field(ask: Asker, body: Any, field: str) -> None:
    status, answer = await ask("POST", "/tokens", ask.root, body)
    assert status == 400
    assert answer["error"]["details"]["problems"][0]["field"] == field


async def test_commands_are_logged_with_the_tokens_name(served: Served, ask: Asker) -> None:
    token = await ask.made("deployer", "admin:write")
    assert (await ask("POST", "/services/hello/actions/hold", token, {"reason": "why not"}))[0] == 200
    (said,) = served.node.store.events.read(types="COMMAND")
    assert said.data["by"] == "token:deployer"
