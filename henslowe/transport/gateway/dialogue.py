"""One attempt at a server, where the server may ask its client something before it answers: all four pairs of eras.

| client | server | who is asked, and how |
|---|---|---|
| handshake | stateless | the client, by a request on its event stream, for an `input_required` (`questions`) |
| handshake | handshake | the client, by the server's own request passed on, over a connection of its own (`private`) |
| stateless | handshake | the client, by an `input_required` result, while the call is parked (`parked`) |
| stateless | stateless | the client, by the server's own `input_required` (`pins` brings it back) |

A client that can be asked nothing shares the connection that all share. Which server, and what becomes of a failure, is
the business of `calls`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from henslowe.actors.endpoints import Endpoint, Era, JsonObject, OnNotification
from henslowe.actors.ids import InstanceId
from henslowe.transport.gateway.parked import STATE_PREFIX, Parked, Parking, Subject
from henslowe.transport.gateway.private import OWN_METHODS, Own, Privates, SessionClient
from henslowe.transport.gateway.questions import ROUNDS_MAX, AskedClient, Request, concluded, converse
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.mcp import DormantEndpoint, McpEndpoint, eras
from henslowe.transport.mcp.begun import Begun, Told
from henslowe.transport.mcp.link import NO_HEADERS

NO_CAPABILITIES: Final[JsonObject] = {}
"""Nobody changes it."""


def _never() -> float:
    return 0.0


class BegunAttempt(Protocol):
    """A call whose first attempt was begun without a task (`inline`)."""

    attempt: Any
    """The caller's own record of it."""

    async def answer(self) -> JsonObject:
        """The rest of it. Raises as `Dialogues.run`."""
        ...


@dataclass(slots=True)
class Ask:
    """What a client asks, and as whom. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    unit: Unit
    method: str
    params: JsonObject | None
    era: Era
    headers: Mapping[str, str] = field(default_factory=lambda: NO_HEADERS)
    principal: str = ""
    """Who the client is known to be; "" for anybody."""
    size: int = 0
    """Bytes of the request."""
    request_id: Any = None
    """The client's own, for the record."""
    capabilities: JsonObject = field(default_factory=dict)
    """Of the stateless era: what the client can be asked."""
    on_notification: OnNotification | None = None
    client: AskedClient | None = None
    """Of the handshake era, if a stateless server may ask it something."""
    session: SessionClient | None = None
    """Of the handshake era, if a server of that era may ask it something."""
    thinking_s: Callable[[], float] = _never
    """How long its client has thought about questions so far, in this and earlier calls: no server's time."""
    begun: BegunAttempt | None = None
    """Its first attempt, where that is under way already."""


