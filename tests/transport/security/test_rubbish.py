"""What is too big, too deep, too many, too slow, or written for somebody's terminal."""

from __future__ import annotations

import json
import re
import socket
import threading
import time

import pytest

from henslowe.transport.gateway.inbound import DEPTH_MAX
from henslowe.transport.listener import HEADERS_MAX
from tests.transport.gateway.world import initialize_body
from tests.transport.security.house import DEEP, House

JSON = {"Content_Type": "application/json", "Accept": "application/json, text/event-stream"}
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def test_nothing_that_a_stranger_says_starts_a_line_of_the_log(house: House) -> None:
    """Control characters in names, agents, subjects and paths: none reaches the log or a terminal as such."""
    evil = "x\r\n2026-11-20 ERROR forged\x1b[2J\u2028\x9b31m"
    house.mcp("tools/call", {"name": "headers", "arguments": {"a": evil}}, token=house.root)
    house.mcp(
        "tools/call", {"name": "headers", "arguments": {}}, token=house.issuer.token(sub=evil, aud=house.node.url)
    )
    for path in ("/mcp/%0d%0aX-Forged:%201", "/admin/v1/services/%1b%5b2J", "/%0aERROR%20forged", "/mcp/%c2%9b31m"):
        for token in (None, house.root):
            _, headers, _ = house.ask("GET", path, token=token, User_Agent="a\x1b[2Jb")
            assert "x-forged" not in headers
            assert not any(CONTROL.search(value) for value in headers.values())
    initialize = initialize_body()
    initialize["params"]["clientInfo"] = {"name": evil, "version": evil}
    assert house.ask("POST", "/mcp/echo", json.dumps(initialize).encode(), house.root, **JSON)[0] == 200
    assert not CONTROL.search(house.log())
    assert all(line.startswith("{") for line in house.log().splitlines())
    assert not CONTROL.search(json.dumps(house.node.events(limit=100), ensure_ascii=False).replace("\\u", ""))


def test_a_body_that_is_too_big_is_refused_before_it_is_read(house: House) -> None:
    port = house.address[1]
    head = f"POST /mcp/echo HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {house.root}\r\n"
    head += "Content-Type: application/json\r\nConnection: close\r\n"
    announced = house.raw(f"{head}Content-Length: 999999999999\r\n\r\n{{".encode(), begin_only=True)
    assert announced.startswith(b"HTTP/1.1 413 ")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    streamed = house.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 5, begin_only=True)
    assert streamed.startswith(b"HTTP/1.1 413 ")
    assert house.ask("POST", "/admin/v1/tokens", b" " * 70_000, house.root)[0] == 413
    assert house.alive()


@pytest.mark.parametrize("levels", [DEPTH_MAX + 1, 1_000, 100_000, 1_000_000])
def test_json_that_is_nested_too_deep_is_refused(house: House, levels: int) -> None:
    for opening, closing in (("[", "]"), ('{"a":', "}")):
        inner = opening * levels + "1" + closing * levels
        body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"arguments":{inner}}}}}'.encode()
        status, _, answer = house.ask("POST", "/mcp/echo", body, house.root, **JSON)
        assert status in (400, 413)
        error = json.loads(answer)["error"]
        assert error["code"] in (-32700, -32600)
        assert re.search("levels of nesting|depth limit|body of at most", error["message"]), "it is refused for this"
    assert house.alive()


def test_json_just_deep_enough_arrives(house: House) -> None:
    nested: object = 1
    for _ in range(DEPTH_MAX - 5):
        nested = [nested]
    status, _, body = house.mcp("tools/call", {"name": "headers", "arguments": {"a": nested}}, token=house.root)
    assert status == 200, body
    assert house.upstream.heard[-1][1]["params"]["arguments"]["a"] == nested


def test_a_server_whose_answer_is_nested_too_deep_is_an_error_and_not_a_crash(house: House) -> None:
    assert DEEP > 254, "more than can be written"
    status, _, body = house.mcp("tools/call", {"name": "deep", "arguments": {}}, token=house.root)
    assert (status, "error" in body or "result" in body) == (200, True)
    assert house.alive()


