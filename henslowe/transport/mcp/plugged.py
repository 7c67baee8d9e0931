"""Connections over wires that extensions bring: `mcp+SCHEME://...` is opened by whoever has the scheme.

An extension opens a pair of byte streams; what is spoken on them, and how, is the node's own code for pipes. Any other
address, and every child process, is the business of the connector behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from henslowe.actors.bounded import bounded
from henslowe.actors.endpoints import (
    ByteReader,
    ByteWriter,
    Connector,
    OwnedEndpoint,
    ServerEvent,
    SoleClient,
    StdioProcess,
)
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.errors import InstanceFailed
from henslowe.extensions import Transport

PREFIX: Final = "mcp+"
RETRY_S: Final = 0.2
"""Until an address at which nobody is yet is tried again."""

FindTransport: TypeAlias = Callable[[str], tuple[str, Transport] | None]
"""Name and transport for a scheme, if one runs."""
Called: TypeAlias = Callable[[str, str], None]
"""Told of each opening: the extension's name, and what was wrong or ""."""


@dataclass(slots=True, frozen=True)
class _Streams:
    """A pair of streams, as a child's pipes."""

    pid: int
    stdin: ByteWriter
    stdout: ByteReader


class PluggedConnector:
    """`Connector` with the wires of extensions.

    Args:
        inner: For everything else.
        find: Gives the transport of a scheme.
        called: Told of each opening.
    """

    def __init__(self, inner: Connector, find: FindTransport, called: Called) -> None:
        self._inner = inner
        self._find = find
        self._called = called

    async def connect_stdio(
        self, version: VersionKey, instance: InstanceId, process: StdioProcess, **fields: Any
    ) -> OwnedEndpoint:
        """See `Connector.connect_stdio`."""
        return await self._inner.connect_stdio(version, instance, process, **fields)

    async def connect_http(
        self,
        version: VersionKey,
        instance: InstanceId,
        url: str,
        *,
        headers: Mapping[str, str],
        on_server_event: ServerEvent,
        on_closed: Callable[[str], None],
        timeout_s: float,
        client: SoleClient | None = None,
    ) -> OwnedEndpoint:
        """See `Connector.connect_http`; of `mcp+SCHEME://...` by the extension that has the scheme.

        Raises:
            InstanceFailed: No extension that runs has it, or it could not open the address in time.
        """
        shared: dict[str, Any] = {"on_server_event": on_server_event, "on_closed": on_closed, "client": client}
        if not url.startswith(PREFIX):
            return await self._inner.connect_http(
                version, instance, url, headers=headers, timeout_s=timeout_s, **shared
            )
        began_s = asyncio.get_running_loop().time()
        reader, writer = await self._open(url, headers, timeout_s)
        left_s = max(0.1, timeout_s - (asyncio.get_running_loop().time() - began_s))
        try:
            return await self._inner.connect_stdio(
                version, instance, _Streams(0, writer, reader), timeout_s=left_s, **shared
            )
        except BaseException:
            writer.close()
            raise

    async def _open(self, url: str, headers: Mapping[str, str], timeout_s: float) -> tuple[ByteReader, ByteWriter]:
        scheme = url.removeprefix(PREFIX).partition("://")[0]
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        said = f"no extension that runs has the scheme {PREFIX}{scheme}; see `henslowe modules`"
        while (left_s := until_s - loop.time()) > 0:
            found = self._find(scheme)
            if found is not None:
                name, transport = found
                try:
                    streams: tuple[ByteReader, ByteWriter] = await bounded(
                        transport.open, url, headers, deadline_s=left_s
                    )
                except (OSError, TimeoutError) as error:
                    said = str(error) or type(error).__name__  # nobody is there yet
                except Exception as error:
                    said = f"{type(error).__name__}: {error}"
                    self._called(name, said)
                    raise InstanceFailed(f"cannot open {url}: {said}") from error
                else:
                    self._called(name, "")
                    return streams
            await asyncio.sleep(min(RETRY_S, max(0.0, until_s - loop.time())))
        raise InstanceFailed(f"cannot open {url} within {timeout_s:g} s: {said}")
