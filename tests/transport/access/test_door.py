"""Who is let in to what, and what the others are told."""

from __future__ import annotations

import time
from collections.abc import Mapping

import pytest

from henslowe.actors.access import ANONYMOUS, AccessBoard, Principal
from henslowe.actors.access.board import Grant
from henslowe.actors.access.credentials import digest, mint
from henslowe.config.settings import OAuthSettings
from henslowe.transport.access import ROOT, Authenticator, Denied, Door, Resources
from henslowe.transport.access.issuer import Issuer
from henslowe.transport.rate_limit import RateLimiter
from tests.transport.access.doors import ROOT_TOKEN, door_of
from tests.transport.access.issuers import IssuerServer

HOST, PEER = "127.0.0.1:8400", "10.0.0.9"
TOKENS = {name: mint(f"{number:012x}") for number, name in enumerate(["all", "hello", "reader", "writer", "nothing"])}
SCOPES: Mapping[str, frozenset[str]] = {
    "all": frozenset({"mcp"}),
    "hello": frozenset({"mcp:hello"}),
    "reader": frozenset({"admin:read"}),
    "writer": frozenset({"admin:write"}),
    "nothing": frozenset(),
}


def board_of_all() -> AccessBoard:
    board = AccessBoard()
    grants = {}
    for number, name in enumerate(TOKENS):
        secret = digest(TOKENS[name])
        who = Principal(f"token:{name}", SCOPES[name], token_id=f"{number:012x}", digest=secret)
        grants[who.token_id] = Grant(((secret, time.time() + 60),), who)
    board.publish(grants)
    return board


async def answer(door: Door, path: str, token: str | None = None, host: str = HOST) -> Principal | Denied:
    return await door.admit(host, path, None if token is None else f"Bearer {token}", PEER)


async def status(door: Door, path: str, token: str | None = None) -> int:
    found = await answer(door, path, token)
    return found.status if isinstance(found, Denied) else 200


@pytest.mark.parametrize(
    ("path", "anonymous", "statuses"),
    [
        ("/mcp", 401, {"all": 200, "hello": 200, "reader": 403, "writer": 403, "nothing": 403}),
        ("/mcp/hello", 401, {"all": 200, "hello": 200, "reader": 403, "writer": 403, "nothing": 403}),
        ("/mcp/hello@1", 401, {"all": 200, "hello": 200, "reader": 403, "writer": 403, "nothing": 403}),
        ("/mcp/hell", 401, {"all": 200, "hello": 403, "reader": 403, "writer": 403, "nothing": 403}),
        ("/mcp/hello/x", 401, {"all": 200, "hello": 403, "reader": 403, "writer": 403, "nothing": 403}),
        ("/mcp/", 401, {"all": 200, "hello": 403, "reader": 403, "writer": 403, "nothing": 403}),
        ("/metrics", 401, {"all": 403, "hello": 403, "reader": 200, "writer": 200, "nothing": 403}),
        ("/", 401, {"all": 200, "hello": 200, "reader": 200, "writer": 200, "nothing": 200}),
        ("/nowhere", 401, {"all": 200, "hello": 200, "reader": 200, "writer": 200, "nothing": 200}),
        ("/mcpx", 401, {"all": 200, "hello": 200, "reader": 200, "writer": 200, "nothing": 200}),
        ("/.well-known/oauth-protected-resource/mcp", 200, {"all": 200, "nothing": 200}),
        ("/admin/v1/status", 200, {"all": 200, "nothing": 200}),
    ],
)
async def test_a_closed_door_asks_for_a_token_and_its_scope(
    path: str, anonymous: int, statuses: dict[str, int]
) -> None:
    door = door_of(board_of_all(), open_to_all=False)
    assert await status(door, path) == anonymous
    assert await status(door, path, ROOT_TOKEN) == 200
    assert {name: await status(door, path, TOKENS[name]) for name in statuses} == statuses
    assert await status(door, path, "wrong") == 401


