"""The context keeper: keeps the shared document of capabilities true, and publishes what it says.

It hears of each change of the endpoint directory and of the routes, and rewrites the entries of the services concerned
when something differs: an unchanged restart writes nothing, since every change of a CRDT document is remembered. At
boot the document comes from disk, and entries of services that the tables do not have any more are removed.

A service that is down keeps its entry: what it can do does not change by a crash.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from henslowe.actors.context.capabilities import Capabilities, describe, gone, parse, representative
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import LoopActor
from henslowe.actors.routes import Route, RouteTable
from henslowe.errors import HensloweError
from henslowe.storage import ContextDoc, Store

log = logging.getLogger(__name__)

NAMESPACE: Final = "capabilities"
_EMPTY: Mapping[ServiceName, Capabilities] = MappingProxyType({})


@dataclass(slots=True)
class SharedCapabilities:
    """The holder of the published snapshot, replaced as a whole; it outlives the keeper."""

    current: Mapping[ServiceName, Capabilities] = field(default_factory=lambda: _EMPTY)


@dataclass(slots=True, frozen=True)
class Refresh:
    """Cast to CONTEXT: services came or went in the tables; look at all of them again."""


@dataclass(slots=True, frozen=True)
class _Dirty:
    """Info to self: some services changed."""


@dataclass(slots=True, frozen=True)
class _Merged:
    """Info to self: the document changed, by a peer's update or by our own."""


class ContextKeeper(LoopActor):
    """Owns the document `capabilities`.

    Args:
        store: Holds the document.
        directory: Which endpoints are up, with their contracts.
        routes: Which version is stable, and therefore speaks for its service.
        known: The services that the tables have, when asked.
        shared: Where the snapshot is published.
    """

    def __init__(
        self,
        store: Store,
        directory: EndpointDirectory,
        routes: RouteTable,
        known: Callable[[], frozenset[ServiceName]],
        shared: SharedCapabilities,
    ) -> None:
        super().__init__()
        self._node = store.node
        self._doc: ContextDoc = store.context.open(NAMESPACE)
        self._directory = directory
        self._routes = routes
        self._known = known
        self._shared = shared
        self._dirty: set[ServiceName] = set()

    async def init(self) -> None:
        """Publish what the disk has, then make it true."""
        cancels = (
            self._directory.on_change(lambda version: self._mark({version.service})),
            self._routes.on_change(self._routes_changed),
            # Not published here: inside its own notification a pycrdt document cannot be read.
            self._doc.on_change(lambda _: self.ref.send(_Merged())),
        )

        def stop_listening(*_: object) -> None:
            for cancel in cancels:
                cancel()

        # Also after a kill, when `terminate` does not run.
        self.ref.watch(stop_listening)
        self._publish()
        await self._refresh()

    async def handle_cast(self, _message: Refresh) -> None:
        """Services came or went in the tables."""
        await self._refresh()

    async def handle_info(self, message: _Dirty | _Merged) -> None:
        """Publish what was merged in; rewrite the entries of the services that changed since the last time."""
        if isinstance(message, _Merged):
            self._publish()
            return
        dirty, self._dirty = self._dirty, set()
        for service in sorted(dirty):
            await self._describe(service)

    # -- hearing ----------------

    def _routes_changed(self, old: Mapping[ServiceName, Route], new: Mapping[ServiceName, Route]) -> None:
        self._mark({service for service, route in new.items() if _stable(old, service) != route.stable})

    def _mark(self, services: set[ServiceName]) -> None:
        """Remember what to look at; one message however many changes come before it is handled."""
        if services and not self._dirty:
            self.ref.send(_Dirty())
        self._dirty |= services

    # -- writing ----------------

    async def _refresh(self) -> None:
        for service in gone(self._shared.current, self._known(), node=self._node):
            await self._write(service, None)
        for service in sorted(self._directory.services()):
            await self._describe(service)

    async def _describe(self, service: ServiceName) -> None:
        endpoint = representative(_stable(self._routes.current, service), self._directory.of_service(service))
        if endpoint is not None:
            entry = describe(endpoint, node=self._node)
            if self._shared.current.get(service) != entry:
                await self._write(service, entry)

    async def _write(self, service: ServiceName, entry: Capabilities | None) -> None:
        try:
            if entry is None:
                await self._doc.delete(service)
            else:
                await self._doc.set(service, entry.model_dump())
        except HensloweError as error:
            # The value is in the document already, and saved with the next change.
            log.warning("capabilities_not_saved", extra={"service": service, "reason": str(error)})
        finally:
            self._publish()

    def _publish(self) -> None:
        self._shared.current = MappingProxyType(parse(self._doc.snapshot()))


def _stable(routes: Mapping[ServiceName, Route], service: ServiceName) -> VersionKey | None:
    route = routes.get(service)
    return route.stable if route is not None else None
