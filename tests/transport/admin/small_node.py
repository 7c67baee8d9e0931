"""A small real node for the tests of the admin API and the CLI: a real store, a real listener, two services.

What it decides itself is little and honest: a canary can be promoted, an active version rolled back, nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter

from henslowe.actors import names
from henslowe.actors.access import TOKENS, AccessBoard, AccessKeeper
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.kernel import Scheduler
from henslowe.actors.routes import Observations, RouteTable
from henslowe.actors.sessions import SESSIONS
from henslowe.actors.tasks import TASKS
from henslowe.config.listen import Address
from henslowe.config.loading import load
from henslowe.config.manifest import ServiceFolders
from henslowe.config.node_file import NodeFile, admin_socket, announce, boot_id
from henslowe.config.provenance import Loaded
from henslowe.config.settings import StorageSettings
from henslowe.errors import Conflict, NotFound
from henslowe.node_replies import health_reply
from henslowe.storage import EventDraft, Store
from henslowe.storage.capture import Exchange
from henslowe.storage.capture.record import Waiting, encode
from henslowe.storage.migrations.runner import RUNNER_NAME, MigrationRunner
from henslowe.transport.access import Authenticator, Door, LiveRequests, Resources
from henslowe.transport.access.managed import ManagedTokens
from henslowe.transport.admin.api import Admin, add_admin
from henslowe.transport.admin.artifacts import KeptVersions
from henslowe.transport.admin.keeping import Keeping
from henslowe.transport.admin.models.base import ActionName, LineName
from henslowe.transport.admin.models.figures import CallsReply, InstanceReply, SlotReply
from henslowe.transport.admin.models.node import ActorReply, HealthCheckReply, HealthReply, NodeReply
from henslowe.transport.admin.models.services import FailureReply, ServiceReply
from henslowe.transport.admin.models.versions import StageReply, VersionReply, VersionsReply
from henslowe.transport.admin.traffic import TrafficTables
from henslowe.transport.connections import Runner
from henslowe.transport.gateway import Gateway, MemorySessions
from henslowe.transport.http_guard import Guard, guard_middleware
from henslowe.transport.listener import bind_tcp, bind_unix
from henslowe.transport.rate_limit import RateLimiter
from henslowe.transport.tokens import ensure_token
from tests.transport.admin.small_server import mcp_hello


@dataclass
class Hello:
    """The service `hello`: version 3 serves, 4 is its canary, 5 failed its tests."""

    active: int = 3
    previous: int | None = 2
    canary: int | None = 4
    held: bool = False
    failure: bool = True
    instances: bool = True
    sources_gone: bool = False


@dataclass
class SmallNode:
    """Implements `NodeView` over `Hello`."""

    store: Store
    loaded: Loaded
    url: str = ""
    hello: Hello | None = field(default_factory=Hello)
    well: bool = True
    stands: bool = True
    note: str = ""
    build_ends: str = "FAILED"
    mcp_token: str = ""
    """When set, the MCP endpoint asks for it, as that of a node beyond loopback does."""
    asked: list[tuple[Any, ...]] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the reader of an endless run has gone."""
    command_error: Exception | None = None

    def status(self) -> NodeReply:
        settings = self.loaded.settings
        return NodeReply(
            name=settings.name,
            version="0.1.0",
            pid=os.getpid(),
            url=self.url,
            workspace=str(settings.workspace),
            data=str(settings.data_dir),
            uptime_s=63.0,
            health=self.health(),
            services=() if self.hello is None else (_service(self.hello),),
            last_seq=self.store.events.last_seq(),
        )

    async def tree(self) -> ActorReply:
        writer = ActorReply(id="writer", name="storage.writer", kind="thread", state="running", pid=2, mailbox_depth=4)
        child = ActorReply(id="hello@3#1", kind="process", state="running", os_pid=4242, restarts=2)
        return ActorReply(
            id="node", kind="supervisor", state="running", strategy="rest_for_one", children=(writer, child)
        )

    def versions(self, service: str) -> VersionsReply:
        hello = self._hello(service)
        rows = [(5, "FAILED"), (4, "CANARY"), (3, "ACTIVE"), (2, "ARCHIVED")]
        if hello.canary is None:
            rows[1:3] = [(4, "ACTIVE"), (3, "ARCHIVED")]
        return VersionsReply(
            service=service,
            versions=tuple(
                VersionReply(
                    version=number,
                    state=state,
                    semver=f"1.0.{number}",
                    build="ab" * 32,
                    created_s=1_700_000_000.0,
                    stages=(StageReply(name="test", status="FAILED" if state == "FAILED" else "SUCCESS", took_s=0.5),),
                    reason="assert 1 == 2" if state == "FAILED" else "",
                )
                for number, state in rows
            ),
        )

    def config(self) -> Loaded:
        return self.loaded

    def health(self) -> HealthReply:
        tree = HealthCheckReply(name="tree", ok=self.stands)
        detail = "" if self.well else "disk full"
        storage = HealthCheckReply(name="storage", ok=self.well, detail=detail, degrades=True)
        return health_reply(tree, storage, HealthCheckReply(name="watcher", ok=True, detail=self.note))

    def ready(self) -> HealthReply:
        accepting = HealthCheckReply(name="accepting", ok=not self.stopped.is_set())
        return health_reply(*self.health().checks, accepting)

    async def command(
        self,
        service: str,
        action: ActionName,
        *,
        by: str,
        reason: str = "",
        to_version: int | None = None,
        expected_epoch: int | None = None,
        until_s: float | None = None,
        override_freeze: str = "",
        skip_hooks: str = "",
    ) -> Mapping[str, Any]:
        if self.command_error is not None:
            raise self.command_error
        hello = self._hello(service)
        self.asked.append((service, action, by, reason, to_version, expected_epoch))
        if until_s is not None or override_freeze:
            self.asked.append((until_s, override_freeze))
        if skip_hooks:
            self.asked.append(("skip_hooks", skip_hooks))
        if action == "promote":
            if hello.canary is None:
                raise Conflict(f"cannot promote {service}: no canary", hint="henslowe status", state="active")
            hello.active, hello.previous, hello.canary = hello.canary, hello.active, None
        if action == "rollback":
            hello.active = to_version or hello.previous or hello.active
        if action in ("hold", "resume"):
            hello.held = action == "hold"
        await self.say("lifecycle", "COMMAND", "SUCCESS", service, hello.active, command=action, by=by)
        message = f"{service}: v{hello.active} serves"
        return {"service": service, "action": action, "state": "active", "version": hello.active, "message": message}

    async def line(self, action: LineName, *, by: str, reason: str, until_s: float | None) -> Mapping[str, Any]:
        self.asked.append(("line", action, by, reason, until_s))
        return {"action": action, "changed": True, "message": f"all services: {action}"}

    async def rebuild(self, service: str, *, by: str) -> int:
        self._hello(service)
        self.asked.append((service, "build", by))
        if self.build_ends == "SUPERSEDED":
            await self.say("lifecycle", "VERSION_SUPERSEDED", "INFO", service, 6)
            return 6
        end = self.build_ends
        await self.say("lifecycle", "TEST_COMPLETE", end, service, 6, stage="test", duration_ms=500)
        await self.say("lifecycle", "PIPELINE_COMPLETE", end, service, 6, stage="test", message="assert 1 == 2")
        return 6

    async def run(self, service: str, *, stage: str, cache: bool, by: str) -> AsyncGenerator[dict[str, Any], None]:
        """Two stages; `test` fails, printing to a reader who stays."""
        self._hello(service)
        self.asked.append(("run", service, stage, cache, by))
        if stage not in ("", "lint", "test", "endless"):
            raise NotFound(f"expected a stage of lint, test, got: {stage!r}")

        def event(type_: str, status: str, **data: Any) -> dict[str, Any]:
            return {"time_s": time.time(), "type": type_, "status": status, "service": service, "data": data}

        def line(text: str) -> dict[str, Any]:
            return event("STAGE_OUTPUT", "INFO", source="test", channel="stdout", line=text)

        yield event("PIPELINE_START", "PENDING", stages=[stage] if stage else ["lint", "test"])
        if stage == "endless":
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        if stage != "test":
            yield event("LINT_COMPLETE", "SUCCESS", stage="lint", duration_ms=12, cached=True)
        if stage != "lint":
            yield line("expected \x1b[2J 3")
            yield event("TEST_COMPLETE", "FAILED", stage="test", duration_ms=1200, allowed=False)
            failed = {"stage": "test", "message": "test failed with exit code 7", "hint": "look", "exit_code": 7}
            yield event("PIPELINE_COMPLETE", "FAILED", duration_ms=1212, **failed)
            return
        yield event("PIPELINE_COMPLETE", "SUCCESS", duration_ms=12, cached=True)

    def stop(self, *, by: str) -> None:
        self.asked.append(("stop", by))
        self.stopped.set()

    async def say(
        self, stream: str, type_: str, status: str = "INFO", service: str = "", version: int = 0, **data: Any
    ) -> None:
        """Put one event into the log, durably."""
        transaction = self.store.transaction()
        transaction.append(EventDraft(stream, type_, status, service, version, data))
        await transaction.commit()

    def _hello(self, service: str) -> Hello:
        if service != "hello" or self.hello is None:
            raise NotFound(f"cannot find service {service!r}", hint="henslowe status lists them")
        return self.hello


