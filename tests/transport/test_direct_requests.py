"""Requests that need no router: the same answers as with one, on connections that behave as aiohttp's do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import hdrs, web

from henslowe.transport.connections import DIRECT, ClientConnection, Direct, Runner
from henslowe.transport.json_reply import JsonReply


@dataclass
class Place:
    """A listener whose handlers say by which way a request came."""

    port: int = 0
    seen: list[str] = field(default_factory=list)
    entered: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Future[str] = field(default_factory=asyncio.Future)
    left: Callable[[], bool] | None = None

    async def direct(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/mcp/")
        if name == "wait":
            assert isinstance(request.protocol, ClientConnection)
            request.protocol.keep_going(self.left)
            self.entered.set()
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.ended.set_result("cancelled")
                raise
            self.ended.set_result("done")
        if name == "early":
            return JsonReply(b'"early"', 403)
        if name == "broken":
            raise ValueError("a bug")
        return JsonReply(b'"direct %d"' % len(await request.read()))

    async def routed(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/mcp/wait":
            return await self.direct(request)
        return JsonReply(b'"routed %d"' % len(await request.read()))

    @web.middleware
    async def middleware(self, request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        self.seen.append(request.path)
        if "Origin" in request.headers:
            response = await handler(request)  # type: ignore[misc]
            response.headers["X-Origin"] = "seen"
            return response  # type: ignore[no-any-return]
        return await handler(request)  # type: ignore[misc,no-any-return]


@contextlib.asynccontextmanager
async def listening(place: Place) -> AsyncIterator[Runner]:
    app = web.Application(middlewares=[place.middleware])
    app.router.add_route("*", "/mcp/{name}", place.routed)
    app[DIRECT] = Direct("/mcp", place.direct)
    runner = Runner(app, access_log=None, handler_cancellation=True, lingering_time=2.0, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    place.port = runner.addresses[0][1]
    try:
        yield runner
    finally:
        await runner.cleanup()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, path: str, body: bytes = b"{}", *, verb: str = "POST", version: str = "1.1", **fields: str) -> None:
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        head = f"{verb} {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self.writer.write(head.encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        async with asyncio.timeout(5):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
            }
            return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ended(self) -> bool:
        async with asyncio.timeout(5):
            return await self.reader.read() == b""


@contextlib.asynccontextmanager
async def client(place: Place) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


async def test_a_usual_request_goes_straight_to_its_handler_through_the_middlewares() -> None:
    place = Place()
    async with listening(place), client(place) as one:
        for path in ("/mcp/a", "/mcp/a", "/mcp"):
            one.send(path, b"abc")
            status, headers, body = await one.answer()
            assert (status, headers["content-type"], body) == (200, "application/json", b'"direct 3"')
            assert {"date", "server"} <= headers.keys()
    assert place.seen == ["/mcp/a", "/mcp/a", "/mcp"]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/mcp/a", {"verb": "PUT"}),
        ("/mcp/a", {"version": "1.0"}),
        ("/mcp/a", {"Connection": "close"}),
        ("/mcp/a?b=/c", {}),
    ],
)
async def test_an_unusual_request_goes_through_the_router(path: str, options: dict[str, str]) -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.send(path, b"abc", **options)
        assert (await one.answer())[2] == b'"routed 3"'


@pytest.mark.parametrize("path", ["/mcp/a/b", "/mcp/", "/mcpa", "/mc", "//mcp/a"])
async def test_a_path_beside_is_the_router_s_to_refuse(path: str) -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.send(path)
        assert (await one.answer())[0] == 404


async def test_an_answer_whose_headers_are_changed_is_sent_with_them() -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.send("/mcp/a", Origin="http://x")
        status, headers, body = await one.answer()
    assert (status, headers["x-origin"], headers["content-type"], body) == (
        200,
        "seen",
        "application/json",
        b'"direct 2"',
    )


async def test_requests_in_a_queue_are_answered_in_order() -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.send("/mcp/wait", b"1")
        await asyncio.wait_for(place.entered.wait(), 5)
        for size in (2, 3, 4):
            one.send("/mcp/a", b"x" * size)
        one.send("/mcp/a", b"xxxxx", verb="PUT")
        one.send("/mcp/a", b"xxxxxx")
        place.release.set()
        said = [(await one.answer())[2] for _ in range(6)]
    assert [each.split()[1] for each in said] == [b'%d"' % n for n in range(1, 7)]
    assert said[4] == b'"routed 5"'


async def test_a_body_may_come_after_its_head() -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.writer.write(b"POST /mcp/a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
        await one.writer.drain()
        while not place.seen:
            await asyncio.sleep(0)
        one.writer.write(b"hel")
        one.writer.write(b"lo")
        assert (await one.answer())[2] == b'"direct 5"'
        one.send("/mcp/a", b"abc")
        assert (await one.answer())[2] == b'"direct 3"', "the connection goes on"


async def test_a_client_refused_before_its_body_was_read_sees_the_answer() -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.writer.write(b"POST /mcp/early HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        assert (await one.answer())[0] == 403
        one.writer.write(b"x" * 100_000)
        one.send("/mcp/a", b"abc")
        assert (await one.answer())[2] == b'"direct 3"'


@pytest.mark.parametrize("verb", ["POST", "PUT"], ids=["direct", "through the router"])
async def test_a_client_that_hangs_up_cancels_its_request(verb: str) -> None:
    place = Place()
    async with listening(place):
        async with client(place) as one:
            one.send("/mcp/wait", verb=verb)
            await asyncio.wait_for(place.entered.wait(), 5)
        assert await asyncio.wait_for(place.ended, 5) == "cancelled"


@pytest.mark.parametrize("verb", ["POST", "PUT"], ids=["direct", "through the router"])
async def test_a_handler_may_go_on_without_its_client(verb: str) -> None:
    place = Place(left=lambda: True)
    async with listening(place):
        async with client(place) as one:
            one.send("/mcp/wait", verb=verb)
            await asyncio.wait_for(place.entered.wait(), 5)
        async with client(place) as other:
            other.send("/mcp/a")
            await other.answer()
        place.release.set()
        assert await asyncio.wait_for(place.ended, 5) == "done"


async def test_a_handler_that_breaks_is_logged_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.send("/mcp/broken")
        assert (await one.answer())[0] == 500
    assert "a bug" in caplog.text


async def test_a_listener_that_stops_lets_requests_under_way_end_and_then_their_connections() -> None:
    place = Place()
    async with listening(place) as runner, client(place) as one, client(place) as idle:
        one.send("/mcp/wait")
        await asyncio.wait_for(place.entered.wait(), 5)
        stopping = asyncio.ensure_future(runner.cleanup())
        assert await idle.ended()
        place.release.set()
        assert (await one.answer())[0] == 200
        assert await one.ended()
        await asyncio.wait_for(stopping, 5)


async def test_a_listener_that_stops_takes_the_bodies_of_requests_whose_heads_it_has() -> None:
    place = Place()
    async with listening(place) as runner, client(place) as one:
        one.writer.write(b"POST /mcp/x HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n12")
        while not place.seen:
            await asyncio.sleep(0)
        began_s = time.monotonic()
        stopping = asyncio.ensure_future(runner.cleanup())
        for _ in range(3):
            await asyncio.sleep(0)
        one.writer.write(b"3456POST /mcp/x HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await one.answer())[::2] == (200, b'"direct 6"')
        await stopping
        assert time.monotonic() - began_s < 0.5, "it did not wait as long as it may"
        assert place.seen == ["/mcp/x"], "what comes after it is dropped"
        assert await one.ended()


async def test_a_listener_that_stops_gives_up_what_takes_too_long() -> None:
    place = Place()
    async with listening(place) as runner, client(place) as one:
        one.send("/mcp/wait")
        await asyncio.wait_for(place.entered.wait(), 5)
        await asyncio.wait_for(runner.cleanup(), 5)
        assert await asyncio.wait_for(place.ended, 5) == "cancelled"


async def test_a_reply_to_an_old_client_ends_the_connection_as_it_asked() -> None:
    place = Place()
    async with listening(place), client(place) as one:
        one.send("/mcp/a", version="1.0")
        status, headers, _ = await one.answer()
        assert (status, headers.get(hdrs.CONNECTION.lower())) == (200, None)
        assert await one.ended()
