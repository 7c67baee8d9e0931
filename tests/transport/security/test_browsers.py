"""Pages of other sites: by another name for this machine (DNS rebinding), or in a visitor's name (CSRF)."""

from __future__ import annotations

import json

import pytest

from tests.transport.security.house import House

PATHS = [
    "/",
    "/mcp",
    "/mcp/echo",
    "/metrics",
    "/admin/v1/status",
    "/admin/v1/stop",
    "/admin/v1/events/stream",
    "/.well-known/oauth-protected-resource/mcp",
    "/nowhere",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "localhost.evil.example:{port}"])
def test_dns_rebinding_meets_a_refusal_on_every_route(house: House, path: str, host: str) -> None:
    name = host.format(port=house.address[1])
    for method in ("GET", "POST"):
        status, _, body = house.ask(method, path, token=house.root, Host=name)
        assert status == 403
        assert b"host_refused" in body


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_a_page_of_another_origin_reaches_no_route(house: House, path: str, origin: str) -> None:
    for method in ("GET", "POST", "OPTIONS", "DELETE"):
        status, headers, body = house.ask(method, path, token=house.root, Origin=origin)
        assert status == 403
        assert b"origin_refused" in body
        assert not any(name.startswith("access-control") for name in headers)


def test_csrf_has_nothing_to_ride_on(house: House) -> None:
    """A form cannot send a token, nor JSON, nor leave out its Origin; and the node sets no cookie."""
    port = house.address[1]
    own = f"http://127.0.0.1:{port}"
    before = house.node.events(type="NODE_STOP")
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        form = {"Content_Type": content_type, "Cookie": "session=1", "Sec_Fetch_Site": "cross-site"}
        assert house.ask("POST", "/admin/v1/stop", b"{}", Origin="https://evil.example", **form)[0] == 403
        assert house.ask("POST", "/admin/v1/stop", b"{}", Origin=own, **form)[0] == 401
        assert house.ask("POST", "/mcp/echo", b"{}", Origin=own, **form)[0] == 401
        assert house.ask("POST", "/mcp/echo", b"{}", house.root, Origin=own, **form)[0] == 415
    status, headers, _ = house.ask("GET", "/admin/v1/status", token=house.root)
    assert status == 200
    assert "set-cookie" not in headers
    assert house.node.events(type="NODE_STOP") == before


def test_a_second_host_or_authorization_header_is_not_a_second_opinion(house: House) -> None:
    host = f"127.0.0.1:{house.address[1]}"
    good = house.root
    twice = f"GET /admin/v1/status HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {good}\r\n"
    answer = house.raw(f"{twice}Authorization: Bearer x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401 ")
    answer = house.raw(f"{twice}Host: evil.example\r\nConnection: close\r\n\r\n".encode())
    assert answer.split(b" ", 2)[1] in (b"400", b"403")
    absolute = f"GET http://evil.example/admin/v1/status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    assert house.raw(absolute.encode()).split(b" ", 2)[1] in (b"400", b"401", b"403", b"404")


def test_the_metadata_is_public_and_says_no_more_than_it_must(house: House) -> None:
    status, _, body = house.ask("GET", "/.well-known/oauth-protected-resource/mcp/echo")
    assert status == 200
    assert json.loads(body) == {
        "resource": f"{house.node.url}/mcp/echo",
        "authorization_servers": [house.issuer.url],
        "bearer_methods_supported": ["header"],
    }
