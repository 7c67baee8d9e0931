"""Guessing a token, a session or a state: too much to guess, nothing learned from failing, and little time to try."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from henslowe.actors.access import AccessBoard, Principal, board
from henslowe.actors.access.board import Grant
from henslowe.actors.access.credentials import PREFIX, SECRET_BYTES, digest, mint, mint_id
from henslowe.transport.access import ROOT, Authenticator, authenticator
from tests.transport.gateway.world import initialize_body
from tests.transport.security.house import House


def test_tokens_sessions_and_states_have_at_least_128_random_bits(house: House) -> None:
    assert SECRET_BYTES * 8 == 256
    made = {mint(mint_id()) for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(r"hns_[0-9a-f]{12}_[\w-]{43}", token, re.ASCII) for token in made)
    assert len(house.root) >= 43
    headers = {"Content_Type": "application/json", "Accept": "application/json, text/event-stream"}
    sessions = set()
    for _ in range(3):
        status, found, _ = house.ask("POST", "/mcp/echo", json.dumps(initialize_body()).encode(), house.root, **headers)
        assert status == 200
        sessions.add(found["mcp-session-id"])
    assert len(sessions) == 3
    assert all(len(base64.urlsafe_b64decode(each + "==")) >= 24 for each in sessions)


def test_a_session_id_that_a_client_brings_along_is_never_taken(house: House) -> None:
    """Nobody can fix the id of a session that another one will open, nor open one that exists anew."""
    headers = {"Content_Type": "application/json", "Accept": "application/json, text/event-stream"}
    initialize, ping = json.dumps(initialize_body()).encode(), b'{"jsonrpc":"2.0","id":2,"method":"ping"}'

    def post(body: bytes, session: str) -> tuple[int, str]:
        status, found, _ = house.ask("POST", "/mcp/echo", body, house.root, Mcp_Session_Id=session, **headers)
        return status, found.get("mcp-session-id", "")

    chosen = base64.urlsafe_b64encode(b"c" * 24).decode()
    status, minted = post(initialize, chosen)
    assert (status, minted != chosen) == (200, True)
    assert post(ping, chosen)[0] == 404
    assert post(initialize, minted)[1] not in ("", minted)
    assert post(ping, minted)[0] == 200


def test_secrets_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every comparison of a secret goes through `hmac.compare_digest`, over all of its bytes."""
    compared: list[tuple[bytes, bytes]] = []
    real = board.hmac.compare_digest

    def spy(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(board.hmac, "compare_digest", spy)
    assert authenticator.hmac is board.hmac
    token = mint("0" * 12)
    who = Principal("token:x", frozenset(), token_id="0" * 12, digest=digest(token))
    published = AccessBoard()
    published.publish({"0" * 12: Grant(((who.digest, 9e9),), who)})
    wrong = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert published.find(token, 0.0) == who
    assert published.find(wrong, 0.0) is None
    asked = Authenticator("root-secret", published)
    assert asyncio.run(asked.who("Bearer root-secret", "p")) is ROOT
    assert compared == [
        (digest(token), digest(token)),
        (digest(wrong), digest(token)),
        (b"root-secret", b"root-secret"),
    ]


def test_a_failure_says_the_same_whatever_was_wrong(house: House) -> None:
    """A token that was revoked, one with a wrong secret and one that never was cannot be told apart."""
    revoked = house.token("short-lived")
    house.node.api.post("/tokens/short-lived/revoke")
    never = mint(mint_id())
    wrong = house.token("kept")[:-1] + ("A" if house.token("kept")[-1] != "A" else "B")
    answers = {house.ask("GET", "/admin/v1/status", token=token)[::2] for token in (revoked, never, wrong)}
    assert len(answers) == 1
    assert answers.pop()[0] == 401


def test_what_is_stored_opens_nothing(house: House) -> None:
    """Neither the data directory nor the log, nor any event or reply, has a token in it; others may not read it."""
    token = house.token("stored")
    house.mcp("tools/list", token=token)
    house.mcp("tools/list", token=token + "x")
    secret = token.removeprefix(PREFIX).partition("_")[2]  # it may have the separator in it
    for path in house.node.data.rglob("*"):
        if path.is_file():
            with suppress(FileNotFoundError):  # got its name, or was replaced, a moment ago
                assert secret.encode() not in path.read_bytes(), path
    assert secret not in house.log()
    assert secret not in json.dumps(house.node.events(limit=1000))
    assert secret not in json.dumps(house.node.api.get("/tokens"))
    modes = {
        name: stat.S_IMODE(Path(house.node.data, name).stat().st_mode) for name in ("", "admin.token", "admin.sock")
    }
    assert modes == {"": 0o700, "admin.token": 0o600, "admin.sock": 0o600}


def test_the_admin_api_asks_every_route_for_a_scope(house: House) -> None:
    """Each operation of the OpenAPI document, with no token, one for MCP only, and one that may only read."""
    document = json.loads(house.ask("GET", "/admin/v1/openapi.json", token=house.root)[2])
    mcp_only, reader = house.token("mcp-only", "mcp"), house.token("reader", "admin:read")
    checked = 0
    for path, operations in document["paths"].items():
        where = re.sub(r"{\w+}", "x", path)
        for method, operation in operations.items():
            if operation["security"] == []:
                continue
            checked += 1
            (needed,) = operation["security"][0]["token"]
            body = b"{}" if method == "post" else None
            assert house.ask(method.upper(), where, body)[0] == 401, (method, path)
            status, headers, _ = house.ask(method.upper(), where, body, mcp_only)
            assert status == 403, (method, path)
            assert f'scope="{needed}"' in headers["www-authenticate"]
            if needed != "admin:read":
                assert house.ask(method.upper(), where, body, reader)[0] == 403, (method, path)
    assert checked >= 15
    assert house.ask("GET", "/admin/v1/status", token=reader)[0] == 200
    assert house.ask("GET", "/admin/v1/unknown", token=mcp_only)[0] == 403
    assert house.alive()
