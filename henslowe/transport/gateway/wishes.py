"""What a client asked of its server once, told to each connection that serves it later: log levels, and subscriptions.

The server that was asked may be gone by the next call: it crashed, another version took over, the node was restarted.
A session's row remembers; here every connection hears of it. Sessions that share one are told to it together: the
lowest of their log levels, and never one above `info`, since it is also that of clients who said nothing; the gateway
sends to each client what that one asked for. A connection that is a session's alone is told that session's own level
and subscriptions before it takes its first call. Subscriptions on shared connections follow the open streams and are
the business of `watches`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, Era, JsonObject
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.errors import HensloweError
from henslowe.transport.gateway import naming
from henslowe.transport.gateway.protocol import LOG_LEVELS, LOG_RANK
from henslowe.transport.gateway.selection import Target, service_of
from henslowe.transport.gateway.sessions import Session, Sessions
from henslowe.transport.gateway.watches import subscribable

log = logging.getLogger(__name__)

TELL_S: Final = 5.0
"""Longest wait for a server to take one wish; its client's call then goes on without."""
_NONE: Final = len(LOG_LEVELS)
_INFO: Final = LOG_RANK["info"]


class Wishes:
    """Keeps servers told. Runs in: the node's loop.

    Args:
        directory: The shared connections.
        sessions: What clients asked for.
    """

    def __init__(self, directory: EndpointDirectory, sessions: Sessions) -> None:
        self._directory = directory
        self._sessions = sessions
        self._lowest: dict[ServiceName, int] = {}
        """The lowest rank asked for, by service; that of "" is for all of them."""
        self._told: dict[VersionKey, dict[InstanceId, int]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._cancel = directory.on_change(self._changed)

    def close(self) -> None:
        """Stop telling. Idempotent."""
        self._cancel()
        for task in self._telling:
            task.cancel()

    # -- shared connections ----------------

    def level(self, target: Target, level: str, services: Callable[[], Collection[ServiceName]]) -> None:
        """A client of this target wants logs from a level on; cheap when another one wanted as many."""
        service, rank = service_of(target), min(LOG_RANK.get(level, _INFO), _INFO)
        if rank < self._lowest.get(service, _NONE):
            self._lowest[service] = rank
            for each in services():
                for endpoint in self._directory.of_service(each):
                    self._tell_level(endpoint)

    def _changed(self, version: VersionKey) -> None:
        up = self._directory.of(version)
        left = {e.instance: rank for e in up if (rank := self._told.get(version, {}).get(e.instance)) is not None}
        if left:
            self._told[version] = left
        else:
            self._told.pop(version, None)
        for endpoint in up:
            self._tell_level(endpoint)

    def _tell_level(self, endpoint: Endpoint) -> None:
        version = endpoint.version
        rank = min(self._lowest.get(version.service, _NONE), self._lowest.get(ServiceName(""), _NONE))
        told = self._told.setdefault(version, {}).get(endpoint.instance, _NONE) if rank < _NONE else _NONE
        if rank < told and _logs(endpoint):
            self._told[version][endpoint.instance] = rank
            task = asyncio.get_running_loop().create_task(
                _ask(endpoint, "logging/setLevel", {"level": LOG_LEVELS[rank]})
            )
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    # -- connections that are a session's alone ----------------

    async def establish(self, session_id: str, endpoint: Endpoint) -> None:
        """Tell a new connection all that its session has asked for so far."""
        session = self._sessions.get(session_id)
        if session is None:
            return
        if session.log_level and _logs(endpoint):
            await _ask(endpoint, "logging/setLevel", {"level": session.log_level})
        if subscribable(endpoint):
            for uri in session.subscriptions:
                if (own := own_uri(session, uri, endpoint.version.service)) is not None:
                    await _ask(endpoint, "resources/subscribe", {"uri": own})

    async def tell(self, session: Session, endpoints: Collection[Endpoint], method: str, params: JsonObject) -> None:
        """Pass a wish of a session's on to its own connections."""
        for endpoint in endpoints:
            if method == "logging/setLevel":
                if _logs(endpoint):
                    await _ask(endpoint, method, params)
            elif (uri := own_uri(session, params["uri"], endpoint.version.service)) is not None:
                await _ask(endpoint, method, {"uri": uri})


def own_uri(session: Session, uri: str, service: str = "") -> str | None:
    """The server's own name of a resource that the session knows as `uri`; None if it is not of this service."""
    if session.scope:
        return uri
    found = naming.split_uri(uri)
    return found[1] if found is not None and service in ("", found[0]) else None


def _logs(endpoint: Endpoint) -> bool:
    return endpoint.facts.era is Era.LEGACY and "logging" in endpoint.facts.capabilities


async def _ask(endpoint: Endpoint, method: str, params: JsonObject) -> None:
    """One request; a server that refuses is not asked again."""
    try:
        answer = await endpoint.request(method, params, era=Era.LEGACY, timeout_s=TELL_S)
    except (HensloweError, TimeoutError) as error:
        answer = {"error": {"message": str(error) or "timeout"}}
    if "error" in answer:
        fields = {"instance": endpoint.instance, "method": method, "cause": answer["error"].get("message")}
        log.info("wish_not_taken", extra=fields)
