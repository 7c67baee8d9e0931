"""Nobody can send the node somewhere (SSRF), nor to a file or a route that is not his (path traversal)."""

from __future__ import annotations

import hashlib
import json
import time
from urllib.parse import quote

import jwt
import pytest

from henslowe.errors import Corrupt
from henslowe.storage.manifest import load as load_manifest
from tests.transport.access.issuers import private_key
from tests.transport.security.house import House


def test_a_ref_in_a_schema_is_never_followed(house: House) -> None:
    """A tool's input schema names another host; listing, validating and calling it asks nobody there."""
    _, _, body = house.mcp("tools/list", token=house.root)
    canary = house.upstream.canary
    assert body["result"]["tools"][0]["inputSchema"]["properties"]["a"]["$ref"].startswith(canary)
    for name in ("headers", "write"):
        assert house.mcp("tools/call", {"name": name, "arguments": {"a": {"$ref": canary}}}, token=house.root)[0] == 200
    assert house.mcp("tools/list", token=house.root, path="/mcp")[0] == 200
    assert house.visits == []


def test_a_url_in_a_token_is_never_fetched(house: House) -> None:
    canary = house.upstream.canary
    claims = {"iss": house.issuer.url, "sub": "eve", "aud": house.node.url, "exp": time.time() + 60}
    for extra in ({"jku": f"{canary}/keys"}, {"x5u": f"{canary}/cert"}, {"kid": f"{canary}/keys"}):
        token = jwt.encode(claims, private_key("ES256", 2), "ES256", headers=extra)
        assert house.mcp("tools/list", token=token)[0] == 401
    other = jwt.encode({**claims, "iss": canary}, private_key("ES256", 2), "ES256", headers={"kid": "ES256"})
    assert house.mcp("tools/list", token=other)[0] == 401
    assert house.visits == []


def test_a_url_in_an_argument_is_the_servers_business(house: House) -> None:
    """What a client puts into arguments, resource URIs or headers makes the gateway itself fetch nothing."""
    canary = house.upstream.canary
    house.mcp("tools/call", {"name": "headers", "arguments": {"url": canary}}, token=house.root)
    house.mcp("resources/read", {"uri": f"{canary}/x"}, token=house.root)
    house.ask("GET", f"{canary}/absolute", token=house.root)
    house.ask("GET", "/admin/v1/status", token=house.root, X_Forwarded_Host=canary, X_Original_Url=canary)
    assert house.visits == []


CLIMBS = ["../secret", "..%2fsecret", "..%252fsecret", "%2e%2e/secret", "..\\secret", "public/../../secret", "a%00b"]


@pytest.mark.parametrize("climb", CLIMBS)
def test_a_resource_uri_does_not_climb_past_a_policy(house: House, climb: str) -> None:
    guest = house.token("guest")
    assert house.mcp("resources/read", {"uri": "file:///public/a"}, token=guest)[2]["result"]["contents"]
    before = len(house.upstream.heard)
    _, _, body = house.mcp("resources/read", {"uri": f"file:///public/{climb}"}, token=guest)
    if ".." in climb.replace("%252e", ".").replace("%2e", "."):
        assert body["error"]["data"]["policy"] == "public-only"
        assert len(house.upstream.heard) == before, "the server was not asked"


SPELLINGS = [
    "..",
    "../admin/v1/stop",
    "..%2f..%2fadmin",
    "echo/../../admin/v1/status",
    "%2e%2e",
    "echo%00",
    ".",
    "echo%0d%0aX:%20y",
    "a" * 4000,
]


@pytest.mark.parametrize("name", SPELLINGS, ids=lambda name: name[:20])
def test_a_service_name_is_a_name_and_not_a_path(house: House, name: str) -> None:
    for prefix in ("/mcp/", "/admin/v1/services/", "/.well-known/oauth-protected-resource/mcp/"):
        status, headers, body = house.ask("GET", prefix + name, token=house.root)
        assert status in (400, 404, 405), (prefix, status, body[:200])
        assert "x" not in headers
    assert house.alive()


PATHS = [
    "//admin/v1/status",
    "/admin//v1/status",
    "/admin/v1/../v1/status",
    "/Admin/v1/status",
    "/admin/v1/status/",
    "/mcp/../admin/v1/status",
    "/mcp/%2e%2e/admin/v1/status",
    "/livez/../admin/v1/status",
    "/livez%2f..%2fadmin/v1/status",
    "/admin/v1/services/echo/../../status",
    "/static/../../etc/passwd",
    "/admin/v1/%73tatus",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_goes_around_the_door(house: House, path: str) -> None:
    line = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{house.address[1]}\r\nConnection: close\r\n\r\n"
    answer = house.raw(line.encode())
    assert answer.split(b" ", 2)[1] in (b"400", b"401", b"404"), answer[:200]
    assert b'"services"' not in answer


@pytest.mark.parametrize(
    ("path", "target"),
    [("../escape", ""), ("/etc/passwd", ""), ("a/../../b", ""), ("", ""), ("link", "../x"), ("link", "/etc/passwd")],
)
def test_a_build_has_no_path_outside_of_its_folder(path: str, target: str) -> None:
    """A manifest that names one, as a file or as a link's target, is refused before anything is unpacked."""
    row = [path, "link" if target else "file", "0" * 64, 1, False, target]
    manifest = json.dumps({"entries": [row], "format": 1}).encode()
    with pytest.raises(Corrupt, match="inside the tree"):
        load_manifest(hashlib.sha256(manifest).hexdigest(), manifest)


def test_tokens_and_services_in_admin_paths_are_names(house: House) -> None:
    for name in ("../../stop", "..", "a b", "x" * 100, "\x1b[2J"):
        for path in (
            f"/admin/v1/tokens/{quote(name, safe='')}/revoke",
            f"/admin/v1/services/{quote(name, safe='')}/build",
        ):
            assert house.ask("POST", path, b"{}", house.root)[0] in (400, 404)
    assert house.alive()
