"""Resource subscriptions at the servers: what open streams want to hear of, and nobody else's business.

Clients share their server's connection, so one client's unsubscribe must not silence another, and a new version or a
restarted instance knows of no subscription at all. Therefore clients' wishes are not passed on one by one: for each
instance that serves traffic, what is watched is brought in line with what the open streams want, after each change of
streams, routes or instances. Updates come back through `Gateway.server_event`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, EndpointState, Era
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.errors import HensloweError

log = logging.getLogger(__name__)

REQUEST_TIMEOUT_S: Final = 10.0
WATCHED_MAX: Final = 1_000
"""Resources watched at one instance; more are not, and their updates are not heard."""

Wanted = Callable[[ServiceName], Collection[str]]
"""The resources of a service, in its own URIs, that open streams want to hear of."""


class Watches:
    """Keeps servers' subscriptions in line with what is wanted. Runs in: the node's loop.

    Args:
        versions: Of a service those that clients are routed to.
        directory: The endpoints that are up.
        wanted: What streams want.
    """

    def __init__(
        self, versions: Callable[[ServiceName], Iterable[VersionKey]], directory: EndpointDirectory, wanted: Wanted
    ) -> None:
        self._versions = versions
        self._directory = directory
        self._wanted = wanted
        self._watched: dict[InstanceId, set[str]] = {}
        self._working: dict[InstanceId, asyncio.Task[None]] = {}

    def reconcile(self, services: Iterable[ServiceName]) -> None:
        """Look at the instances of these services again; cheap when nothing is wanted and nothing watched."""
        for service in services:
            wanted = set(self._wanted(service))
            for version in self._versions(service):
                for endpoint in self._directory.of(version):
                    if wanted != self._watched.get(endpoint.instance, set()) and subscribable(endpoint):
                        self._work(endpoint)

    def close(self) -> None:
        """Stop working; what is watched stays, the servers go with the node."""
        for task in self._working.values():
            task.cancel()

    def _work(self, endpoint: Endpoint) -> None:
        instance = endpoint.instance
        if instance in self._working:
            return  # it looks again when it is done
        self._working[instance] = asyncio.get_running_loop().create_task(self._align(endpoint))

    async def _align(self, endpoint: Endpoint) -> None:
        """Subscribe to what is missing and unsubscribe from the rest, until there is nothing to do."""
        try:
            await self._until_aligned(endpoint)
        finally:
            del self._working[endpoint.instance]

    async def _until_aligned(self, endpoint: Endpoint) -> None:
        watched = self._watched.setdefault(endpoint.instance, set())
        while endpoint.state is EndpointState.READY:
            wanted = set(sorted(self._wanted(endpoint.version.service))[:WATCHED_MAX])
            if wanted == watched:
                break
            for uri in watched - wanted:
                await self._ask(endpoint, "resources/unsubscribe", uri)
                watched.discard(uri)
            for uri in wanted - watched:
                await self._ask(endpoint, "resources/subscribe", uri)
                watched.add(uri)
        if not watched or endpoint.state is not EndpointState.READY:
            self._watched.pop(endpoint.instance, None)

    async def _ask(self, endpoint: Endpoint, method: str, uri: str) -> None:
        """One request; a server that refuses is not asked again, its clients then hear nothing."""
        try:
            answer = await endpoint.request(method, {"uri": uri}, era=Era.LEGACY, timeout_s=REQUEST_TIMEOUT_S)
        except (HensloweError, TimeoutError) as error:
            answer = {"error": {"message": str(error) or "timeout"}}
        if "error" in answer:
            fields = {"instance": endpoint.instance, "method": method, "cause": answer["error"].get("message")}
            log.info("resource_not_watched", extra=fields)


def subscribable(endpoint: Endpoint) -> bool:
    """Whether its resources can be watched."""
    resources = endpoint.facts.capabilities.get("resources")
    return endpoint.state is EndpointState.READY and isinstance(resources, dict) and bool(resources.get("subscribe"))