@dataclass(slots=True)
class Way:
    """The connection that an attempt uses, and as what. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    endpoint: Endpoint
    own: Own | None = None
    """Leased for this call."""
    parked: Parked | None = None
    """The call that goes on."""


class Dialogues:
    """Makes attempts. One per gateway, on the node's loop.

    Args:
        privates: The private connections; None where everybody shares.
        parked_s: How long a call waits for a stateless client.
        call_timeout_s: Longest part of a call between two questions.
    """

    def __init__(self, privates: Privates | None, *, parked_s: float, call_timeout_s: float) -> None:
        self._privates = privates
        self._parking = None if privates is None else Parking(parked_s, privates.give_back)
        self._call_s = (ROUNDS_MAX + 1) * (parked_s + call_timeout_s)
        """Longest call at a server of the handshake era, with all the questions that it may ask."""

    def shares(self, endpoint: Endpoint, ask: Ask) -> bool:
        """Whether a call uses the connection that all share; then there is nothing to `prepare`."""
        return (
            self._privates is None
            or endpoint.facts.era is Era.MODERN
            or ask.method not in OWN_METHODS
            or (ask.session is None and not (ask.era is Era.MODERN and ask.capabilities))
        )

    async def prepare(self, endpoint: Endpoint, ask: Ask, *, timeout_s: float) -> Way:
        """The client's own connection to the same version where it needs one, else the endpoint as it is."""
        if self._privates is None or self.shares(endpoint, ask):
            return Way(endpoint)
        if isinstance(endpoint, DormantEndpoint) and endpoint.answers(ask.method):
            return Way(endpoint)  # a connection of its own would wake the server
        version = endpoint.version
        if ask.session is not None:
            return Way(await self._privates.of_session(version, ask.session, timeout_s=timeout_s) or endpoint)
        if ask.era is Era.MODERN and ask.capabilities:
            unit = _client(ask.unit)
            own = await self._privates.lease(version, unit, ask.capabilities, timeout_s=timeout_s)
            if own is not None and own.opened is not None:
                return Way(own.opened, own)
        return Way(endpoint)

    def own(self, instance: InstanceId) -> Way | None:
        """The way to a private connection, by its instance, while it is open."""
        endpoint = None if self._privates is None else self._privates.find(instance)
        return None if endpoint is None else Way(endpoint)

    def parked(self, ask: Ask) -> bool:
        """Whether a request claims to continue a parked call."""
        return str((ask.params or {}).get("requestState")).startswith(STATE_PREFIX)

    def resume(self, ask: Ask) -> Way | None:
        """The way on for a parked call; None when that is over, or another one's."""
        if self._parking is None or ask.params is None:
            return None
        call = self._parking.take(ask.params.get("requestState"), _subject(ask))
        return None if call is None else Way(call.endpoint, parked=call)

    def begin(self, endpoint: McpEndpoint, ask: Ask, *, timeout_s: float, told: Told) -> Begun | None:
        """Make an attempt on the connection that all share, at once; None, and nothing was done, if that cannot be.

        What comes of it has to be `concluded`, or goes on with `go_on`.
        """
        params, era = ask.params, ask.era
        if ask.client is not None and endpoint.facts.era is Era.MODERN:
            params, era = ask.client.stamped(params, endpoint.facts.protocol_version), Era.MODERN
        return endpoint.begin(
            ask.method,
            params,
            era=era,
            headers=ask.headers,
            timeout_s=timeout_s,
            on_notification=ask.on_notification,
            told=told,
        )

    def concluded(self, endpoint: Endpoint, ask: Ask, answer: JsonObject) -> JsonObject | None:
        """The answer as the client's era has it; None where the server asks something first."""
        if ask.client is None or endpoint.facts.era is not Era.MODERN:
            return answer
        return concluded(answer, ask.method, ask.params, endpoint.facts)

    async def go_on(self, begun: BegunAttempt, endpoint: Endpoint, ask: Ask, *, timeout_s: float) -> JsonObject:
        """The answer of an attempt that was begun. Raises as `run`."""
        if ask.client is None or endpoint.facts.era is not Era.MODERN:
            return await begun.answer()
        request = Request(ask.method, ask.params, ask.headers, ask.on_notification)
        return await converse(endpoint, ask.client, request, timeout_s=timeout_s, first=begun.answer())

    async def run(self, way: Way, ask: Ask, *, timeout_s: float) -> JsonObject:
        """The answer, as the client's era has it.

        Raises:
            UpstreamLost, LimitReached, TimeoutError: As `Endpoint.request`.
        """
        endpoint, on_notification = way.endpoint, ask.on_notification
        if self._parking is not None and way.parked is not None:
            responses = (ask.params or {}).get("inputResponses")
            return await self._parking.resume(way.parked, responses, on_notification, timeout_s)
        if self._parking is not None and way.own is not None:

            async def call(notify: OnNotification) -> JsonObject:
                return await endpoint.request(
                    ask.method,
                    ask.params,
                    era=ask.era,
                    headers=ask.headers,
                    timeout_s=self._call_s,
                    on_notification=notify,
                )

            return await self._parking.begin(way.own, _subject(ask), call, on_notification, timeout_s)
        if ask.client is not None and endpoint.facts.era is Era.MODERN:
            request = Request(ask.method, ask.params, ask.headers, on_notification)
            return await converse(endpoint, ask.client, request, timeout_s=timeout_s)
        request_of = endpoint.pass_on if isinstance(endpoint, McpEndpoint) else endpoint.request
        return await request_of(
            ask.method,
            ask.params,
            era=ask.era,
            headers=ask.headers,
            timeout_s=timeout_s,
            on_notification=on_notification,
        )

    def close(self) -> None:
        """Give up what is parked, and end the connections that rest. Idempotent."""
        if self._parking is not None:
            self._parking.close()
        if self._privates is not None:
            self._privates.close()


def _subject(ask: Ask) -> Subject:
    return Subject(_client(ask.unit), ask.method, eras.name_in(ask.method, ask.params))


def _client(unit: Unit) -> str:
    """Who it is, whatever the epoch of its unit of routing."""
    return unit.key.rpartition(":")[0]