async def test_an_open_door_lets_everybody_in_but_not_with_a_bad_token() -> None:
    door = door_of(board_of_all())
    for path in ("/mcp", "/mcp/hello", "/metrics", "/"):
        assert await answer(door, path) is ANONYMOUS
        assert await status(door, path, "wrong") == 401, "a revoked token must not turn into an anonymous client"
    assert await status(door, "/mcp/other", TOKENS["hello"]) == 403, "a token is asked for its scope all the same"
    assert await answer(door, "/mcp", ROOT_TOKEN) is ROOT


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", ROOT_TOKEN, "Bearer \udcff", "Bearer a b"])
async def test_a_header_that_is_no_bearer_token_is_refused(header: str) -> None:
    found = await door_of(board_of_all()).admit(HOST, "/mcp", header, PEER)
    assert isinstance(found, Denied)
    assert found.status == 401


async def test_the_scheme_may_be_in_any_case() -> None:
    assert await door_of().admit(HOST, "/mcp", f"bEARER {ROOT_TOKEN}", PEER) is ROOT


async def test_bad_tokens_are_limited_by_address_and_good_ones_never_held_up() -> None:
    now = [0.0]
    failures = RateLimiter(0.1, burst=3, clock=lambda: now[0])
    door = door_of(board_of_all(), failures=failures)
    assert [await status(door, "/mcp", f"bad-{n}") for n in range(5)] == [401, 401, 401, 429, 429]
    found = await answer(door, "/mcp", "bad")
    assert isinstance(found, Denied)
    assert found.headers == (("Retry-After", "10"),)
    assert await status(door, "/mcp", TOKENS["all"]) == 200
    assert await status(door, "/mcp") == 200
    now[0] += 10
    assert await status(door, "/mcp", "bad") == 401


async def test_each_principal_has_a_bucket_of_its_own() -> None:
    door = door_of(board_of_all(), limiter=RateLimiter(0.5, burst=2, clock=lambda: 0.0))
    tokens = [TOKENS["all"], TOKENS["all"], TOKENS["all"], TOKENS["hello"], None, None, None]
    assert [await status(door, "/mcp", token) for token in tokens] == [200, 200, 429, 200, 200, 200, 429]
    found = await answer(door, "/mcp", TOKENS["all"])
    assert isinstance(found, Denied)
    assert found.headers == (("Retry-After", "2"),)
    assert await status(door, "/admin/v1/status", TOKENS["all"]) == 200, "the admin API has its own limit"


# -- an OAuth resource server ----------------


def oauth_door(server: IssuerServer, public_url: str = "", **settings: object) -> Door:
    oauth = OAuthSettings.model_validate({"issuer": server.url, **settings})
    authenticator = Authenticator(ROOT_TOKEN, board_of_all(), issuer=Issuer(oauth))
    return Door(authenticator, Resources(oauth, public_url), open_mcp=False, open_rest=False)


def challenge(found: Principal | Denied) -> str:
    assert isinstance(found, Denied)
    return dict(found.headers)["WWW-Authenticate"]


async def test_a_challenge_says_where_to_learn_more(server: IssuerServer) -> None:
    door = oauth_door(server)
    metadata = f"http://{HOST}/.well-known/oauth-protected-resource"
    assert challenge(await answer(door, "/mcp")) == f'Bearer resource_metadata="{metadata}/mcp", scope="mcp"'
    assert challenge(await answer(door, "/mcp/hello")) == (
        f'Bearer resource_metadata="{metadata}/mcp/hello", scope="mcp:hello"'
    )
    assert challenge(await answer(door, "/mcp", "wrong")).startswith('Bearer error="invalid_token", ')
    assert challenge(await answer(door, "/metrics")) == 'Bearer realm="henslowe"'
    evil = challenge(await answer(door, '/mcp/a", scope="admin'))
    assert 'scope="admin"' not in evil
    assert evil.count('"') == 2


async def test_a_challenge_asks_in_the_issuers_words(server: IssuerServer) -> None:
    door = oauth_door(server, scope_map={"files.read": ["mcp:hello"], "all": ["mcp"]})
    assert 'scope="files.read"' in challenge(await answer(door, "/mcp/hello"))
    assert 'scope="all"' in challenge(await answer(door, "/mcp/other"))
    token = server.token(scope="files.read", aud=f"http://{HOST}/mcp")
    found = await answer(door, "/mcp/other", token)
    assert isinstance(found, Denied)
    assert found.status == 403
    assert challenge(found).startswith('Bearer error="insufficient_scope", ')
    assert 'scope="all"' in challenge(found)
    for settings, expected in (
        ({"challenge_scopes": ["a", "b"]}, 'scope="a b"'),
        ({"scopes_supported": ["a"]}, ""),
        ({"scopes_granted": ["mcp"]}, ""),
    ):
        said = challenge(await answer(oauth_door(server, **settings), "/mcp"))
        assert expected in said if expected else "scope=" not in said


