"""Connections that belong to one client each, to servers of the handshake era, so that the server can ask the client.

A client that can be asked nothing shares its connection with all others. One that can be asked something gets its own:
a session keeps it as long as it uses it (`of_session`); a stateless client leases it for one call at a time (`lease`),
since what the server asks meanwhile is then about that call. A session that is routed to another version gets a
connection to that one, and leaves the old one to drain. When none can be had, the shared one serves as before.

Who opens them is behind `PrivateConnections`; how a stateless call waits for its client is in `parked`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Protocol

import orjson

from henslowe.actors.endpoints import Endpoint, EndpointState, JsonObject, OnRequest, SoleClient
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.transport.mcp import jsonrpc

log = logging.getLogger(__name__)

AGAIN_S: Final = 10.0
"""How long a client is content with the shared connection after none of its own could be had."""
SWEEP_S: Final = 15.0
"""Longest time between two looks for connections that rest."""

OWN_METHODS: Final = frozenset(
    {
        "completion/complete",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "tools/call",
        "tools/list",
    }
)
"""Requests that go to a client's own connection; subscriptions are the node's and stay on the shared one."""


class PrivateConnections(Protocol):
    """Opens and ends private connections. Runs in: the node's loop."""

    async def open(self, version: VersionKey, client: SoleClient) -> Endpoint:
        """A connection in state READY.

        Raises:
            HensloweError: There is none to be had now.
        """
        ...

    def close(self, endpoint: Endpoint) -> None:
        """Let it finish its calls, and end it."""
        ...


@dataclass(slots=True, frozen=True)
class SessionClient:
    """A client of the handshake era that can be asked something."""

    session_id: str
    client: SoleClient


@dataclass(slots=True, eq=False)
class Own:
    """One private connection, or the attempt to have one."""

    version: VersionKey
    key: Hashable
    """Whose it is."""
    opening: asyncio.Task[Endpoint]
    used_s: float
    ask: OnRequest | None = None
    """For a lease: how the client of the call under way is asked; None between calls."""

    @property
    def endpoint(self) -> Endpoint | None:
        """The connection while it may be used."""
        endpoint = self.opened
        return endpoint if endpoint is not None and endpoint.state is EndpointState.READY else None

    @property
    def opened(self) -> Endpoint | None:
        """The connection, whatever has become of it."""
        task = self.opening
        return None if not task.done() or task.cancelled() or task.exception() is not None else task.result()


