"""A listener that goes and comes back: whoever knocks meanwhile is answered by one of the two."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from aiohttp import web

from henslowe.actors.kernel import KILL, SHUTDOWN, Scheduler
from henslowe.config.listen import Address
from henslowe.transport.listener import ACCEPTED_AT_ONCE, TURNS, Listener, bind_tcp

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def application() -> web.Application:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/", answer)
    return app


@pytest.mark.parametrize("reason", [SHUTDOWN, KILL], ids=str)
async def test_who_connects_in_the_very_turn_of_a_restart_is_answered(reason: str) -> None:
    Scheduler.install()
    loop = asyncio.get_running_loop()
    clients: list[socket.socket] = []
    with bind_tcp(Address("127.0.0.1", 0)) as listening:

        def knock() -> None:
            client = socket.create_connection(listening.getsockname())
            client.sendall(REQUEST)
            client.setblocking(False)
            clients.append(client)
            if len(clients) < 3 * TURNS:
                loop.call_soon(knock)

        first = await Listener.start_link(application, [listening], parent=None)
        gone = asyncio.Event()
        first.watch(lambda *_: loop.call_soon_threadsafe(gone.set))
        first.exit(reason)
        loop.call_soon(knock)
        async with asyncio.timeout(5):
            await gone.wait()
            second = await Listener.start_link(application, [listening], parent=None)
            for client in clients:
                reader, writer = await asyncio.open_connection(sock=client)
                assert (await reader.read()).endswith(b"here")
                writer.close()
        await second.stop(block=False)


async def test_a_crowd_that_waits_for_its_turns_is_answered_before_the_listener_goes() -> None:
    Scheduler.install()
    with bind_tcp(Address("127.0.0.1", 0)) as listening:
        first = await Listener.start_link(application, [listening], parent=None)
        crowd = [await asyncio.open_connection(*listening.getsockname()) for _ in range(40)]
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        first.watch(lambda *_: loop.call_soon_threadsafe(gone.set))
        for _, writer in crowd:
            writer.write(REQUEST)
        first.exit(SHUTDOWN)
        async with asyncio.timeout(5):
            for reader, writer in crowd:
                assert (await reader.read()).endswith(b"here")
                writer.close()
            await gone.wait()


async def test_the_queue_of_new_connections_stays_as_long_as_it_was_bound() -> None:
    """A site of aiohttp would make it short, and the kernel then drops those who come in crowds: a second's wait."""
    Scheduler.install()
    with bind_tcp(Address("127.0.0.1", 0)) as listening:
        bound = queue_max(listening)
        assert bound > ACCEPTED_AT_ONCE
        listener = await Listener.start_link(application, [listening], parent=None)
        assert queue_max(listening) == bound
        await listener.stop(block=False)


def queue_max(listening: socket.socket) -> int:
    """Of a listening socket Linux tells it where others have their selective acknowledgements."""
    found: int = struct.unpack_from("=8B6I", listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 64))[13]
    return found