@pytest.mark.parametrize(
    ("audience", "path", "enough"),
    [
        (f"http://{HOST}/mcp", "/mcp", True),
        (f"http://{HOST}/mcp/", "/mcp", True),
        (f"HTTP://{HOST}/mcp", "/mcp", True),
        (f"http://{HOST}", "/mcp/hello", True),
        (f"http://{HOST}/mcp", "/mcp/hello", True),
        (f"http://{HOST}/mcp/hello", "/mcp/hello", True),
        (f"http://{HOST}/mcp/hello", "/mcp", False),
        (f"http://{HOST}/mcp/hello", "/mcp/other", False),
        (f"http://{HOST}/mcp/hell", "/mcp/hello", False),
        ("http://127.0.0.1:8401/mcp", "/mcp", False),
        (f"https://{HOST}/mcp", "/mcp", False),
        ("https://other.example/mcp", "/mcp", False),
        (f"http://{HOST}.evil.example/mcp", "/mcp", False),
        ("mcp", "/mcp", False),
        ("", "/mcp", False),
    ],
)
async def test_a_token_is_taken_for_its_audience_and_what_is_below(
    server: IssuerServer, audience: str, path: str, enough: bool
) -> None:
    found = await answer(oauth_door(server), path, server.token(aud=audience))
    if enough:
        assert isinstance(found, Principal)
        assert found.name == "oauth:ada"
    else:
        assert isinstance(found, Denied)
        assert found.status == 401
        assert 'error="invalid_token"' in challenge(found)


async def test_a_public_url_is_the_audience_whatever_the_host_says(server: IssuerServer) -> None:
    door = oauth_door(server, "https://mcp.example.org/", audiences=["my-client"])
    for audience, enough in (
        ("https://mcp.example.org/mcp", True),
        ("https://mcp.example.org:443/mcp", True),
        ("my-client", True),
        (f"http://{HOST}/mcp", False),
    ):
        found = await answer(door, "/mcp", server.token(aud=["x", audience]))
        assert isinstance(found, Principal) is enough
    assert 'resource_metadata="https://mcp.example.org/.well-known/' in challenge(await answer(door, "/mcp"))


async def test_an_oauth_principal_reaches_no_admin_route_by_its_audience_alone(server: IssuerServer) -> None:
    found = await answer(oauth_door(server), "/metrics", server.token())
    assert isinstance(found, Denied)
    assert found.status == 403


async def test_while_the_issuer_is_away_its_tokens_get_503_and_ours_go_on(server: IssuerServer) -> None:
    from aiohttp import web

    server.broken = lambda: web.Response(status=500)
    door = oauth_door(server)
    found = await answer(door, "/mcp", server.token())
    assert isinstance(found, Denied)
    assert (found.status, dict(found.headers)["Retry-After"]) == (503, "5")
    assert await status(door, "/mcp", TOKENS["all"]) == 200


async def test_a_node_may_be_one_resource_to_its_issuer(server: IssuerServer) -> None:
    door = oauth_door(server, resource="api://henslowe")
    metadata = door.resources.metadata(HOST, "/mcp/hello")
    assert metadata is not None
    assert metadata["resource"] == "api://henslowe"
    assert isinstance(await answer(door, "/mcp/hello", server.token(aud="api://henslowe")), Principal)
    for audience in ("api://other", "", "://"):
        assert isinstance(await answer(door, "/mcp/hello", server.token(aud=audience)), Denied)
        assert isinstance(await answer(oauth_door(server), "/mcp/hello", server.token(aud=audience)), Denied)


async def test_the_scopes_of_a_policy_are_asked_for_as_they_are_written(server: IssuerServer) -> None:
    resources = oauth_door(server, scope_map={"everything": ["mcp"]}).resources
    asked = {
        ours: resources.challenge(HOST, "/mcp", error="insufficient_scope", scopes=["mcp:write"], ours=ours)[1]
        for ours in (True, False)
    }
    assert 'scope="everything"' in asked[True]
    assert 'scope="mcp:write"' in asked[False], "the issuer's own word, whatever it would mean to us"