@dataclass(slots=True)
class Privates:
    """The private connections of one gateway. Runs in: the node's loop.

    Args:
        connections: Opens and ends them.
        idle_s: How long one rests before it is ended.
        alive: Whether a session is still open.
        busy: Whether a task is under way at an instance: then its connection stays, whoever it was for.
        establish: Tells a session's new connection what the session asked of the one before.
    """

    connections: PrivateConnections
    idle_s: float
    alive: Callable[[str], bool]
    busy: Callable[[InstanceId], bool] = lambda _instance: False
    establish: Callable[[str, Endpoint], Awaitable[None]] | None = None
    _of_session: dict[tuple[str, ServiceName], Own] = field(default_factory=dict)
    _leased: set[Own] = field(default_factory=set)
    _resting: dict[Hashable, list[Own]] = field(default_factory=dict)
    """Leases that nobody has."""
    _kept: dict[InstanceId, Own] = field(default_factory=dict)
    """Those that nobody has any more, and where a task is under way."""
    _refused_until_s: dict[Hashable, float] = field(default_factory=dict)
    _sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._of_session) + len(self._leased) + len(self._kept) + sum(map(len, self._resting.values()))

    def find(self, instance: InstanceId) -> Endpoint | None:
        """This very connection, while it may be used."""
        for own in (*self._of_session.values(), *self._kept.values()):
            if (endpoint := own.endpoint) is not None and endpoint.instance == instance:
                return endpoint
        return None

    async def of_session(self, version: VersionKey, client: SessionClient, *, timeout_s: float) -> Endpoint | None:
        """The session's own connection to this version; None when it must share one."""
        key = (client.session_id, version.service)
        own = self._of_session.get(key)
        if own is not None and (own.version != version or (own.opening.done() and own.endpoint is None)):
            self._retire(self._of_session.pop(key))
            own = None
        if own is None:
            if self._was_refused(version, key):
                return None
            opening = asyncio.ensure_future(self._open(version, client))
            own = self._of_session[key] = self._follow(Own(version, key, opening, 0.0))
        own.used_s = _now()
        return await self._opened(own, timeout_s)

    async def lease(self, version: VersionKey, unit: str, capabilities: JsonObject, *, timeout_s: float) -> Own | None:
        """A connection for one call of a stateless client; None when it must share one. To be given back.

        Only the client that it was opened for gets it again: a server might come back to an earlier call's business.
        """
        key = (version, unit, orjson.dumps(capabilities, option=orjson.OPT_SORT_KEYS))
        own = self._rested(key)
        if own is None:
            if self._was_refused(version, key):
                return None
            own = self._own(version, key, capabilities)
        self._leased.add(own)
        endpoint = None
        try:
            endpoint = await self._opened(own, timeout_s)
        finally:
            if endpoint is None:
                self.give_back(own, reuse=True)  # it may yet be opened, for the next call
        return None if endpoint is None else own

    def give_back(self, own: Own, *, reuse: bool) -> None:
        """The call has ended. Without `reuse` the server may still be about it, and the connection is ended."""
        self._leased.discard(own)
        own.ask, own.used_s = None, _now()
        if reuse and not (own.opening.done() and own.endpoint is None):
            self._resting.setdefault(own.key, []).append(own)
        else:
            self._end(own)

    def of(self, session_id: str) -> list[Endpoint]:
        """A session's own connections that may be used."""
        owned = (own.endpoint for (owner, _), own in self._of_session.items() if owner == session_id)
        return [endpoint for endpoint in owned if endpoint is not None]

    def notify(self, session_id: str, method: str, params: JsonObject | None) -> None:
        """Pass a notification of a session's client on to its own connections."""
        for endpoint in self.of(session_id):
            endpoint.notify(method, params)

    def end_session(self, session_id: str) -> None:
        """The session is over, and so are its connections, but for tasks that it left under way."""
        for key in [key for key in self._of_session if key[0] == session_id]:
            self._retire(self._of_session.pop(key))

    def close(self) -> None:
        """End those that rest; calls under way may finish. Idempotent."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        resting = (own for resting in self._resting.values() for own in resting)
        for own in (*self._of_session.values(), *self._kept.values(), *resting):
            self._end(own)
        self._of_session.clear()
        self._kept.clear()
        self._resting.clear()

    async def _open(self, version: VersionKey, client: SessionClient) -> Endpoint:
        """A session's connection, told what the session wants."""
        endpoint = await self.connections.open(version, client.client)
        if self.establish is not None:
            await self.establish(client.session_id, endpoint)
        return endpoint

    def _rested(self, key: Hashable) -> Own | None:
        """A connection that was given back, the last one first: the others may be ended sooner."""
        resting = self._resting.get(key, [])
        while resting:
            own = resting.pop()
            if own.endpoint is not None or not own.opening.done():
                return own
            self._end(own)
        return None

    def _own(self, version: VersionKey, key: Hashable, capabilities: JsonObject) -> Own:
        """A connection for one client whose calls take turns."""

        async def ask(method: str, params: JsonObject, request_id: str | int) -> JsonObject:
            return jsonrpc.refusal(method) if own.ask is None else await own.ask(method, params, request_id)

        opening = asyncio.ensure_future(self.connections.open(version, SoleClient(capabilities, ask)))
        own = Own(version, key, opening, 0.0)
        return self._follow(own)

    def _follow(self, own: Own) -> Own:
        """Remember a failure, and look after those that rest from now on."""

        def opened(task: asyncio.Task[Endpoint]) -> None:
            if not task.cancelled() and (failure := task.exception()) is not None:
                self._refused_until_s[own.version, own.key] = _now() + AGAIN_S
                log.warning("private_connection_refused", extra={"version": str(own.version), "cause": str(failure)})

        own.opening.add_done_callback(opened)
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(min(SWEEP_S, self.idle_s), self._sweep)
        return own

    async def _opened(self, own: Own, timeout_s: float) -> Endpoint | None:
        """The connection once it is open; the call on one that is lost by then says so, and another is tried.

        A caller that goes away does not end the attempt: its client comes again.
        """
        if not own.opening.done():
            await asyncio.wait({own.opening}, timeout=timeout_s)
        return own.opened

    def _was_refused(self, version: VersionKey, key: Hashable) -> bool:
        return self._refused_until_s.get((version, key), 0.0) > _now()

    def _retire(self, own: Own) -> None:
        """End a connection, or keep it as long as a task is under way there."""
        endpoint = own.endpoint
        if endpoint is not None and self.busy(endpoint.instance):
            self._kept[endpoint.instance] = own
        else:
            self._end(own)

    def _end(self, own: Own) -> None:
        """End a connection now, or as soon as it is open."""

        def end(_task: asyncio.Task[Endpoint]) -> None:
            if (endpoint := own.opened) is not None:
                self.connections.close(endpoint)

        own.opening.add_done_callback(end)

    def _sweep(self) -> None:
        """End what rests too long, and what belongs to sessions that are over."""
        now_s = _now()
        horizon_s = now_s - self.idle_s
        self._refused_until_s = {key: until_s for key, until_s in self._refused_until_s.items() if until_s > now_s}
        for key, own in list(self._of_session.items()):
            endpoint = own.opened
            if endpoint is not None and endpoint.in_flight:
                own.used_s = now_s
            if own.used_s < horizon_s or not self.alive(key[0]):
                self._retire(self._of_session.pop(key))
        for instance, own in list(self._kept.items()):
            if own.endpoint is None or not self.busy(instance):
                self._end(self._kept.pop(instance))
        for lease_key, resting in list(self._resting.items()):
            kept = [own for own in resting if own.used_s >= horizon_s]
            for own in resting:
                if own not in kept:
                    self._end(own)
            if kept:
                self._resting[lease_key] = kept
            else:
                del self._resting[lease_key]
        left = self._of_session or self._leased or self._resting or self._kept or self._refused_until_s
        loop = asyncio.get_running_loop()
        self._sweeping = loop.call_later(min(SWEEP_S, self.idle_s), self._sweep) if left else None


def _now() -> float:
    return asyncio.get_running_loop().time()
