"""The gateway: the MCP endpoints of a node, in front of whichever versions its routes say.

`Gateway` puts the parts together and is the HTTP edge: it reads a request, finds its scope and era, hands it on, and
turns what is refused into a response. `add_gateway` adds its routes to the application that the node's listener serves.
It decides nothing about versions (see `henslowe.actors.router`) and runs no server (see `henslowe.actors.instances`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry

from henslowe.actors.access.policy import Policy
from henslowe.actors.capturing import CallCapture
from henslowe.actors.endpoints import EndpointDirectory, JsonObject
from henslowe.actors.health import HealthBoard
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import Observations, RouteTable
from henslowe.actors.versions import ranges
from henslowe.config.settings import GatewaySettings
from henslowe.errors import BadRequest, HensloweError, LimitReached, NotFound, Unavailable
from henslowe.transport.access.asker import asker
from henslowe.transport.access.resources import Resources
from henslowe.transport.connections import DIRECT, Direct
from henslowe.transport.gateway import inbound, naming
from henslowe.transport.gateway.aggregate import AggregateScope
from henslowe.transport.gateway.calls import Caller
from henslowe.transport.gateway.choosing import Choosing
from henslowe.transport.gateway.dialogue import Dialogues
from henslowe.transport.gateway.exchange import json_response
from henslowe.transport.gateway.extra import ExtraMethods, NoMethods
from henslowe.transport.gateway.inline import InlineCalls
from henslowe.transport.gateway.legacy import Legacy
from henslowe.transport.gateway.memory import Memory
from henslowe.transport.gateway.metrics import GatewayMetrics
from henslowe.transport.gateway.mirroring import Mirror
from henslowe.transport.gateway.modern import Modern
from henslowe.transport.gateway.permitted import PermittedScope
from henslowe.transport.gateway.private import PrivateConnections, Privates
from henslowe.transport.gateway.protocol import NODE_ERROR, SESSION_HEADER, VERSION_HEADER, Refused, node_error
from henslowe.transport.gateway.ranges import Ranges
from henslowe.transport.gateway.recording import Recording
from henslowe.transport.gateway.replay import ReplayLog
from henslowe.transport.gateway.results import Results
from henslowe.transport.gateway.scopes import HeaderSchemas, Scope, ServiceScope
from henslowe.transport.gateway.selection import Selection, Target
from henslowe.transport.gateway.serving import Serving
from henslowe.transport.gateway.sessions import Sessions
from henslowe.transport.gateway.sticky import StickyKeys
from henslowe.transport.gateway.streams import UPDATED, Streams
from henslowe.transport.gateway.tasks import STATUS, Tasks
from henslowe.transport.gateway.visitors import Visitors
from henslowe.transport.gateway.waiting import Waiting
from henslowe.transport.gateway.watches import Watches
from henslowe.transport.gateway.wishes import Wishes
from henslowe.transport.mcp import eras, jsonrpc

log = logging.getLogger(__name__)

SCOPES_MAX: Final = 10_000
"""Names that scopes are remembered for; the clients' ranges are theirs to write."""
ROOT: Final = "/mcp"
_VERBS: Final = {"Allow": "GET, POST, DELETE"}


