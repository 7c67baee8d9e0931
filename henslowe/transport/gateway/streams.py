"""Change streams: how a connected client learns that what it listed has changed, in both eras.

A stream remembers, per service, the contract its client sees (the one of the version its unit is routed to). When a
route changes, an instance comes up, or the unit moves on to another arm, the contracts are compared, and the client is
told which of its lists changed. Every message is a level trigger ("list again"), so the backlog holds each kind at most
once. Which contract a client sees is asked of the scope (`scopes`); the HTTP side is in `legacy` and `modern`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from henslowe.actors.endpoints import Contract, EndpointDirectory, JsonObject
from henslowe.actors.ids import ServiceName
from henslowe.actors.routes import RouteTable
from henslowe.errors import LimitReached, Unavailable
from henslowe.transport.gateway.selection import service_of

View = Mapping[ServiceName, Contract]
"""What a client sees: per service of its scope the contract of its version; a service without an instance is absent."""

TOOLS: Final = "notifications/tools/list_changed"
PROMPTS: Final = "notifications/prompts/list_changed"
RESOURCES: Final = "notifications/resources/list_changed"
UPDATED: Final = "notifications/resources/updated"
LIST_CHANGES: Final = frozenset({TOOLS, PROMPTS, RESOURCES})

EVENTS_MAX: Final = 2_000
"""Most events that wait on one stream: the three kinds, and an update for each of its subscriptions."""


class ChangeStream:
    """The backlog of one open stream.

    Args:
        scope: The service (with its range, if it has one), or "" for all.
        view: What its client sees now; called again after each change.
        routed: Which services are in its scope now, up or not.
        kinds: List changes that it wants.
        subscribed: The resource URIs it wants updates of, as its client knows them; asked at each update.
        unit: Its session, as units of routing are named; "" for a client that has none.
    """

    def __init__(
        self,
        scope: str,
        view: Callable[[], View],
        routed: Callable[[], Collection[ServiceName]],
        *,
        kinds: frozenset[str] = LIST_CHANGES,
        subscribed: Callable[[], Collection[str]] = tuple,
        unit: str = "",
    ) -> None:
        self.scope = scope
        self.service = service_of(scope)
        """The service, or "" for all."""
        self._view = view
        self._routed = routed
        self._kinds = kinds
        self.unit = unit
        self.subscribed = subscribed
        """The resource URIs that its client wants updates of, as the client knows them."""
        self._seen: dict[ServiceName, Contract] = dict(view())
        self._pending: dict[tuple[str, str], JsonObject] = {}
        self._wake = asyncio.Event()
        self._numbers = itertools.count(1)
        self.ended = False
        """No more events will come; what is pending may still be read."""

    def refresh(self) -> None:
        """Compare what the client sees now with what it saw, and queue what changed."""
        now = self._view()
        routed = self._routed()
        for service in [s for s in self._seen if s not in routed]:
            self._compare(self._seen.pop(service), _NOTHING)
        for service, contract in now.items():
            before = self._seen.get(service, _NOTHING)
            if before is not contract:
                self._seen[service] = contract
                self._compare(before, contract)

    def updated(self, uri: str, params: JsonObject) -> None:
        """Queue an update of a resource (`uri` and `params` as the client knows it) if it is subscribed to."""
        if uri in self.subscribed():
            self._offer((UPDATED, uri), {"method": UPDATED, "params": params})

    def ask(self, message: JsonObject) -> None:
        """Queue a request to its client."""
        self._offer(("", str(message["id"])), message)

    def tell(self, event: JsonObject) -> None:
        """Queue what a server announces to its client alone."""
        method = event["method"]
        self._offer((method, "" if method in LIST_CHANGES else str(next(self._numbers))), event)

    def of_task(self, task_id: str, event: JsonObject) -> None:
        """Queue the state of a task, in place of an older one that was not read yet."""
        self._offer((event["method"], task_id), event)

    def services(self) -> Collection[ServiceName]:
        """The services that its client sees, up or not."""
        return self._routed()

    def end(self) -> None:
        """Close the stream after what is pending."""
        self.ended = True
        self._wake.set()

    async def take(self, timeout_s: float) -> list[JsonObject]:
        """What is pending, each as `method` and `params`; empty after `timeout_s`, or when the stream ended."""
        if not self._pending and not self.ended:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                self.refresh()  # a unit's epoch may have passed meanwhile
        events = list(self._pending.values())
        self._pending.clear()
        self._wake.clear()
        return events

    def take_over(self, older: ChangeStream) -> None:
        """Go on where an older stream of the same client stops: with what it has seen, and what was not told yet."""
        self._seen = older._seen
        self._pending = {**older._pending, **self._pending}
        self._numbers = older._numbers
        older._pending = {}
        if self._pending:
            self._wake.set()
        self.refresh()

    def digest(self) -> str:
        """What the client has been told of so far, in 16 hexadecimal digits: the id of its events."""
        text = "\n".join(f"{service} {contract.digest}" for service, contract in sorted(self._seen.items()))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def catch_up(self, last_event_id: str) -> None:
        """Queue all kinds if what the client was last told of is not what it sees now."""
        if last_event_id != self.digest():
            for kind in sorted(self._kinds):
                self._offer((kind, ""), {"method": kind})

    def _compare(self, before: Contract, after: Contract) -> None:
        if before.digest and before.digest == after.digest:
            return
        if before.tools != after.tools:
            self._changed(TOOLS)
        if before.prompts != after.prompts:
            self._changed(PROMPTS)
        if before.resources != after.resources or before.resource_templates != after.resource_templates:
            self._changed(RESOURCES)

    def _changed(self, kind: str) -> None:
        if kind in self._kinds:
            self._offer((kind, ""), {"method": kind})

    def _offer(self, key: tuple[str, str], event: JsonObject) -> None:
        if self.ended or (key not in self._pending and len(self._pending) >= EVENTS_MAX):
            return
        self._pending[key] = event
        self._wake.set()


class Streams:
    """All open change streams; refreshed once per loop turn however many changes it brought.

    `on_refreshed` is told of the services afterwards, `on_added` of each stream that was opened.

    Runs in: the node's loop.
    """

    def __init__(self, routes: RouteTable, directory: EndpointDirectory, streams_max: int) -> None:
        self._max = streams_max
        self._closed = False
        self.on_added: Callable[[ChangeStream], None] = lambda _stream: None
        self.on_refreshed: Callable[[Iterable[ServiceName]], None] = lambda _services: None
        self._open: dict[ChangeStream, None] = {}
        self._dirty: set[ServiceName] = set()
        self._cancels = (
            directory.on_change(lambda version: self.mark({version.service})),
            routes.on_change(
                lambda old, new: self.mark({s for s in {*old, *new} if old.get(s) != new.get(s)}),
            ),
        )

    def __len__(self) -> int:
        return len(self._open)

    def add(self, stream: ChangeStream) -> None:
        """Keep a stream up to date until it is removed.

        Raises:
            LimitReached: As many are open as may be.
            Unavailable: The gateway is closed.
        """
        if self._closed:
            raise Unavailable("cannot open a stream: the node is stopping")
        if len(self._open) >= self._max:
            raise LimitReached(f"cannot open a stream: {self._max} are open", hint="raise gateway.streams_max")
        self._open[stream] = None
        self.on_added(stream)

    def remove(self, stream: ChangeStream) -> None:
        """Forget a stream; unknown ones are ignored."""
        self._open.pop(stream, None)

    def of(self, service: ServiceName) -> list[ChangeStream]:
        """The open streams that show a service."""
        return [stream for stream in self._open if stream.service in ("", service)]

    def scopes(self) -> set[str]:
        """What the open streams show: services, services with a range, "" for all."""
        return {stream.scope for stream in self._open}

    def end_all(self) -> None:
        """End the streams that are open."""
        for stream in self._open:
            stream.end()

    def close(self) -> None:
        """End all streams, open no more, and stop listening. Idempotent."""
        self._closed = True
        for cancel in self._cancels:
            cancel()
        self.end_all()

    def mark(self, services: set[ServiceName]) -> None:
        """Compare what clients of these services see, at the end of this turn of the loop."""
        if not services or not self._open:
            return
        if not self._dirty:
            asyncio.get_running_loop().call_soon(self._flush)
        self._dirty |= services

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for stream in tuple(self._open):
            if not stream.service or stream.service in dirty:
                stream.refresh()
        self.on_refreshed(dirty)


_NOTHING: Final = Contract()
