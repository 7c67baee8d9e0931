"""Instances under real supervisors, with real children and the real wire."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory, Era
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.instances import InstanceManager, instance_name
from henslowe.actors.kernel import (
    INFINITY,
    KILL,
    ChildSpec,
    LoopActor,
    Ref,
    RestartType,
    Scheduler,
    TerminateChild,
    WhichChildren,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec, Wire
from henslowe.actors.messages import (
    EnsureInstance,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    Publish,
    ReleaseInstance,
)
from henslowe.config.settings import InstanceSettings, Settings
from henslowe.supervisors import DynamicSupervisor, Supervisor
from henslowe.transport.mcp import McpConnector

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


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    Scheduler.install()
    node = Node(tmp_path)
    settings = Settings(instances=InstanceSettings(max_restarts=2, max_seconds=30, stop_grace_s=0.5))
    connector = McpConnector(settings.instances)
    manager = ChildSpec(
        "manager",
        InstanceManager,
        args=(settings, connector, node.directory, tmp_path / "data", "test-node:1"),
        kwargs={"supervisor": supervisor},
        name=names.INSTANCES,
    )
    root = await Supervisor.start_link(
        [
            ChildSpec("ear", Ear, args=(node.heard, node.news), name=names.VERSIONS),
            ChildSpec("router", Ear, args=(node.routed, node.news), name=names.ROUTER),
            ChildSpec("bus", Ear, args=(node.said, node.news), name=names.BUS),
            ChildSpec("services", DynamicSupervisor, name=names.SERVICES, shutdown_s=INFINITY),
            manager,
        ]
    )
    yield node
    done = asyncio.get_running_loop().create_future()
    root.watch(lambda _ref, reason: done.set_result(reason))
    root.stop(block=False)
    async with asyncio.timeout(10):
        await done


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def child_ref(of: Ref, id_: str) -> Ref:
    return next(child.ref for child in await of.call(WhichChildren()) if child.id == id_)


async def test_a_wanted_version_comes_up_and_is_published_before_anybody_is_told(node: Node) -> None:
    published: list[VersionKey] = []
    node.directory.on_change(lambda version: published.append(version) if not node.heard else None)
    node.ensure(ONE, *RAW)
    up = await node.told(InstanceUp)
    assert published == [ONE]
    assert (up.instance, up.era) == ("hello@1#1", "legacy")
    assert [tool["name"] for tool in up.contract.tools] == ["crash", "echo"]
    (endpoint,) = node.directory.of(ONE)
    assert "result" in await endpoint.request("tools/call", {"name": "echo"}, era=Era.LEGACY)
    await node.until(lambda: node.routed or None)
    assert node.routed == [up]
    assert [event.status for event in (*node.events("INSTANCE_START"), *node.events("INSTANCE_READY"))] == [
        "PENDING",
        "SUCCESS",
    ]


async def test_asking_again_for_what_runs_is_answered_and_starts_nothing(node: Node) -> None:
    node.ensure(ONE, *RAW)
    first = await node.told(InstanceUp)
    node.ensure(ONE, *RAW)
    assert await node.told(InstanceUp, 2) is first
    assert len(node.events("INSTANCE_START")) == 1


async def test_a_crash_withdraws_the_endpoint_and_starts_another_incarnation(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    with pytest.raises(Exception, match="closed its standard output"):
        await endpoint.request("tools/call", {"name": "crash"}, era=Era.LEGACY)
    assert node.directory.of(ONE) == ()
    down = await node.told(InstanceDown)
    assert (down.instance, down.expected) == ("hello@1#1", False)
    assert down.reason == "it exited with status 3; it printed: about to fall over"
    up = await node.told(InstanceUp, 2)
    assert up.instance == "hello@1#2"
    assert len(node.directory.of(ONE)) == 1


async def test_a_version_that_crashes_too_often_is_broken_and_its_sibling_does_not_notice(node: Node) -> None:
    node.ensure(TWO, *RAW)
    await node.told(InstanceUp)
    (sibling,) = node.directory.of(TWO)
    node.ensure(ONE, *RAW)
    for n in range(3):
        await node.told(InstanceUp, 2 + n)
        os.kill(node.pid(), signal.SIGKILL)
        await node.told(InstanceDown, 1 + n)
    broken = await node.told(InstanceBroken)
    assert broken.version == ONE
    assert broken.reason == "restarted too often: it was ended by SIGKILL"
    assert node.directory.of(TWO) == (sibling,)
    assert "result" in await sibling.request("tools/call", {"name": "echo"}, era=Era.LEGACY)
    node.ensure(ONE, *RAW)
    assert (await node.told(InstanceUp, 5)).instance == "hello@1#4"


async def test_a_first_start_that_fails_is_broken_at_once_with_what_it_printed(node: Node) -> None:
    node.ensure(ONE, *RAW, "exit")
    broken = await node.told(InstanceBroken)
    assert "it exited with status 4; it printed: no configuration found" in broken.reason
    assert node.directory.of(ONE) == ()
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("no-such-command",), "cannot start no-such-command: no such executable"),
        ((*RAW, "banner"), "expected JSON-RPC on the standard output of hello@1#1, got: 'Listening on stdio!'"),
        ((*RAW, "mute"), "it did not answer the handshake within 0.5 s"),
    ],
)
async def test_a_version_that_cannot_be_opened_is_broken(node: Node, command: tuple[str, ...], says: str) -> None:
    node.ensure(ONE, *command, ready_timeout_s=0.5)
    assert says in (await node.told(InstanceBroken)).reason
    failed = [event for event in node.events("INSTANCE_READY") if event.status == "FAILED"]
    assert len(failed) == 1


async def test_a_server_that_ends_when_it_is_asked_for_the_modern_era_comes_up(node: Node) -> None:
    node.ensure(ONE, *RAW, "dies-on-probe")
    assert (await node.told(InstanceUp)).instance == "hello@1#1"


async def test_a_released_version_finishes_its_calls_takes_no_new_ones_and_ends(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    pid = node.pid()
    waiting = asyncio.ensure_future(endpoint.request("tools/call", {"name": "wait"}, era=Era.LEGACY))
    await asyncio.sleep(0)
    withdrawn = asyncio.Event()
    node.directory.on_change(lambda _version: withdrawn.set())
    node.manager.cast(ReleaseInstance(ONE, drain_s=10))
    async with asyncio.timeout(5):
        await withdrawn.wait()
    assert node.directory.of(ONE) == ()
    assert not waiting.done()
    waiting.cancel()
    down = await node.told(InstanceDown)
    assert (down.reason, down.expected) == ("released", True)
    assert (await node.event("INSTANCE_DRAINED")).data["calls_left"] == 0
    async with asyncio.timeout(5):
        while not gone(pid):
            await asyncio.sleep(0.001)
    await _nothing_of(node, ONE)


async def test_a_drain_ends_at_its_limit(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    waiting = asyncio.ensure_future(endpoint.request("tools/call", {"name": "wait"}, era=Era.LEGACY))
    await asyncio.sleep(0)
    node.manager.cast(ReleaseInstance(ONE, drain_s=0.05))
    drained = await node.event("INSTANCE_DRAINED")
    assert (drained.status, drained.data["calls_left"]) == ("DEGRADED", 1)
    with pytest.raises(Exception, match="was closed"):
        await waiting


async def test_a_version_that_is_wanted_again_while_it_drains_comes_up_again(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    node.manager.cast(ReleaseInstance(ONE))
    node.ensure(ONE, *RAW)
    up = await node.told(InstanceUp, 2)
    assert up.instance == "hello@1#2"
    assert len(node.directory.of(ONE)) == 1


async def test_a_version_that_is_released_while_it_starts_never_comes_up(node: Node) -> None:
    node.ensure(ONE, *RAW, "mute")
    await node.event("INSTANCE_START")
    node.manager.cast(ReleaseInstance(ONE))
    await _nothing_of(node, ONE)
    assert not [m for m in node.heard if isinstance(m, InstanceUp | InstanceBroken)]


async def test_a_server_that_does_not_end_with_its_input_is_killed_with_its_tree(node: Node) -> None:
    script = (
        "import subprocess, sys, signal, runpy\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid, file=sys.stderr, flush=True)\n"
        f"sys.argv = ['raw', 'lingers']; runpy.run_path({str(SERVERS / 'raw_server.py')!r})\n"
    )
    node.ensure(ONE, sys.executable, "-S", "-c", script)
    await node.told(InstanceUp)
    grandchild = int((await node.event("INSTANCE_OUTPUT")).data["line"])
    pid = node.pid()
    node.manager.cast(ReleaseInstance(ONE))
    await _nothing_of(node, ONE)
    assert gone(pid)
    async with asyncio.timeout(5):
        while not gone(grandchild):
            await asyncio.sleep(0.001)


async def test_killing_the_actor_kills_the_server_and_withdraws_its_endpoint(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    pid = node.pid()
    instance = registry.whereis(instance_name(ONE))
    assert instance is not None
    instance.exit(KILL)
    down = await node.told(InstanceDown)
    assert (down.instance, down.expected) == ("hello@1#1", False)
    up = await node.told(InstanceUp, 2)
    assert [endpoint.instance for endpoint in node.directory.of(ONE)] == [up.instance]
    async with asyncio.timeout(5):
        while not gone(pid):
            await asyncio.sleep(0.001)


async def test_instances_survive_a_crash_of_the_manager_which_finds_them_again(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    await _crash_the_manager(node)
    assert len(node.directory.of(ONE)) == 1
    node.manager.cast(ReleaseInstance(ONE))
    assert (await node.told(InstanceDown)).expected is True
    await _nothing_of(node, ONE)
    node.ensure(ONE, *RAW)
    assert (await node.told(InstanceUp, 2)).instance == "hello@1#2"


async def test_a_drain_goes_on_when_the_manager_crashes(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    waiting = asyncio.ensure_future(endpoint.request("tools/call", {"name": "wait"}, era=Era.LEGACY))
    await asyncio.sleep(0)
    withdrawn = asyncio.Event()
    node.directory.on_change(lambda _version: withdrawn.set())
    node.manager.cast(ReleaseInstance(ONE))
    async with asyncio.timeout(5):
        await withdrawn.wait()
    await _crash_the_manager(node)
    waiting.cancel()
    assert (await node.told(InstanceDown)).expected is True
    await _nothing_of(node, ONE)


async def test_a_version_whose_supervisor_is_killed_is_reported_broken(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    services = registry.whereis(names.SERVICES)
    assert services is not None
    service = await child_ref(services, "hello")
    (await child_ref(service, str(ONE))).exit(KILL)
    assert (await node.told(InstanceBroken)).version == ONE
    assert node.directory.of(ONE) == ()


async def test_a_server_that_listens_gets_a_port_and_its_output_is_kept(node: Node) -> None:
    script = (SERVERS / "sdk_server.py").as_posix()
    node.ensure(
        ONE, sys.executable, script, "{port}", wire=Wire.HTTP, url="http://127.0.0.1:{port}/mcp", env={"PORT": "{port}"}
    )
    up = await node.told(InstanceUp)
    assert up.era == "modern"
    (endpoint,) = node.directory.of(ONE)
    call = {"name": "greet", "arguments": {"name": "Ann"}}
    assert (await endpoint.request("tools/call", call, era=Era.LEGACY))["result"]["content"][0]["text"] == "Hello Ann"
    os.kill(node.pid(), signal.SIGKILL)
    assert (await node.told(InstanceDown)).reason.startswith("it was ended by SIGKILL")
    assert (await node.told(InstanceUp, 2)).instance == "hello@1#2"


async def test_a_listening_server_that_exits_before_it_listens_fails_at_once(node: Node) -> None:
    node.ensure(ONE, *RAW, "exit", wire=Wire.HTTP, url="http://127.0.0.1:{port}/mcp")
    broken = await node.told(InstanceBroken)
    assert "it ended before it listened; it exited with status 4; it printed: no configuration found" in broken.reason


async def test_what_a_server_announces_reaches_listeners_of_the_directory(node: Node) -> None:
    announced: asyncio.Queue[tuple[VersionKey, dict[str, Any]]] = asyncio.Queue()
    node.directory.on_server_event(lambda version, event: announced.put_nowait((version, event)))
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    await endpoint.request("tools/call", {"name": "add"}, era=Era.LEGACY)
    async with asyncio.timeout(5):
        version, event = await announced.get()
    assert (version, event["method"]) == (ONE, "notifications/tools/list_changed")


async def test_stopping_a_service_stops_its_servers_and_reports_nothing_broken(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    pid = node.pid()
    services = registry.whereis(names.SERVICES)
    assert services is not None
    service = await child_ref(services, "hello")
    await services.call(TerminateChild("hello"), timeout_s=10)
    assert not service.is_alive()
    assert gone(pid)
    assert (await node.told(InstanceDown)).expected is True
    assert not [m for m in node.heard if isinstance(m, InstanceBroken)]


async def _crash_the_manager(node: Node) -> None:
    """The manager crashes, and its supervisor has started another."""
    manager = registry.whereis(names.INSTANCES)
    assert manager is not None
    dead = asyncio.Event()
    manager.watch(lambda _ref, _reason: dead.set())
    manager.exit(RuntimeError("crash"))
    async with asyncio.timeout(5):
        await dead.wait()
    await node.manager.up(timeout_s=5)


async def _nothing_of(node: Node, version: VersionKey) -> None:
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
