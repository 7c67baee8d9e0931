"""The part of a node that instances live in: real supervisors and children, with ears for those who are told."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.instances import InstanceBoard, InstanceManager
from henslowe.actors.kernel import (
    INFINITY,
    ChildSpec,
    LoopActor,
    Ref,
    RestartType,
    Scheduler,
    WhichChildren,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import EnsureInstance, Publish
from henslowe.config.settings import InstanceSettings, Settings
from henslowe.supervisors import DynamicSupervisor, Supervisor
from henslowe.testing import ended_processes
from henslowe.transport.mcp import DormantEndpoint, McpConnector

SERVERS = Path(__file__).parents[2] / "transport" / "mcp" / "servers"
RAW = (sys.executable, "-S", "-E", str(SERVERS / "raw_server.py"))
ONE = VersionKey(ServiceName("hello"), 1)
TWO = VersionKey(ServiceName("hello"), 2)

T = TypeVar("T")


class Ear(LoopActor):
    """Keeps what it is told; stands for the version machine, the router and the bus."""

    def __init__(self, heard: list[Any], news: asyncio.Condition) -> None:
        super().__init__()
        self.heard = heard
        self.news = news

    async def handle_cast(self, message: Any) -> None:
        self.heard.append(message)
        async with self.news:
            self.news.notify_all()


@dataclass
class Node:
    """The part of a node that instances live in."""

    tmp: Path
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    heard: list[Any] = field(default_factory=list)
    routed: list[Any] = field(default_factory=list)
    said: list[Any] = field(default_factory=list)
    directory: EndpointDirectory = field(default_factory=EndpointDirectory)
    board: InstanceBoard = field(default_factory=InstanceBoard)

    @property
    def manager(self) -> Any:
        return registry.via(names.INSTANCES)

    def ensure(self, version: VersionKey, *command: str, root: Path | None = None, **launch: Any) -> None:
        spec = LaunchSpec(command=command, **launch)
        self.manager.cast(EnsureInstance(version, spec, root))

    async def until(self, look: Callable[[], T | None]) -> T:
        """Wait until `look` finds something; looks again whenever anybody is told anything."""
        async with asyncio.timeout(10), self.news:
            while (found := look()) is None:
                await self.news.wait()
        return found

    async def told(self, kind: type[T], count: int = 1) -> T:
        """The latest message of a kind to the version machine, once there are `count`."""
        of_kind = lambda: [m for m in self.heard if type(m) is kind]  # noqa: E731
        return await self.until(lambda: of_kind()[count - 1] if len(of_kind()) >= count else None)

    def events(self, event_type: str) -> list[Any]:
        return [e for publish in self.said if type(publish) is Publish for e in publish.events if e.type == event_type]

    async def event(self, event_type: str, count: int = 1) -> Any:
        return await self.until(lambda: found[count - 1] if len(found := self.events(event_type)) >= count else None)

    def pid(self) -> int:
        """The process of the latest instance."""
        pid: int = self.events("INSTANCE_READY")[-1].data["pid"]
        return pid


def supervisor(id_: str, max_restarts: int, max_seconds: float) -> ChildSpec:
    return ChildSpec(
        id_,
        DynamicSupervisor,
        kwargs={"max_restarts": max_restarts, "max_seconds": max_seconds},
        restart=RestartType.TEMPORARY,
        shutdown_s=INFINITY,
    )


@asynccontextmanager
async def small_node(tmp_path: Path, **instances: Any) -> AsyncIterator[Node]:
    """The tree, until the end of the block."""
    Scheduler.install()
    node = Node(tmp_path)
    limits: dict[str, Any] = {"max_restarts": 2, "max_seconds": 30, "stop_grace_s": 0.5, **instances}
    settings = Settings(instances=InstanceSettings(**limits))
    connector = McpConnector(settings.instances)
    manager = ChildSpec(
        "manager",
        InstanceManager,
        args=(settings, connector, node.directory, tmp_path / "data", "test-node:1"),
        kwargs={"supervisor": supervisor, "board": node.board, "dormant": DormantEndpoint},
        name=names.INSTANCES,
    )
    async with (
        ended_processes(),
        tree(
            [
                ChildSpec("ear", Ear, args=(node.heard, node.news), name=names.VERSIONS),
                ChildSpec("router", Ear, args=(node.routed, node.news), name=names.ROUTER),
                ChildSpec("bus", Ear, args=(node.said, node.news), name=names.BUS),
                ChildSpec("services", DynamicSupervisor, name=names.SERVICES, shutdown_s=INFINITY),
                manager,
            ]
        ),
    ):
        yield node


@asynccontextmanager
async def tree(children: list[ChildSpec]) -> AsyncIterator[None]:
    """A supervisor, stopped in order at the end of the block."""
    root = await Supervisor.start_link(children)
    try:
        yield
    finally:  # the next test needs the names
        async with asyncio.timeout(10):
            await root.stop(block=False)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def child_ref(of: Ref, id_: str) -> Ref:
    return next(child.ref for child in await of.call(WhichChildren()) if child.id == id_)


async def crash_the_manager(node: Node) -> None:
    """The manager crashes, and its supervisor has started another."""
    manager = registry.whereis(names.INSTANCES)
    assert manager is not None
    dead = asyncio.Event()
    manager.watch(lambda _ref, _reason: dead.set())
    manager.exit(RuntimeError("crash"))
    async with asyncio.timeout(5):
        await dead.wait()
    await node.manager.up(timeout_s=5)


async def nothing_of(node: Node, version: VersionKey) -> None:
    """Wait until no actor of the version is left."""
    services = registry.whereis(names.SERVICES)
    assert services is not None
    async with asyncio.timeout(10):
        while True:
            ids = [
                child.id
                for service in await services.call(WhichChildren())
                if service.ref is not None
                for child in await service.ref.call(WhichChildren(), timeout_s=10)
            ]
            if str(version) not in ids:
                return
            await asyncio.sleep(0.001)