@pytest.mark.parametrize(
    "headers",
    [
        [f"X-{n}: 1" for n in range(HEADERS_MAX + 1)],
        ["X-Long: " + "x" * 9_000],
        ["X" * 9_000 + ": 1"],
        ["X-Folded: a", " b"],
        ["No colon"],
        ["X-Null: a\x00b"],
        ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Content-Length: -1"],
        ["Transfer-Encoding: gzip, chunked, x"],
    ],
    ids=["many", "long", "name", "folded", "colon", "null", "lengths", "both", "negative", "codings"],
)
def test_a_bomb_of_headers_is_refused_by_the_parser(house: House, headers: list[str]) -> None:
    head = [f"POST /mcp/echo HTTP/1.1\r\nHost: 127.0.0.1:{house.address[1]}", f"Authorization: Bearer {house.root}"]
    head += ["Content-Type: application/json", *headers]
    if not any(header.startswith(("Content-Length", "Transfer-Encoding")) for header in headers):
        head.append("Content-Length: 5")  # without it what follows is no request, and refused for that
    answer = house.raw("\r\n".join([*head, "Connection: close", "", "hello"]).encode("latin-1"))
    assert answer.split(b" ", 2)[1] in (b"400", b"411", b"431", b"501"), answer[:200]
    assert b"jsonrpc" not in answer, "the endpoint saw a request that the parser should have refused"
    assert b"Traceback" not in answer
    assert house.alive()


def test_a_body_that_trickles_is_given_up_and_others_are_served_meanwhile(house: House) -> None:
    head = f"POST /mcp/echo HTTP/1.1\r\nHost: 127.0.0.1:{house.address[1]}\r\nAuthorization: Bearer {house.root}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    trickling = [socket.create_connection(house.address, timeout=10) for _ in range(50)]
    try:
        for connection in trickling:
            connection.sendall(head.encode() + b"{")
        assert house.mcp("tools/list", token=house.root)[0] == 200
        for connection in trickling:
            assert connection.recv(65536).startswith(b"HTTP/1.1 408 ")
    finally:
        for connection in trickling:
            connection.close()


def test_a_head_that_never_ends_holds_one_connection_and_for_a_limited_time() -> None:
    """The time itself is a minute and a quarter; here it is 0.3 s, of the same listener."""
    import asyncio

    from aiohttp import web

    from henslowe.actors.kernel import Scheduler
    from henslowe.config.listen import Address
    from henslowe.transport import listener
    from henslowe.transport.listener import Listener, bind_tcp

    async def run() -> None:
        Scheduler.install()
        sock = bind_tcp(Address("127.0.0.1", 0))
        ref = await Listener.start_link(web.Application, [sock])
        assert ref is not None
        reader, writer = await asyncio.open_connection(*sock.getsockname())
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        await writer.drain()
        async with asyncio.timeout(5):
            assert await reader.read() == b"", "closed without an answer"
        writer.close()
        await ref.stop(block=False)
        sock.close()

    before = listener.IDLE_S
    listener.IDLE_S = 0.3  # type: ignore[misc]
    try:
        asyncio.run(run())
    finally:
        listener.IDLE_S = before  # type: ignore[misc]
    assert before == 75.0


def test_a_client_that_hangs_up_in_the_middle_leaves_nothing_behind(house: House) -> None:
    def hang_up() -> None:
        for _ in range(20):
            with socket.create_connection(house.address, timeout=5) as connection:
                connection.sendall(b"POST /mcp/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Le")

    threads = [threading.Thread(target=hang_up) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert house.mcp("tools/list", token=house.root)[0] == 200


def test_a_client_that_asks_too_often_gets_429_on_every_kind_of_route(house: House) -> None:
    """Of the admin API here; of the MCP endpoints, whose limit is off on loopback, in the tests of the door."""
    token = house.token("hasty", "admin:read")
    began_s = time.monotonic()
    statuses = []
    while 429 not in statuses and time.monotonic() - began_s < 20:
        status, headers, _ = house.ask("GET", "/admin/v1/nothing", token=token)
        statuses.append(status)
    assert statuses[-1] == 429
    assert int(headers["retry-after"]) >= 1
    assert house.ask("GET", "/admin/v1/status", token=house.root)[0] == 200, "others have a bucket of their own"


def test_what_is_turned_away_is_counted_by_its_reason(house: House) -> None:
    house.ask("GET", "/metrics", Host="evil.example")
    house.ask("GET", "/mcp/echo")
    metrics = house.ask("GET", "/metrics", token=house.root)[2].decode()
    for code in ("host_refused", "unauthorised"):
        assert re.search(rf'henslowe_access_refused_total{{code="{code}"}} [1-9]', metrics)