def _service(hello: Hello) -> ServiceReply:
    return ServiceReply(
        name="hello",
        state="canary" if hello.canary else "active",
        healthy=hello.instances,
        path="/mcp/hello",
        held=hello.held,
        canary=SlotReply(version=hello.canary, state="CANARY") if hello.canary else None,
        active=SlotReply(version=hello.active, state="ACTIVE", semver="1.0.3", detail="permanent"),
        canary_percent=10.0 if hello.canary else 0.0,
        evidence="12 of 20 units, no difference so far" if hello.canary else "",
        instances=(InstanceReply(id="hello@3#1", version=3, state="ready", pid=4242, restarts=1),)
        if hello.instances
        else (),
        calls=CallsReply(total=123, failed=1, per_minute=12.0, p50_ms=3.0, p95_ms=12.0),
        failure=FailureReply(version=5, stage="test", reason="E   assert 1 == 2\n\x1b[31mred\x1b[0m")
        if hello.failure
        else None,
        sources_gone=hello.sources_gone,
    )


@dataclass
class Served:
    """A small node with its listener."""

    node: SmallNode
    admin: Admin
    file: NodeFile
    token: str
    registry: CollectorRegistry
    close_listener: Callable[[], Coroutine[Any, Any, None]]
    open_listener: Callable[[], Coroutine[Any, Any, None]]


