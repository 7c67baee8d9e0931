"""What is not HTTP: one short answer, the end of the connection, and nothing in the node's memory or log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from henslowe.config.listen import Address
from henslowe.transport.connections import Runner
from henslowe.transport.listener import RECEIVED_BYTES, STALLED_S, bind_tcp


async def length(request: web.Request) -> web.Response:
    try:
        return web.Response(text=str(len(await request.read())))
    except web.RequestPayloadError:
        return web.Response(status=400, text="not readable")


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, int]]:
    app = web.Application()
    app.router.add_post("/", length)
    runner = Runner(app, access_log=None, handler_cancellation=True, max_field_size=8_190)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield "127.0.0.1", runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def said(place: tuple[str, int], *pieces: bytes) -> bytes:
    """All that the node says to these pieces, until it hangs up."""
    reader, writer = await asyncio.open_connection(*place)
    try:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
        received = bytearray()
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65_536):
                    received += chunk
    finally:
        writer.close()
    return bytes(received)


HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
BROKEN = [
    ("no HTTP", b"hello\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ("a field that is too long", HEAD + b"X-Bomb: " + b"x" * 100_000 + b"\r\n\r\n"),
    ("a length that is no number", HEAD + b"Content-Length: ten\r\n\r\n"),
    ("two framings", HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"),
]


@pytest.mark.parametrize("data", [row[1] for row in BROKEN], ids=[row[0] for row in BROKEN])
async def test_what_is_no_request_gets_a_status_and_no_echo(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as place:
        answer = await said(place, data)
    assert answer.startswith(b"HTTP/1.")
    assert b" 400 Bad Request\r\n" in answer
    assert len(answer) < 400, "what was sent is not quoted"
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == [], "strangers do not write the log"


async def test_what_follows_a_broken_head_is_dropped() -> None:
    async with listening() as place:
        answer = await said(place, b"hello\r\n\r\n", *(b"x" * 65_536 for _ in range(64)))
    assert answer.count(b"400 Bad Request") <= 1


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        HEAD + b"Expect: \xff\xfe\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["a body that is not compressed as it says", "an expectation that cannot be quoted"],
)
async def test_what_cannot_be_decoded_is_the_client_s_fault(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as place:
        answer = await said(place, data)
    assert b" 400 Bad Request\r\n" in answer
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_the_kernel_gives_up_who_stops_reading_and_takes_little_ahead_of_the_node() -> None:
    with contextlib.closing(bind_tcp(Address("127.0.0.1", 0))) as sock:
        host, port = urlsplit(f"//127.0.0.1:{sock.getsockname()[1]}").hostname, sock.getsockname()[1]
        with socket.create_connection((str(host), port)):
            sock.setblocking(True)
            accepted, _ = sock.accept()
            for each in (sock, accepted):
                assert each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1_000 * STALLED_S
                # The kernel doubles it, for what it keeps beside the bytes.
                assert each.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * RECEIVED_BYTES
            accepted.close()
