"""The published handle of one open server: calls in either era over one link, a contract that follows the server.

An endpoint adds to a link what does not depend on the wire: its state, the bridge between eras, the drain, and the
server's change stream (see `changes`). It never decides whether a call may be sent again: that is the gateway's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from henslowe.actors.endpoints import (
    Contract,
    EndpointState,
    Era,
    JsonObject,
    OnNotification,
    ServerEvent,
    ServerFacts,
)
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.errors import UpstreamLost
from henslowe.transport.mcp import bridge, eras, jsonrpc, large_json
from henslowe.transport.mcp.begun import Begun, Told
from henslowe.transport.mcp.changes import Changes
from henslowe.transport.mcp.headers import param_headers
from henslowe.transport.mcp.link import NO_HEADERS, Link

_NEVER_BEGUN: Final = bridge.LOCAL_METHODS | {"resources/subscribe", "resources/unsubscribe"}


class McpEndpoint:
    """One open connection to an instance, implementing `OwnedEndpoint`.

    Args:
        version: What runs.
        instance: Which process of it.
        link: The open link; closed with the endpoint.
        facts: What the server said when it was opened.
        contract: What it listed then.
        node: The client info that the node gives of itself.
        on_server_event: Told of changes.

    Attributes:
        version: What runs.
        instance: Which process of it.
        facts: What the server said when it was opened.
        state: Whether calls may be sent.
        in_flight: Calls that wait for their answer.
    """

    def __init__(
        self,
        version: VersionKey,
        instance: InstanceId,
        link: Link,
        facts: ServerFacts,
        contract: Contract,
        *,
        node: JsonObject,
        on_server_event: ServerEvent,
    ) -> None:
        # Plain attributes: several times per call somebody asks for each, and a property costs six times as much.
        self.version = version
        self.instance = instance
        self.facts = facts
        self.state = EndpointState.READY
        self.in_flight = 0
        self._link = link
        self._node = node
        self._loop = asyncio.get_running_loop()
        self.called_s = self.answered_s = self._loop.time()
        """Loop times of the last call and of the server's last answer, which may have been to a probe."""
        self._idle: asyncio.Event | None = None
        self._changes = Changes(link, facts, contract, node, lambda event: on_server_event(version, event))

    @property
    def contract(self) -> Contract:
        """What the server lists: as of its opening, or of its last change notification."""
        return self._changes.contract

    async def request(
        self,
        method: str,
        params: JsonObject | None,
        *,
        era: Era,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout_s: float = 300.0,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """See `Endpoint.request`. A draining or closed endpoint raises `UpstreamLost` with `sent=False`."""
        answer = await self.pass_on(
            method, params, era=era, headers=headers, timeout_s=timeout_s, on_notification=on_notification
        )
        return large_json.plain(answer)

    async def pass_on(
        self,
        method: str,
        params: JsonObject | None,
        *,
        era: Era,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout_s: float = 300.0,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """The same as `request`, for whoever can do with large texts in the answer (`large_json`)."""
        if self.state is not EndpointState.READY:
            raise UpstreamLost(f"cannot call {self.instance}: it is {self.state}", sent=False)
        if method in bridge.LOCAL_METHODS:
            answer = bridge.local_answer(method, params, era, self.facts)
            if answer is not None:
                return answer
        self.in_flight += 1
        try:
            if self.facts.era is Era.MODERN and method in ("resources/subscribe", "resources/unsubscribe"):
                return await self._changes.watch(method, params, timeout_s=timeout_s)
            sent = bridge.request_params(params, era, self.facts, self._node)
            if method == "tools/call" and era is Era.LEGACY and self.facts.era is Era.MODERN:
                answer = await self._call_tool(sent, headers, timeout_s, on_notification)
            else:
                answer = await self._link.exchange(
                    method, sent, timeout_s=timeout_s, headers=headers, on_notification=on_notification
                )
            self._answered()
        finally:
            self._left()
        return bridge.answer(answer, method, params, era, self.facts)

    def begin(
        self,
        method: str,
        params: JsonObject | None,
        *,
        era: Era,
        headers: Mapping[str, str],
        timeout_s: float,
        on_notification: OnNotification | None,
        told: Told,
    ) -> Begun | None:
        """Send a request at once, if its kind and the connection allow it; None, and nothing was done, if not.

        Answers are those of `request`. Not for requests with a progress token.
        """
        facts = self.facts
        if self.state is not EndpointState.READY or method in _NEVER_BEGUN:
            return None
        if era is Era.LEGACY and facts.era is Era.MODERN:
            return None  # tools may want headers, and the server may want to ask
        call = _Begun(self, method, params, era, told)
        sent = bridge.request_params(params, era, facts, self._node)
        inner = self._link.begin(
            method, sent, timeout_s=timeout_s, headers=headers, on_notification=on_notification, told=call
        )
        if inner is None:
            return None
        call.inner = inner
        self.in_flight += 1
        return call

    def _left(self) -> None:
        """A call is over."""
        self.in_flight -= 1
        if self.in_flight == 0 and self._idle is not None:
            self._idle.set()

    def _answered(self) -> None:
        self.called_s = self.answered_s = self._loop.time()

    async def _call_tool(
        self,
        params: JsonObject | None,
        headers: Mapping[str, str],
        timeout_s: float,
        on_notification: OnNotification | None,
    ) -> JsonObject:
        """Call a modern server's tool for a client that knows nothing of arguments in headers.

        A server refuses a call whose headers do not fit its schema before it runs anything: then the schema has
        changed since it was listed, and the call is repeated once with what it says now.
        """

        async def attempt() -> JsonObject:
            own = param_headers(self._changes.param_headers, params)
            return await self._link.exchange(
                "tools/call",
                params,
                timeout_s=timeout_s,
                headers={**headers, **own} if own else headers,
                on_notification=on_notification,
            )

        answer = await attempt()
        if "error" in answer and answer["error"].get("code") == jsonrpc.HEADER_MISMATCH:
            self._changes.suspect()
            await self._changes.settled()
            answer = await attempt()
        return answer

    async def probe(self, timeout_s: float) -> None:
        """See `Probed.probe`: `ping`, or `server/discover` where that is no more. Whatever is answered will do."""
        method, params = "ping", None
        if self.facts.era is Era.MODERN:
            method, params = "server/discover", {"_meta": eras.envelope(self.facts.protocol_version, self._node)}
        await self._link.exchange(method, params, timeout_s=timeout_s)
        self.answered_s = asyncio.get_running_loop().time()

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification; silently dropped when the connection is gone."""
        if self.state is not EndpointState.GONE:
            self._link.notify(method, params)

    async def drain(self) -> None:
        """Take no new calls and wait until none is in flight. The caller bounds the wait."""
        if self.state is EndpointState.READY:
            self.state = EndpointState.DRAINING
        if self.in_flight and self.state is not EndpointState.GONE:
            self._idle = self._idle or asyncio.Event()
            await self._idle.wait()

    def announced(self, notification: JsonObject) -> None:
        """Take a notification of the server that belongs to no call."""
        self._changes.announced(notification)

    def suspect(self) -> None:
        """The server may not be the one that was listed: list it again."""
        self._changes.suspect()

    def lose(self) -> None:
        """The connection ended by itself: no more calls. `close` is still the owner's to call."""
        self.state = EndpointState.GONE
        self._changes.stop()

    async def close(self) -> None:
        """State GONE: fail what is in flight with `UpstreamLost` and release the connection. Idempotent."""
        self.state = EndpointState.GONE
        await self._changes.close()
        await self._link.close()
        if self._idle is not None:
            self._idle.set()


class _Begun:
    """A call that was begun without a task: between its link and whoever began it. See `Begun`."""

    __slots__ = ("_endpoint", "_era", "_method", "_params", "_told", "inner")

    def __init__(self, endpoint: McpEndpoint, method: str, params: JsonObject | None, era: Era, told: Told) -> None:
        self._endpoint = endpoint
        self._method = method
        self._params = params
        self._era = era
        self._told = told
        self.inner: Begun

    def answered(self, answer: JsonObject, size: int) -> None:
        """See `Told.answered`."""
        endpoint, told = self._endpoint, self._told
        del self.inner, self._told  # circles, which only a collection would end
        endpoint._answered()
        endpoint._left()
        told.answered(bridge.answer(answer, self._method, self._params, self._era, endpoint.facts), size)

    def troubled(self) -> None:
        """See `Told.troubled`."""
        self._told.troubled()

    async def answer(self) -> JsonObject:
        """See `Begun.answer`."""
        endpoint, inner = self._endpoint, self.inner
        del self.inner, self._told
        try:
            answer = await inner.answer()
            endpoint._answered()
        finally:
            endpoint._left()
        return bridge.answer(answer, self._method, self._params, self._era, endpoint.facts)

    def abandon(self) -> None:
        """See `Begun.abandon`."""
        inner = self.inner
        del self.inner, self._told
        inner.abandon()
        self._endpoint._left()