def record(served: Served, *exchanges: Exchange) -> None:
    """Puts exchanges into the record, as its writer does."""
    captures = served.node.store.captures
    captures.log.open()
    waiting = [Waiting(time.time_ns(), at, 100, 100, each) for at, each in enumerate(exchanges)]
    captures.log.append([encode(each, captures.redactor, bytes_max=65_536, salt=captures.log.salt) for each in waiting])


@asynccontextmanager
async def serve(workspace: Path, *, rate_per_s: float = 1_000.0, socket: bool = True) -> AsyncIterator[Served]:
    """A small node of this workspace, served on its socket and on a TCP port, and announced."""
    Scheduler.install()
    loaded = load(workspace, environ={})
    data = loaded.settings.data_dir
    store = Store.open(data, "n1", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args)
    node = SmallNode(store, loaded)
    token = ensure_token(data / "admin.token")
    registry = CollectorRegistry()
    Counter("calls", "Calls", ["service"], registry=registry).labels("hello").inc(3)
    board = AccessBoard()
    keeper = await AccessKeeper.start_link(store, board, name=names.ACCESS)
    fast = StorageSettings(map_size_gib=1, migrations="manual", migration_rows_per_s=1e9)
    migrations = await MigrationRunner.start_link(store.migrator, fast, store.rotation, name=RUNNER_NAME)
    tokens = ManagedTokens(store.table(TOKENS))
    keeping = Keeping(store, loaded.settings)
    routes, directory = RouteTable(), EndpointDirectory()
    gateway = Gateway(
        routes=routes,
        directory=directory,
        observations=Observations(),
        sessions=MemorySessions(),
        settings=loaded.settings.gateway,
        registry=CollectorRegistry(),
        node_info={"name": "henslowe", "version": "0"},
    )
    traffic = TrafficTables(
        store.table(SESSIONS),
        store.table(TASKS),
        replay=gateway.replay,
        results=gateway.results,
        routes=routes,
        directory=directory,
    )
    admin = Admin(
        node,
        store.events,
        store.captures,
        registry,
        tokens,
        keeping,
        traffic,
        KeptVersions(store),
        ServiceFolders(loaded.settings.workspace, data),
        RateLimiter(rate_per_s, burst=rate_per_s),
        keepalive_s=0.05,
    )
    path = admin_socket(data) if socket else None
    tcp = bind_tcp(Address("127.0.0.1", 0))
    sockets = [tcp, *([bind_unix(path)] if path is not None else [])]
    runners: list[web.AppRunner] = []

    async def guarded_mcp(request: web.Request) -> web.StreamResponse:
        if node.mcp_token and request.headers.get("Authorization") != f"Bearer {node.mcp_token}":
            error = {"code": -32000, "message": "expected a valid bearer token"}
            return web.json_response({"jsonrpc": "2.0", "id": None, "error": error}, status=401)
        return await mcp_hello(request)

    async def open_listener() -> None:
        port = tcp.getsockname()[1]
        door = Door(Authenticator(token, board), Resources(), open_mcp=True, open_rest=True)
        live = LiveRequests(door.authenticator.holds)
        app = web.Application(middlewares=[guard_middleware(Guard("127.0.0.1", port), door, live)])
        add_admin(app, admin)
        app.router.add_post("/mcp/hello", guarded_mcp)
        runner = Runner(app, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        runners.append(runner)
        for sock in sockets:
            await web.SockSite(runner, sock.dup()).start()

    async def close_listener() -> None:
        while runners:
            await runners.pop().cleanup()

    await open_listener()
    node.url = f"http://127.0.0.1:{tcp.getsockname()[1]}"
    file = NodeFile(
        pid=os.getpid(),
        boot_id=boot_id(),
        url=node.url,
        socket=str(path or ""),
        token_file=str(data / "admin.token"),
        workspace=str(workspace),
        data=str(data),
        name="node",
        version="0.1.0",
    )
    withdraw = announce(file)
    try:
        yield Served(node, admin, file, token, registry, close_listener, open_listener)
    finally:
        withdraw()
        await close_listener()
        for sock in sockets:
            sock.close()
        await migrations.stop(block=False)
        await keeper.stop(block=False)
        await writer.stop(block=False)
        store.close()
