"""The listener: one actor that serves the node's HTTP application on sockets that outlive it.

The sockets are bound by the composition root before anything else happens (a taken port changes nothing), and stay open
while this actor restarts: connections then wait in the kernel's backlog instead of being refused. What is served is
none of this module's business; see `henslowe.transport.gateway` and `henslowe.transport.admin`.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from henslowe.actors.kernel import LoopActor
from henslowe.errors import ConfigError, ListenFailed

BACKLOG = 1024
"""Connections that wait while the listener restarts; the kernel caps it by net.core.somaxconn."""

UNIX_PATH_BYTES_MAX = 100
"""sockaddr_un holds 108 bytes with its terminator; a little is left for a temporary name."""


def parse_listen(listen: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` (`[::1]:8400` for IPv6).

    Raises:
        ConfigError: It is not of that form.
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535 or not host:
        raise ConfigError(
            f"expected listen to be HOST:PORT, got: {listen!r}",
            hint="for example --listen 127.0.0.1:8400",
            key="listen",
        )
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind_tcp(listen: str) -> socket.socket:
    """A bound, listening TCP socket.

    Raises:
        ConfigError: `listen` is malformed.
        ListenFailed: The operating system refused; the message says why and the hint what to do.
    """
    host, port = parse_listen(listen)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    except OSError as error:
        raise ListenFailed(f"cannot listen on {listen}: {error.strerror or error}", hint="change --listen") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
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


def bind_unix(path: Path) -> socket.socket | None:
    """A listening Unix socket of mode 0600, or None where the path is too long for one.

    A stale file is replaced: who calls this holds the node's lock on the data directory.
    """
    if len(os.fsencode(path)) > UNIX_PATH_BYTES_MAX:
        return None
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
        make_app: Builds the application; called at each (re)start, since aiohttp's applications live once.
        sockets: Bound and listening; they are duplicated, so that closing a site leaves them open.
        shutdown_s: Longest wait for requests in flight at the end.
    """

    def __init__(
        self, make_app: Callable[[], web.Application], sockets: Sequence[socket.socket], shutdown_s: float = 5.0
    ) -> None:
        super().__init__()
        self._make_app = make_app
        self._sockets = tuple(sockets)
        self._shutdown_s = shutdown_s
        self._runner: web.AppRunner | None = None

    async def init(self) -> None:
        """Start serving."""
        self._runner = web.AppRunner(
            self._make_app(),
            handler_cancellation=True,  # a client that hangs up cancels its call upstream
            access_log=None,
            shutdown_timeout=self._shutdown_s,
            keepalive_timeout=75.0,
        )
        await self._runner.setup()
        for sock in self._sockets:
            await web.SockSite(self._runner, sock.dup()).start()

    async def terminate(self, reason: object) -> None:  # noqa: ARG002 (a callback's signature)
        """Stop accepting, let requests in flight end, close connections."""
        if self._runner is not None:
            await self._runner.cleanup()
