"""The address of the node's one listener: how it is written, and who may be let in from elsewhere.

Binding the socket is transport's; this only reads the text and refuses what would put an open door on a network.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from henslowe.config.settings import Settings
from henslowe.errors import ConfigError, ListenRefused


class Address(NamedTuple):
    """Host and port; port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name that is not `localhost` is taken for a remote one."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def parse_listen(text: str, *, where: str = "") -> Address:
    """The address in `HOST:PORT`, `[IPV6]:PORT` or `:PORT` (loopback).

    Raises:
        ConfigError: It is none of these, or the port is not in 0..65535.
    """
    host, colon, port = text.strip().rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if (
        not colon
        or not (port.isascii() and port.isdigit())
        or int(port) > 65535
        or (not bracketed and ":" in host)
        or any(c.isspace() for c in host)
    ):
        raise ConfigError(
            f"listen: expected HOST:PORT with a port of 0 to 65535, got: {text!r}{_place(where)}",
            hint='for example --listen 127.0.0.1:8400, or listen = "127.0.0.1:8400" in henslowe.toml',
            key="listen",
        )
    return Address((host[1:-1] if bracketed else host) or "127.0.0.1", int(port))


def check_listen(settings: Settings, *, where: str = "") -> Address:
    """The address, if it may be listened on; `where` is the value's origin, for errors.

    Raises:
        ConfigError: It is not an address.
        ListenRefused: Others could reach it, and `allow_remote` is not set, or nothing says what clients must show:
            `admin.token_file` or `access.mode`.
    """
    address = parse_listen(settings.listen, where=where)
    said = settings.admin.token_file is not None or settings.access.mode != "auto"
    if address.loopback or (settings.allow_remote and said):
        return address
    missing = "admin.token_file" if settings.allow_remote else "allow_remote"
    raise ListenRefused(
        f"cannot listen on {address}: other machines could reach it, and {missing} is not set{_place(where)}",
        hint=f"add --token-file FILE or --access token, or listen on 127.0.0.1:{address.port}",
        key="listen",
        listen=str(address),
    )


def open_to_clients(mode: str, address: Address) -> bool:
    """Whether an MCP client needs to show nothing: what `access.mode` means at this address."""
    return mode == "none" or (mode == "auto" and address.loopback)


def _place(where: str) -> str:
    return f" ({where})" if where else ""