class Gateway:
    """The MCP endpoints of one node. Runs in: the node's loop.

    Args:
        routes: The published routes.
        directory: The endpoints that are up.
        observations: Where the evidence of finished calls goes.
        sessions: The durable sessions.
        settings: Limits and times.
        registry: Where figures go.
        node_info: `{"name", "version"}` as the aggregate endpoint's `serverInfo`.
        sticky_epoch_s: How long a stateless client keeps its arm (`delivery.sticky_epoch_s`).
        clock: Unix seconds.
        private: Opens connections for one client each; None where everybody shares.
        memory: What outlives the node, and versions beside those that serve; None for what ends with the process.
        health: How instances do, shared with whoever shows it.
        explain: Why a service without a route has none, in a sentence; "" for a name that is no service's.
        capture: Where exchanges are recorded as they were, if anywhere.
        policy: What principals may use.
        resources: How a client is asked for more scopes.
        extra: Methods that no specification has, if any are answered.
    """

    def __init__(
        self,
        *,
        routes: RouteTable,
        directory: EndpointDirectory,
        observations: Observations,
        sessions: Sessions,
        settings: GatewaySettings,
        registry: CollectorRegistry,
        node_info: JsonObject,
        sticky_epoch_s: float = 300.0,
        clock: Callable[[], float] = time.time,
        private: PrivateConnections | None = None,
        memory: Memory | None = None,
        health: HealthBoard | None = None,
        explain: Callable[[str], str] = lambda _service: "",
        capture: CallCapture | None = None,
        policy: Policy | None = None,
        resources: Resources | None = None,
        extra: ExtraMethods | None = None,
    ) -> None:
        memory = memory or Memory()
        self._routes = routes
        self._settings = settings
        self._metrics = GatewayMetrics(registry)
        self._ranges = Ranges(memory.versions, memory.holds, settings.range_idle_s)
        health = health or HealthBoard(directory)
        health.on_change(self._metrics.breaker)
        self._selection = Selection(routes, directory, health, self._ranges.route)
        wishes, privates = Wishes(directory, sessions), None
        if private is not None:
            privates = Privates(
                private,
                settings.private_idle_s,
                lambda session_id: sessions.get(session_id) is not None,
                lambda instance: self._tasks.busy(instance),  # noqa: PLW0108 - made below
                wishes.establish,
            )
        self._waiting = waiting = Waiting(routes, directory, settings.waiting_max)
        self._mirror = Mirror(directory)
        recording = Recording(observations, self._metrics, clock, capture, self._mirror)
        choosing = Choosing(
            self._selection,
            waiting,
            recording,
            wait_s=settings.wait_for_instance_s,
            explain=explain,
            refused=self._ranges.refusal,
        )
        dialogues = Dialogues(privates, parked_s=settings.parked_s, call_timeout_s=settings.call_timeout_s)
        self._caller = Caller(
            self._selection, choosing, waiting, recording, dialogues=dialogues, health=health, limits=settings
        )
        self._tasks = Tasks(self._caller, memory.tasks, memory.holds, clock=clock)
        self.results = Results(self._tasks, self._selection, memory.results, settings, clock=clock)
        self._streams = Streams(routes, directory, settings.streams_max)
        watches = Watches(self._routed_to, directory, self._wanted)
        self._streams.on_refreshed = watches.reconcile
        self._ranges.on_moved = self._streams.mark
        self._streams.on_added = lambda stream: self._ranges.watch() if "@" in stream.scope else None
        self._ranges.listened = lambda: [scope for scope in self._streams.scopes() if "@" in scope]
        visitors = Visitors(routes, StickyKeys(sticky_epoch_s, clock))
        self.replay = replay = ReplayLog(
            memory.replay, settings, lambda session_id: sessions.get(session_id) is not None, clock=clock
        )
        serving = Serving(settings, sessions, self._streams, visitors, self._metrics, watches, wishes, replay, privates)
        serving.told_of_task = self._tasks.announced
        self._serving = serving
        serving.extra = extra or NoMethods()
        self._legacy, self._modern = Legacy(serving), Modern(serving)
        self._schemas = HeaderSchemas()
        self._aggregate = AggregateScope(routes, self._caller, self.results, self._schemas, node_info)
        self._policy = policy or Policy()
        self._resources = resources or Resources()
        self._scopes: dict[Target, ServiceScope] = {}
        self.inline = InlineCalls(
            self._scopes,
            self._policy,
            legacy=self._legacy,
            modern=self._modern,
            caller=self._caller,
            results=self.results,
            serving=serving,
            schemas=self._schemas,
            refusal=self._failed,
        )
        self._metrics.watch(
            in_flight=lambda: self._caller.in_flight,
            waiting=lambda: len(waiting),
            sessions=lambda: len(sessions),
            streams=lambda: len(self._streams) - self._legacy.lingering,
            cache_hits=lambda: self.results.hits,
            private=lambda: 0 if privates is None else len(privates),
            mirrored=lambda: self._mirror.made,
            mirror_dropped=lambda: self._mirror.dropped,
        )

    def queued(self, service: ServiceName) -> int:
        """Calls of a service that wait for an instance, or for room at one."""
        return self._waiting.of(service)

    def sessions_at(self, instance: InstanceId) -> int:
        """Sessions that stay with an instance as long as it is up."""
        return self._selection.sessions_at(instance)

    async def service(self, request: web.Request) -> web.StreamResponse:
        """Serve `/mcp/{service}` and `/mcp/{service}@{range}`."""
        return await self._of_service(request, request.match_info["service"])

    async def direct(self, request: web.Request) -> web.StreamResponse:
        """Serve all of them for a request that no router has seen."""
        name = request.path[len(ROOT) + 1 :]
        return await (self._of_service(request, name) if name else self.aggregate(request))

    async def _of_service(self, request: web.Request, name: Target) -> web.StreamResponse:
        scope = self._scopes.get(name)
        try:
            if scope is None or self._selection.route(name) is None:
                scope = self._scope(name)
        except HensloweError as error:
            return self._refusal(error, None)
        return await self._serve(request, self._permitted(request, scope))

    async def aggregate(self, request: web.Request) -> web.StreamResponse:
        """Serve `/mcp`."""
        return await self._serve(request, self._permitted(request, self._aggregate))

    def server_event(self, version: VersionKey, message: JsonObject) -> None:
        """Pass on a notification that a server sent on its own: a list changed, a resource was updated.

        Instances' owners call this (`on_server_event` of the connector), after the endpoint's contract was renewed.
        """
        params = message.get("params")
        if message.get("method") == STATUS:
            for unit, told in self._tasks.announced(message, version=version):
                for stream in self._streams.of(version.service):
                    if stream.unit == unit:
                        stream.of_task(told["params"]["taskId"], told)
            return
        self.results.updated(version.service, message)
        for stream in self._streams.of(version.service):
            if message.get("method") != UPDATED:
                stream.refresh()
            elif isinstance(params, dict) and isinstance(params.get("uri"), str):
                uri = params["uri"] if stream.scope else self._aggregate.client_uri(version.service, params["uri"])
                stream.updated(uri, {**params, "uri": uri})

    def start(self) -> None:
        """Take up what the last life of the node left under way. Runs in: the node's loop, once its actors stand."""
        self._tasks.start()
        self.replay.recover()
        self.results.recover()

    def end_streams(self) -> None:
        """End the open streams, stateless ones with their closing message. Clients may open new ones at once."""
        self._streams.end_all()

    async def close(self) -> None:
        """End all streams for good and stop listening to changes. Calls are still served. Idempotent."""
        self._legacy.close()
        self._serving.close()
        self._mirror.close()
        self._caller.close()
        self._tasks.close()
        self.results.close()
        self._ranges.close()

    def _permitted(self, request: web.Request, scope: ServiceScope | AggregateScope) -> Scope:
        """The endpoint as who asks may see it."""
        who = asker(request)
        permit = self._policy.permit(who)
        if permit.everything:
            return scope
        if isinstance(scope, AggregateScope):
            scope = scope.seen_by(permit.service)

        def challenge(scopes: Iterable[str], ours: bool) -> str:
            host, path, error = request.host, request.path, "insufficient_scope"
            return self._resources.challenge(host, path, error=error, scopes=scopes, ours=ours)[1]

        return PermittedScope(scope, permit, who.name, challenge)

    def _scope(self, name: Target) -> ServiceScope:
        """The scope of a name that has a route now.

        Raises:
            NotFound: No such service, or no version of it is in the range.
            Unavailable: None of its versions serves.
            BadRequest: That is no range.
        """
        if "@" in name:
            ranges.parse_range(name.partition("@")[2])
            if len(self._scopes) >= SCOPES_MAX:
                self._scopes.clear()
        if self._selection.route(name) is None:
            self._scopes.pop(name, None)
            raise self._caller.unrouted(name)
        scope = self._scopes.get(name)
        if scope is None:
            scope = ServiceScope(name, self._selection, self._caller, self.results, self._schemas)
            self._scopes[name] = scope
        return scope

    def _routed_to(self, service: ServiceName) -> set[VersionKey]:
        """The versions of a service that listening clients are routed to."""
        versions: set[VersionKey] = set()
        for target in (service, *(scope for scope in self._streams.scopes() if scope.startswith(f"{service}@"))):
            route = self._selection.route(target)
            if route is not None:
                versions |= {route.stable} if route.canary is None else {route.stable, route.canary}
        return versions

    def _wanted(self, service: ServiceName) -> set[str]:
        """A service's own URIs of the resources that open streams want to hear of."""
        wanted: set[str] = set()
        for stream in self._streams.of(service):
            for uri in stream.subscribed():
                owner = (service, uri) if stream.scope else naming.split_uri(uri)
                if owner is not None and owner[0] == service:
                    wanted.add(owner[1])
        return wanted

    async def _serve(self, request: web.Request, scope: Scope) -> web.StreamResponse:
        message: Any = None
        try:
            if request.method == hdrs.METH_POST:
                body = await inbound.read_body(request, self._settings.request_bytes_max, self._settings.read_timeout_s)
                takes_json, takes_sse = inbound.accepted(request.headers.get(hdrs.ACCEPT))
                if not takes_json:
                    raise Refused(406, jsonrpc.INVALID_REQUEST, "expected Accept to include application/json")
                message = inbound.decode(body)
                if inbound.is_modern(request.headers.get(VERSION_HEADER), message):
                    return await self._modern.post(request, scope, message, sse=takes_sse)
                return await self._legacy.post(request, scope, message, sse=takes_sse)
            return await self._serve_verb(request, scope)
        except Exception as error:  # noqa: BLE001 - the HTTP edge
            return self._failed(error, scope, message)

    def _failed(self, error: Exception, scope: Scope, message: Any) -> web.Response:
        """The response for a request that ends with an error, or with a defect of ours."""
        if isinstance(error, HensloweError):
            return self._refusal(error, message)
        log.error("gateway_failed", extra={"scope": scope.name}, exc_info=error)
        return self._refusal(HensloweError("the gateway failed; the node's log says why"), message)

    async def _serve_verb(self, request: web.Request, scope: Scope) -> web.StreamResponse:
        version = request.headers.get(VERSION_HEADER)
        if version is not None and version not in eras.LEGACY_VERSIONS:
            raise Refused(405, jsonrpc.INVALID_REQUEST, f"{version} has POST only", Allow="POST")
        if request.method == hdrs.METH_DELETE:
            return await self._legacy.delete(request, scope)
        if request.method != hdrs.METH_GET:
            raise Refused(
                405, jsonrpc.INVALID_REQUEST, f"expected GET, POST or DELETE, got: {request.method}", **_VERBS
            )
        if SESSION_HEADER not in request.headers and version is None:
            raise Refused(
                405, jsonrpc.INVALID_REQUEST, "an event stream belongs to a session; send initialize", **_VERBS
            )
        if not inbound.accepted(request.headers.get(hdrs.ACCEPT))[1]:
            raise Refused(406, jsonrpc.INVALID_REQUEST, "expected Accept to include text/event-stream")
        return await self._legacy.get(request, scope)

    def _refusal(self, error: HensloweError, message: Any) -> web.Response:
        """The response for a request that ends at the gateway."""
        if isinstance(error, Refused):
            status, answer, headers = error.status, error.answer(), error.headers
        else:
            status, headers = _STATUS.get(type(error), 500), {}
            answer = node_error(error, NODE_ERROR)
            if status == 503:
                headers = {"Retry-After": str(error.details.get("retry_after_s", 1))}
        self._metrics.refused(status)
        request_id = message.get("id") if isinstance(message, dict) else None
        if isinstance(request_id, bool) or not isinstance(request_id, str | int):
            request_id = None
        response = json_response(request_id, answer, status)
        response.headers.update(headers)
        return response


_STATUS: Final[dict[type[HensloweError], int]] = {
    BadRequest: 400,
    LimitReached: 503,
    NotFound: 404,
    Unavailable: 503,
}


def add_gateway(app: web.Application, gateway: Gateway) -> None:
    """Add `/mcp`, `/mcp/{service}` and `/mcp/{service}@{range}`; at the application's shutdown the streams end.

    The application's runner should have `handler_cancellation=True`: a client that hangs up then cancels its call.
    """
    app.router.add_route("*", ROOT, gateway.aggregate)
    app.router.add_route("*", f"{ROOT}/{{service}}", gateway.service)
    app[DIRECT] = Direct(ROOT, gateway.direct)

    async def end_streams(_app: web.Application) -> None:
        gateway.end_streams()

    app.on_shutdown.append(end_streams)
