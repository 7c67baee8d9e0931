"""The listener: one actor that serves the node's HTTP application on sockets that outlive it.

The sockets are bound by the composition root before anything else happens (a taken port changes nothing), and stay open
while this actor restarts: connections then wait in the kernel's backlog instead of being refused. What is served is
none of this module's business; see `henslowe.transport.gateway` and `henslowe.transport.admin`.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from henslowe.actors.kernel import LoopActor
from henslowe.config.listen import Address
from henslowe.errors import ListenFailed
from henslowe.transport.connections import Runner
from henslowe.transport.descriptors import make_room
from henslowe.transport.tls import POLL_S, Certificate

BACKLOG = 1024
"""Connections that wait while the listener restarts; the kernel caps it by net.core.somaxconn."""
ACCEPTED_AT_ONCE: Final = 16
"""New connections that asyncio takes in one turn of its loop, each with a request as a rule; uvloop takes one."""
IDLE_S: Final = 75.0
"""How long a connection may take to send the head of a request, its first one or its next: slow heads end here."""
LINGER_S: Final = 2.0
"""How long the rest of a request that was refused is read, so that its client sees the refusal."""
STALLED_S: Final = 60.0
"""How long a client may leave unread what was sent to it, and the network unconfirmed, before its connection ends."""
RECEIVED_BYTES: Final = 32 * 1024
"""Bytes that the kernel takes of a connection ahead of the node (up to twice as many), which are read in one go: of
256 KiB each, as the loop would take them, forty clients that send as fast as they can held everybody up for 12 ms."""
TURNS: Final = 4
"""Of the loop, until each connection that had something to read was read."""
HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 8_190
"""Of one request's head: beyond them 400, before anything looks at it."""


@dataclass(slots=True, frozen=True)
class Look:
    """Info to the listener, from its own timer: look at the certificate's files."""


AppMaker = Callable[[], web.Application]
"""Builds what is served; called at each (re)start, since aiohttp's applications live once."""


def bind_tcp(listen: Address) -> socket.socket:
    """A bound, listening TCP socket.

    Raises:
        ListenFailed: The operating system refused; the message says why and the hint what to do.
    """
    try:
        family, kind, proto, _, address = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise ListenFailed(f"cannot listen on {listen}: {error.strerror or error}", hint="change --listen") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit both. Without the first a client that stops reading keeps its answers in memory.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1_000 * STALLED_S))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        taken = error.errno == errno.EADDRINUSE
        raise ListenFailed(
            f"cannot listen on {listen}: {'the port is taken' if taken else error.strerror}",
            hint="choose another with --listen HOST:PORT (port 0 takes a free one)",
        ) from error
    return sock


def bind_unix(path: Path) -> socket.socket:
    """A listening Unix socket of mode 0600 (see `henslowe.config.node_file.admin_socket` for the path).

    A stale file is replaced: who calls this holds the node's lock on the data directory.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        sock.bind(str(path))
    finally:
        os.umask(mask)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


class Listener(LoopActor):
    """Serves `make_app()` on the given sockets from `init` to `terminate`.

    Args:
        make_app: Builds the application.
        sockets: Bound and listening; they are duplicated, so that closing a site leaves them open.
        certificate: For the TCP sockets; None for plain HTTP.
        shutdown_s: Longest wait for requests in flight at the end.
    """

    def __init__(
        self,
        make_app: AppMaker,
        sockets: Sequence[socket.socket],
        certificate: Certificate | None = None,
        shutdown_s: float = 5.0,
    ) -> None:
        super().__init__()
        self._certificate = certificate
        self._make_app = make_app
        self._sockets = tuple(sockets)
        self._shutdown_s = shutdown_s
        self._runner: Runner | None = None
        self._accepting: list[socket.socket] = []
        self._closing: asyncio.Task[None] | None = None
        """Held here, since the loop does not."""

    async def init(self) -> None:
        """Start serving."""
        make_room()
        self._runner = Runner(
            self._make_app(),
            handler_cancellation=True,  # a client that hangs up cancels its call upstream
            access_log=None,
            shutdown_timeout=self._shutdown_s,
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            max_headers=HEADERS_MAX,
            max_field_size=HEADER_BYTES_MAX,
        )
        await self._runner.setup()
        tls = self._certificate.context if self._certificate is not None else None
        for sock in self._sockets:
            local, accepting = sock.family == socket.AF_UNIX, sock.dup()
            self._accepting.append(accepting)
            site = web.SockSite(self._runner, accepting, ssl_context=None if local else tls, backlog=ACCEPTED_AT_ONCE)
            await site.start()
            sock.listen(BACKLOG)  # it has one queue, however often it was duplicated, and the site made that short
        if self._certificate is not None:
            self.send_after(POLL_S, Look())
        self.ref.watch(functools.partial(self._gone, asyncio.get_running_loop()))

    def handle_info(self, message: Look) -> None:
        """Load the certificate anew when its files have changed."""
        if self._certificate is not None:
            self._certificate.refresh()
            self.send_after(POLL_S, message)

    async def terminate(self, reason: object) -> None:  # noqa: ARG002 (a callback's signature)
        """Stop accepting, let requests in flight end, close connections."""
        await self._close()

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            # Of a server that closes asyncio drops the connections that it just accepted. They are left in the backlog.
            for accepting in self._accepting:
                asyncio.get_running_loop().remove_reader(accepting)
            # What has arrived on idle connections is read before these are closed: it would be lost with them.
            turns, until_s = TURNS, time.monotonic() + self._shutdown_s
            while turns or (runner.waiting and time.monotonic() < until_s):
                turns = max(0, turns - 1)
                await asyncio.sleep(0)
            await runner.cleanup()

    def _gone(self, loop: asyncio.AbstractEventLoop, *_: object) -> None:
        """After a kill, when `terminate` does not run: else this application would go on accepting for ever."""
        if self._runner is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._close_soon)

    def _close_soon(self) -> None:
        self._closing = asyncio.ensure_future(self._close())
