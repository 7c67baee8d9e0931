"""The endpoint handle: what an instance publishes and the gateway calls, and the directory where handles are found.

An instance's actor owns its pipes or connections; it publishes an object with this shape and nothing else. The gateway
never sees a process. Implementations live in `henslowe.transport.mcp`; today they are in this process, later they may
be on another node: nothing here assumes which.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from henslowe.actors.ids import InstanceId, ServiceName, VersionKey

JsonObject = dict[str, Any]
OnNotification = Callable[[JsonObject], None]
"""Called on the loop with each notification that belongs to one request (progress, log), before its response."""


class Era(StrEnum):
    """Which family of protocol revisions a peer speaks."""

    LEGACY = "legacy"
    """2025-11-25 and earlier: `initialize`, sessions, server-initiated requests."""
    MODERN = "modern"
    """2026-07-28: stateless, `server/discover`, `_meta` on every request."""


@dataclass(slots=True, frozen=True)
class ServerFacts:
    """What a server said of itself when it was opened."""

    era: Era
    protocol_version: str
    server_info: JsonObject
    capabilities: JsonObject
    instructions: str | None = None


@dataclass(slots=True, frozen=True)
class Contract:
    """What a version offers, as listed at start: the full listing objects, sorted by name or URI."""

    tools: tuple[JsonObject, ...] = ()
    prompts: tuple[JsonObject, ...] = ()
    resources: tuple[JsonObject, ...] = ()
    resource_templates: tuple[JsonObject, ...] = ()
    digest: str = ""
    """SHA-256 over the canonical JSON of the four lists; equal digests mean nothing to notify."""


OnRequest = Callable[[str, JsonObject, str | int], Awaitable[JsonObject]]
"""Answers a server's own request (method, parameters, id) with `{"result": ...}` or `{"error": ...}`; never raises."""


@dataclass(slots=True, frozen=True)
class SoleClient:
    """The one client behind a private connection: what the server is told of it, and how it is asked.

    Only servers of the handshake era have private connections. On a shared one nothing is declared, and what the
    server asks all the same is refused: its requests could not be attributed to one of the clients.
    """

    capabilities: JsonObject
    """What it can be asked, as it said so: `elicitation`, `roots`, `sampling`."""
    ask: OnRequest
    info: JsonObject | None = None
    """Who it says it is; None to give the node's own."""
    heard: OnNotification | None = None
    """Told what the server announces outside of any call; None where nobody would listen."""


class EndpointState(StrEnum):
    """Whether calls may be sent."""

    READY = "ready"
    DRAINING = "draining"
    """Calls in flight may finish; no new ones."""
    GONE = "gone"


