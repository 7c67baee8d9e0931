"""Opens started servers: link, handshake, listing, endpoint. The implementation of the `Connector` port.

A connector starts and stops no process; it is enough by itself for whoever has a child with pipes or a URL, such as
the pipeline's `mcp-check`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from henslowe import __version__
from henslowe.actors.endpoints import Era, JsonObject, ServerEvent, ServerFacts, SoleClient, StdioProcess
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.config.settings import InstanceSettings
from henslowe.errors import HensloweError, InstanceFailed, UpstreamLost
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.contract import list_contract
from henslowe.transport.mcp.endpoint import McpEndpoint
from henslowe.transport.mcp.handshake import open_server
from henslowe.transport.mcp.http import HttpLink
from henslowe.transport.mcp.link import Link
from henslowe.transport.mcp.stdio import StdioLink

REMEMBERED_MAX = 1_000
"""Versions of which is remembered that they must not be probed."""


class McpConnector:
    """Opens MCP servers over pipes and over Streamable HTTP.

    Args:
        settings: Limits of instances.
        name: Who the node says it is.
    """

    def __init__(self, settings: InstanceSettings, *, name: str = "henslowe") -> None:
        self._settings = settings
        self._node: JsonObject = {"name": name, "version": __version__}
        self._legacy_only: dict[VersionKey, None] = {}

    async def connect_stdio(
        self,
        version: VersionKey,
        instance: InstanceId,
        process: StdioProcess,
        *,
        on_server_event: ServerEvent,
        on_closed: Callable[[str], None],
        timeout_s: float,
        client: SoleClient | None = None,
    ) -> McpEndpoint:
        """See `Connector.connect_stdio`.

        Some servers end when they are asked anything before `initialize`. The failure of such a start has
        `details["again"]` set: start the child once more, and it will be greeted with `initialize` at once.
        """
        relay = _Relay(on_closed, client)
        link = StdioLink(
            process.stdin,
            process.stdout,
            peer=instance,
            on_event=relay.event,
            on_closed=relay.closed,
            on_request=relay.request,
            in_flight_max=self._settings.in_flight_max,
            message_bytes_max=self._settings.message_bytes_max,
        )
        return await self._open(
            version, instance, link, relay=relay, on_server_event=on_server_event, timeout_s=timeout_s, client=client
        )

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
    ) -> McpEndpoint:
        """See `Connector.connect_http`. `headers` are sent with every request.

        Raises:
            InstanceFailed: As `connect_stdio`, and when nobody listens in time.
            ConfigError: The URL or a header cannot be used.
        """
        relay = _Relay(on_closed, client)
        link = HttpLink(
            url,
            peer=instance,
            headers=headers,
            on_event=relay.event,
            on_closed=relay.closed,
            on_request=relay.request,
            on_reopened=relay.reopened,
            in_flight_max=self._settings.in_flight_max,
            message_bytes_max=self._settings.message_bytes_max,
        )
        started_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout_s):
                await link.wait_listening()
        except BaseException as cause:
            await link.close()
            if isinstance(cause, TimeoutError):
                raise InstanceFailed(
                    f"cannot open {instance}: nobody listens at {url} after {timeout_s:g} s",
                    hint="check the url and its port, or raise ready_timeout_s",
                ) from cause
            raise
        left_s = timeout_s - (asyncio.get_running_loop().time() - started_s)
        return await self._open(
            version, instance, link, relay=relay, on_server_event=on_server_event, timeout_s=left_s, client=client
        )

    async def _open(
        self,
        version: VersionKey,
        instance: InstanceId,
        link: Link,
        *,
        relay: _Relay,
        on_server_event: ServerEvent,
        timeout_s: float,
        client: SoleClient | None,
    ) -> McpEndpoint:
        legacy_only = client is not None or version in self._legacy_only
        facts: ServerFacts | None = None
        try:
            async with asyncio.timeout(timeout_s):
                facts = await open_server(
                    link,
                    self._node if client is None or client.info is None else client.info,
                    timeout_s=timeout_s,
                    legacy_only=legacy_only,
                    capabilities=None if client is None else client.capabilities,
                )

                async def ask(method: str, params: JsonObject) -> JsonObject:
                    if facts is not None and facts.era is Era.MODERN:
                        params = {**params, "_meta": eras.envelope(facts.protocol_version, self._node)}
                    return await link.exchange(method, params, timeout_s=timeout_s)

                contract = await list_contract(ask, facts)
        except BaseException as cause:
            await link.close()
            if isinstance(cause, TimeoutError):
                stage = "it did not answer the handshake" if facts is None else "it did not list what it offers"
                raise InstanceFailed(
                    f"cannot open {instance}: {stage} within {timeout_s:g} s",
                    hint="a stdio server must read standard input at once; raise ready_timeout_s for a slow start",
                ) from cause
            if isinstance(cause, UpstreamLost):
                again = facts is None and not legacy_only and isinstance(link, StdioLink)
                if again:
                    self._remember(version)
                elif client is None:
                    self._legacy_only.pop(version, None)
                raise InstanceFailed(f"cannot open {instance}: {_why(cause)}", hint=cause.hint, again=again) from cause
            if isinstance(cause, InstanceFailed):
                raise InstanceFailed(f"cannot open {instance}: {_why(cause)}", hint=cause.hint) from cause
            raise
        endpoint = McpEndpoint(
            version, instance, link, facts, contract, node=self._node, on_server_event=on_server_event
        )
        relay.attach(endpoint)
        link.opened()
        return endpoint

    def _remember(self, version: VersionKey) -> None:
        while len(self._legacy_only) >= REMEMBERED_MAX:
            self._legacy_only.pop(next(iter(self._legacy_only)))
        self._legacy_only[version] = None


class _Relay:
    """Between a link and those above it: holds what the server announces before there is an endpoint."""

    HELD_MAX: Final = 100

    def __init__(self, on_closed: Callable[[str], None], client: SoleClient | None) -> None:
        self._on_closed = on_closed
        self._client = client
        self._endpoint: McpEndpoint | None = None
        self._held: list[JsonObject] = []

    def event(self, notification: JsonObject) -> None:
        if self._endpoint is not None:
            self._endpoint.announced(notification)
        elif len(self._held) < self.HELD_MAX:
            self._held.append(notification)

    def closed(self, reason: str) -> None:
        if self._endpoint is not None:  # while opening, the opener is told by its exchange
            self._endpoint.lose()
            self._on_closed(reason)

    async def request(self, method: str, params: JsonObject, request_id: str | int) -> JsonObject:
        """The answer to a request of the server, from the client if there is only one and it can be asked that."""
        client = self._client
        if client is None or eras.ASKED_OF_CLIENTS.get(method) not in client.capabilities:
            return jsonrpc.refusal(method)
        return await client.ask(method, params, request_id)

    def reopened(self) -> None:
        if self._endpoint is not None:
            self._endpoint.suspect()

    def attach(self, endpoint: McpEndpoint) -> None:
        self._endpoint = endpoint
        held, self._held = self._held, []
        for notification in held:
            endpoint.announced(notification)


def _why(error: HensloweError) -> str:
    """The cause alone, when the message is "cannot VERB OBJECT: CAUSE"."""
    message = error.message
    return message.partition(": ")[2] if message.startswith("cannot ") and ": " in message else message
