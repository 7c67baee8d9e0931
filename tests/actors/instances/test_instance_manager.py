"""Instances under real supervisors, with real children and the real wire."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointState, Era
from henslowe.actors.ids import VersionKey
from henslowe.actors.instances import instance_name
from henslowe.actors.kernel import (
    KILL,
    TerminateChild,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec, Wire
from henslowe.actors.messages import (
    EnsureInstance,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    ReleaseInstance,
)
from tests.actors.instances.small_node import (
    ONE,
    RAW,
    SERVERS,
    TWO,
    Node,
    child_ref,
    crash_the_manager,
    gone,
    nothing_of,
    small_node,
)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with small_node(tmp_path) as running:
        yield running


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
    await nothing_of(node, ONE)


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


async def test_a_version_runs_until_each_of_its_holders_has_released_it(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    ensure = EnsureInstance(ONE, LaunchSpec(command=RAW), None, holder="holds")
    node.manager.cast(ensure)
    node.manager.cast(ReleaseInstance(ONE))
    node.ensure(TWO, *RAW)  # what was said before has been done once this one is up
    await node.told(InstanceUp, 2)
    assert len(node.directory.of(ONE)) == 1
    node.manager.cast(ReleaseInstance(ONE, holder="holds"))
    await node.told(InstanceDown)
    await nothing_of(node, ONE)


async def test_a_version_that_two_want_again_while_it_drains_runs_for_both(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    node.manager.cast(ReleaseInstance(ONE))
    node.ensure(ONE, *RAW)
    node.manager.cast(EnsureInstance(ONE, LaunchSpec(command=RAW), None, holder="holds"))
    await node.told(InstanceUp, 2)
    node.manager.cast(ReleaseInstance(ONE, holder="holds"))
    node.ensure(TWO, *RAW)
    await node.told(InstanceUp, 3)
    assert len(node.directory.of(ONE)) == 1


async def test_a_version_that_is_released_while_it_starts_never_comes_up(node: Node) -> None:
    node.ensure(ONE, *RAW, "mute")
    await node.event("INSTANCE_START")
    node.manager.cast(ReleaseInstance(ONE))
    await nothing_of(node, ONE)
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
    await nothing_of(node, ONE)
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
    await crash_the_manager(node)
    assert len(node.directory.of(ONE)) == 1
    node.manager.cast(ReleaseInstance(ONE))
    assert (await node.told(InstanceDown)).expected is True
    await nothing_of(node, ONE)
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
    await crash_the_manager(node)
    waiting.cancel()
    assert (await node.told(InstanceDown)).expected is True
    await nothing_of(node, ONE)


async def test_a_version_whose_supervisor_is_killed_is_reported_broken(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    services = registry.whereis(names.SERVICES)
    assert services is not None
    service = await child_ref(services, "hello")
    (await child_ref(service, str(ONE))).exit(KILL)
    assert (await node.told(InstanceBroken)).version == ONE
    assert node.directory.of(ONE) == ()


async def test_a_version_whose_supervisor_was_killed_comes_up_again_after_its_server_has_ended(node: Node) -> None:
    script = "import signal, sys, runpy\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    script += f"sys.argv = ['raw', 'lingers']; runpy.run_path({str(SERVERS / 'raw_server.py')!r})\n"
    node.ensure(ONE, sys.executable, "-S", "-c", script)
    await node.told(InstanceUp)
    pid = node.pid()
    services = registry.whereis(names.SERVICES)
    assert services is not None
    (await child_ref(await child_ref(services, "hello"), str(ONE))).exit(KILL)
    await node.told(InstanceBroken)
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp, 2)
    assert gone(pid)
    assert len(node.directory.of(ONE)) == 1
    assert [message for message in node.heard if type(message) is InstanceBroken][1:] == []


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


async def test_killing_the_actor_of_a_remote_server_withdraws_its_endpoint(node: Node) -> None:
    script = (SERVERS / "sdk_server.py").as_posix()
    node.ensure(ONE, sys.executable, script, "{port}", wire=Wire.HTTP, url="http://127.0.0.1:{port}/mcp")
    await node.told(InstanceUp)
    port = Path(f"/proc/{node.pid()}/cmdline").read_text().split("\0")[-2]
    node.ensure(TWO, wire=Wire.HTTP, url=f"http://127.0.0.1:{port}/mcp")
    await node.told(InstanceUp, 2)
    (connected,) = node.directory.of(TWO)
    instance = registry.whereis(instance_name(TWO))
    assert instance is not None
    instance.exit(KILL)
    down = await node.told(InstanceDown)
    assert (down.version, down.expected) == (TWO, False)
    up = await node.told(InstanceUp, 3)
    assert [endpoint.instance for endpoint in node.directory.of(TWO)] == [up.instance]
    assert connected.state is EndpointState.GONE


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
