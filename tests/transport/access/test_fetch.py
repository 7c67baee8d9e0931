"""What the node fetches for itself, and where it does not go."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from henslowe.errors import Unavailable
from henslowe.transport.access.fetch import check_url, fetch_json
from tests.transport.access.issuers import IssuerServer


@pytest.mark.parametrize(
    "url",
    [
        "http://login.example/keys",
        "http://10.0.0.1/keys",
        "http://localhost.evil.example/keys",
        "ftp://127.0.0.1/keys",
        "file:///etc/passwd",
        "https://",
        "https://user:password@login.example/",
        "https://[::1",
        "http://127.0.0.1:99999/",
        "gopher://127.0.0.1:6379/_",
        "",
    ],
)
def test_only_https_and_loopback_are_fetched(url: str) -> None:
    with pytest.raises(Unavailable, match="expected an https address"):
        check_url(url)


def test_hosts_are_named_as_they_are_compared() -> None:
    assert check_url("https://Login.Example:8443/x") == "login.example"
    assert check_url("http://[::1]:80/x") == "::1"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "10.0.0.1", "[fd00::1]"])
async def test_a_host_that_only_a_document_names_must_be_public(server: IssuerServer, host: str) -> None:
    scheme = "http" if host in ("127.0.0.1", "localhost", "[::1]") else "https"
    url = f"{scheme}://{host}:{server.url.rpartition(':')[2]}/keys"
    with pytest.raises(Unavailable, match="not public"):
        await fetch_json(url, trusted_hosts=frozenset({"login.example"}))
    assert server.asked == [], "nobody was asked"


async def test_a_server_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("henslowe.transport.access.fetch.TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unavailable, match="TimeoutError"):
        await fetch_json(f"http://127.0.0.1:{silent.getsockname()[1]}/", trusted_hosts=frozenset({"127.0.0.1"}))


async def test_a_closed_port_is_said(unused: int) -> None:
    with pytest.raises(Unavailable, match="cannot fetch"):
        await fetch_json(f"http://127.0.0.1:{unused}/", trusted_hosts=frozenset({"127.0.0.1"}))


async def test_a_compressed_bomb_is_not_unpacked(server: IssuerServer) -> None:
    import gzip

    bomb = gzip.compress(b'{"keys": [' + b" " * 50_000_000 + b"]}")
    server.broken = lambda: web.Response(body=bomb, headers={"Content-Encoding": "gzip"})
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="not JSON"):
            await fetch_json(f"{server.url}/keys", trusted_hosts=frozenset({"127.0.0.1"}))


@pytest.fixture
def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
