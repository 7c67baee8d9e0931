"""A listener that goes and comes back: whoever knocks meanwhile is answered by one of the two."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import web

from henslowe.actors.kernel import KILL, SHUTDOWN, Scheduler
from henslowe.config.listen import Address
from henslowe.transport.listener import TURNS, Listener, bind_tcp

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