class Endpoint(Protocol):
    """One open MCP connection to an instance, safe to share among clients of the gateway.

    Runs in: the node's loop. Ids and progress tokens are remapped inside; callers need not make them unique.
    """

    @property
    def version(self) -> VersionKey: ...
    @property
    def instance(self) -> InstanceId: ...
    @property
    def facts(self) -> ServerFacts: ...
    @property
    def contract(self) -> Contract: ...
    @property
    def state(self) -> EndpointState: ...
    @property
    def in_flight(self) -> int: ...

    async def request(
        self,
        method: str,
        params: JsonObject | None,
        *,
        era: Era,
        headers: Mapping[str, str] = MappingProxyType({}),
        timeout_s: float = 300.0,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """Send one request and wait for its response, bridged to the caller's era.

        `params` is as the client of `era` sent it (with its `_meta`); the result is as a client of `era` expects it:
        `{"result": {...}}` or `{"error": {...}}`, without `jsonrpc` and `id`. Cancelling the awaiting task cancels the
        request at the server (`notifications/cancelled`, or by closing the exchange).

        Raises:
            UpstreamLost: The instance went away; `details["sent"]` says whether the request may have run.
            LimitReached: The queue towards this instance is full.
            TimeoutError: No response within `timeout_s`; the server was told to cancel.
        """
        ...

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification; silently dropped when the connection is gone."""
        ...


ServerEvent = Callable[[VersionKey, JsonObject], None]
"""A notification that belongs to no request: `notifications/tools/list_changed`, `notifications/resources/updated`."""


class Connector(Protocol):
    """Opens the MCP connection of a started instance: the port between instances (actors) and the wire (transport)."""

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
    ) -> OwnedEndpoint:
        """Handshake over a child's pipes, list its contract, and return the endpoint in state READY.

        With `client` the connection is that client's alone, and speaks the handshake era.

        Raises:
            InstanceFailed: The child ended, printed something that is not JSON-RPC, or did not answer in time. With
                `details["again"]` the child may be one that ends when it is asked anything before `initialize`: start
                it once more, the connector then greets this version with `initialize` at once.
        """
        ...

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
        """The same for a server that speaks Streamable HTTP at `url`; retries refused connections until `timeout_s`."""
        ...


class OwnedEndpoint(Endpoint, Protocol):
    """The owner's side of an endpoint: what the instance's actor may do beyond calling."""

    def drain(self) -> Awaitable[None]:
        """Take no new calls (state DRAINING) and wait until none is in flight."""
        ...

    async def close(self) -> None:
        """State GONE: fail what is in flight with `UpstreamLost` and release the connection."""
        ...


@runtime_checkable
class Probed(Protocol):
    """An endpoint that can be asked whether its server is still there. What is on another node need not be one."""

    @property
    def version(self) -> VersionKey: ...
    @property
    def instance(self) -> InstanceId: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def answered_s(self) -> float:
        """Loop time of the server's last answer."""
        ...

    @property
    def called_s(self) -> float:
        """Loop time of the last call that was answered, or of the opening; probes are none."""
        ...

    async def probe(self, timeout_s: float) -> None:
        """Ask something that any server answers at once.

        Raises:
            UpstreamLost, LimitReached: As `Endpoint.request`.
            TimeoutError: No answer within `timeout_s`.
        """
        ...


class ByteReader(Protocol):
    """The half of `asyncio.StreamReader` that a connection needs."""

    async def readuntil(self, separator: bytes = b"\n") -> bytes: ...
    async def read(self, n: int = -1) -> bytes: ...


class ByteWriter(Protocol):
    """The half of `asyncio.StreamWriter` that a connection needs."""

    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def close(self) -> None: ...
    def is_closing(self) -> bool: ...


class StdioProcess(Protocol):
    """A child process with pipes, as `henslowe.actors.kernel.OsProcess` is one."""

    @property
    def pid(self) -> int: ...
    @property
    def stdin(self) -> ByteWriter: ...
    @property
    def stdout(self) -> ByteReader: ...


@dataclass(slots=True)
class EndpointDirectory:
    """Which endpoints are up, per version. Written by the instances' actors, read by the gateway without a message.

    Runs in: the node's loop only. Each change replaces the tuple of a version, so a reader holds a consistent view.
    """

    _up: dict[VersionKey, tuple[Endpoint, ...]] = field(default_factory=dict)
    _listeners: list[Callable[[VersionKey], None]] = field(default_factory=list)
    _event_listeners: list[ServerEvent] = field(default_factory=list)

    def of(self, version: VersionKey) -> tuple[Endpoint, ...]:
        """The endpoints of a version that are READY, in start order; empty when none is."""
        return self._up.get(version, ())

    def of_service(self, service: ServiceName) -> tuple[Endpoint, ...]:
        """The endpoints of all versions of a service that are READY, oldest version first."""
        versions = sorted(version for version in self._up if version.service == service)
        return tuple(endpoint for version in versions for endpoint in self._up[version])

    def add(self, endpoint: Endpoint) -> None:
        """Publish an endpoint that is READY."""
        self._up[endpoint.version] = (*self._up.get(endpoint.version, ()), endpoint)
        self._changed(endpoint.version)

    def remove(self, endpoint: Endpoint) -> None:
        """Withdraw an endpoint (draining or gone); unknown ones are ignored."""
        left = tuple(e for e in self._up.get(endpoint.version, ()) if e is not endpoint)
        if left:
            self._up[endpoint.version] = left
        else:
            self._up.pop(endpoint.version, None)
        self._changed(endpoint.version)

    def on_change(self, listener: Callable[[VersionKey], None]) -> Callable[[], None]:
        """Call `listener(version)` after each change; returns a cancel function."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def on_server_event(self, listener: ServerEvent) -> Callable[[], None]:
        """Call `listener(version, notification)` for what servers announce on their own; returns a cancel function."""
        self._event_listeners.append(listener)
        return lambda: self._event_listeners.remove(listener) if listener in self._event_listeners else None

    def announce(self, version: VersionKey, notification: JsonObject) -> None:
        """Hand on what a server announced: a changed list (its endpoint's contract is renewed), a changed resource."""
        for listener in tuple(self._event_listeners):
            listener(version, notification)

    def services(self) -> frozenset[ServiceName]:
        """Services with at least one endpoint up."""
        return frozenset(version.service for version in self._up)

    def _changed(self, version: VersionKey) -> None:
        for listener in tuple(self._listeners):
            listener(version)
