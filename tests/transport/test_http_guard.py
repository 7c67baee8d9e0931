"""Who may talk to the listener at all, by Host and Origin, and what the middleware makes of the door's word."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from henslowe.transport.http_guard import Guard
from tests.transport.access.doors import ROOT_TOKEN, door_of, guarded_by


def status(guard: Guard, host: str | None, origin: str | None = None) -> int:
    denied = guard.judge("/mcp/x", host, origin)
    return 200 if denied is None else denied.status


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1:8400", 200),
        ("localhost:8400", 200),
        ("LOCALHOST:8400", 200),
        ("[::1]:8400", 200),
        ("dev.example:8400", 200),
        ("dev.example:99", 200),
        ("named.example:8443", 200),
        ("named.example:8444", 403),
        ("named.example", 403),
        ("evil.example:8400", 403),
        ("127.0.0.1", 403),
        ("127.0.0.1:8401", 403),
        ("127.0.0.1:8400.evil.example", 403),
        ("localhost.evil.example:8400", 403),
        ("127.0.0.1:8400@evil.example", 403),
        ("10.0.0.1:8400", 403),
        ("", 403),
        (":", 403),
        ("[", 403),
        (None, 403),
    ],
)
def test_a_loopback_listener_knows_its_names(host: str | None, expected: int) -> None:
    guard = Guard("127.0.0.1", 8400, hosts=("dev.example", "Named.example:8443"))
    assert status(guard, host) == expected


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, 200),
        ("http://localhost:8400", 200),
        ("https://127.0.0.1:8400", 200),
        ("https://app.example", 200),
        ("https://app.example:444", 403),
        ("https://evil.example", 403),
        ("http://localhost:3000", 403),
        ("http://localhost:8400.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
        ("chrome-extension://localhost:8400", 403),
    ],
)
def test_pages_of_other_sites_are_refused(origin: str | None, expected: int) -> None:
    guard = Guard("127.0.0.1", 8400, origins=("https://app.example/",))
    assert status(guard, "localhost:8400", origin) == expected


def test_beyond_loopback_names_must_be_known_but_addresses_need_not() -> None:
    guard = Guard("0.0.0.0", 8400, hosts=("node.example",))
    assert [status(guard, host) for host in ("10.1.2.3:8400", "[2001:db8::1]:8400", "node.example")] == [200] * 3
    assert [status(guard, host) for host in ("evil.example:8400", "10.1.2.3:8401")] == [403] * 2


def test_health_is_free() -> None:
    guard = Guard("0.0.0.0", 8400)
    assert guard.judge("/livez", "whatever", "https://evil.example") is None
    assert guard.judge("/livez/x", "whatever", None) is not None


async def test_the_middleware_answers_in_the_words_of_the_route(tmp_path: Path) -> None:
    async def ok(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    app = web.Application(middlewares=[guarded_by(Guard("127.0.0.1", 1, hosts=("good",)))])
    for path in ("/mcp/hello", "/api/v1/services", "/metrics", "/livez"):
        app.router.add_get(path, ok)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    socket_path = str(tmp_path / "s")
    await web.UnixSite(runner, socket_path).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(5):
            for path, code in (("/mcp/hello", 403), ("/api/v1/services", 403), ("/metrics", 403), ("/livez", 200)):
                async with http.get(url + path, headers={"Host": "evil"}) as response:
                    assert response.status == code
                    if path == "/mcp/hello":
                        body = await response.json()
                        assert (body["id"], body["error"]["data"]["code"]) == (None, "host_refused")
                    elif code == 403:
                        assert (await response.json())["error"]["code"] == "host_refused"
            async with http.get(url + "/livez", headers={"Host": "good", "Origin": "https://evil.example"}) as response:
                assert (response.status, "Access-Control-Allow-Origin" in response.headers) == (200, False)
            async with http.get(url + "/nowhere", headers={"Host": "evil"}) as response:
                assert response.status == 403, "also where there is no route"
            async with http.get(url + "/metrics", headers={"Host": "good"}) as response:
                assert response.status == 200
        async with (
            asyncio.timeout(5),
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket_path)) as http,
            http.get("http://anything/metrics") as response,
        ):
            assert response.status == 200, "the socket's file mode is its guard"
    finally:
        await runner.cleanup()


async def test_pages_that_are_allowed_may_read_what_they_asked_for() -> None:
    async def ok(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    guard = Guard("0.0.0.0", 1, hosts=("good",), origins=("https://app.example",))
    app = web.Application(middlewares=[guarded_by(guard, door_of(open_to_all=False))])
    app.router.add_post("/mcp", ok)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    page = {"Host": "good", "Origin": "https://app.example"}
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "mcp-method,mcp-param-x"}
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(5):
            async with http.options(url, headers={**page, **asking}) as response:
                assert response.status == 204, "a preflight carries no token"
                assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
                assert response.headers["Access-Control-Allow-Headers"] == "mcp-method,mcp-param-x"
            async with http.post(url, headers={**page, "Authorization": f"Bearer {ROOT_TOKEN}"}) as response:
                assert response.status == 200
                assert response.headers["Access-Control-Allow-Origin"] == "https://app.example"
                assert "Mcp-Session-Id" in response.headers["Access-Control-Expose-Headers"]
            async with http.post(url, headers=page) as response:
                assert response.status == 401
                assert "Access-Control-Allow-Origin" in response.headers, "the page may read why"
            for origin in ("https://evil.example", "null"):
                async with http.options(url, headers={**page, **asking, "Origin": origin}) as response:
                    assert response.status == 403
                    assert "Access-Control-Allow-Origin" not in response.headers
            async with http.post(url, headers={"Host": "good", "Authorization": f"Bearer {ROOT_TOKEN}"}) as response:
                assert "Access-Control-Allow-Origin" not in response.headers
            async with http.options(url, headers={"Host": "good"}) as response:
                assert response.status == 401, "no preflight without a page"
    finally:
        await runner.cleanup()
