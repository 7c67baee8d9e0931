"""Who is at the other end of a Unix socket: the kernel says, and nobody can say otherwise."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from functools import lru_cache

from aiohttp import web

from henslowe.actors.access.principal import Principal
from henslowe.actors.access.scopes import EVERYTHING


def local_user(request: web.BaseRequest) -> Principal | None:
    """The user at the other end of a Unix socket, who may do everything; None for any other connection.

    Whoever can open the node's socket (mode 0600) is its owner, or the superuser.
    """
    sock = request.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    # A real socket of the same descriptor: what uvloop shows instead of one has no getsockopt.
    with socket.socket(fileno=os.dup(sock.fileno())) as own:
        credentials = own.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return _principal(struct.unpack("3i", credentials)[1])


@lru_cache(maxsize=256)
def _principal(uid: int) -> Principal:
    """The user by name; remembered, since a directory service may take its time."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Principal(f"local:{name}", EVERYTHING)
