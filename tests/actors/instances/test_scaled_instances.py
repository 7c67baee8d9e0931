"""Several instances of one version under real supervisors, with real children: scaled, replaced, asleep, killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.endpoints import Endpoint, Era, SoleClient
from henslowe.actors.ids import VersionKey
from henslowe.actors.instances import Crew, Duty, Scaler
from henslowe.actors.instances.scaler import Tick
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import (
    EnsureInstance,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    OpenPrivate,
    ReleaseInstance,
    ReplaceInstance,
    ScaleVersion,
    SleepVersion,
    VersionOutgrown,
)
from henslowe.config.upkeep import HealthSettings, Scale, ScaleSettings
from henslowe.errors import Unavailable
from tests.actors.instances.small_node import ONE, RAW, TWO, Node, crash_the_manager, nothing_of, small_node


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with small_node(tmp_path) as running:
        yield running


def ensure(node: Node, *command: str, **scale: Any) -> None:
    node.manager.cast(EnsureInstance(ONE, LaunchSpec(command=command or RAW), None, scale=Scale(**scale)))


def crew_of(node: Node) -> Crew:
    crew = node.board.of(ONE)
    assert crew is not None
    return crew


async def until(look: Callable[[], Any]) -> Any:
    """Wait until `look` finds something."""
    async with asyncio.timeout(5):
        while not (found := look()):
            await asyncio.sleep(0.002)
    return found


async def call(endpoint: Endpoint, tool: str = "echo") -> dict[str, Any]:
    return await endpoint.request("tools/call", {"name": tool}, era=Era.LEGACY, timeout_s=10)


def ids(node: Node) -> list[str]:
    return [str(endpoint.instance) for endpoint in node.directory.of(ONE)]


class Wishes:
    """What should be, as somebody edits it."""

    def __init__(self, numbers: ScaleSettings, limits: HealthSettings) -> None:
        self.numbers, self.limits = numbers, limits

    def scale(self, _version: VersionKey) -> ScaleSettings:
        return self.numbers

    def health(self, _version: VersionKey) -> HealthSettings:
        return self.limits


async def test_a_version_is_announced_once_all_of_its_instances_are_up(node: Node) -> None:
    ensure(node, min=3)
    await node.told(InstanceUp)
    assert len(node.events("INSTANCE_READY")) == 3
    assert sorted(ids(node)) == ["hello@1#1", "hello@1#2", "hello@1#3"]
    assert all([await call(endpoint) for endpoint in node.directory.of(ONE)])
    node.manager.cast(ReleaseInstance(ONE))
    await nothing_of(node, ONE)
    await until(lambda: node.board.of(ONE) is None)
    assert [down.left for down in node.heard if isinstance(down, InstanceDown)][-1] == 0


async def test_more_and_fewer_instances_cost_no_call(node: Node) -> None:
    ensure(node, min=1, max=3)
    await node.told(InstanceUp)
    (first,) = node.directory.of(ONE)
    waiting = asyncio.ensure_future(first.request("tools/call", {"name": "wait"}, era=Era.LEGACY))
    node.manager.cast(ScaleVersion(ONE, 3, "busy"))
    await until(lambda: len(ids(node)) == 3)
    node.manager.cast(ScaleVersion(ONE, 1, "idle"))
    await until(lambda: len(ids(node)) == 1)
    # The one with a call under way is the last to go.
    assert ids(node) == ["hello@1#1"]
    await node.event("INSTANCE_DRAINED", 2)
    assert [event.data["instances"] for event in node.events("VERSION_SCALED")] == [3, 1]
    node.manager.cast(ScaleVersion(ONE, 2, "busy"))
    await until(lambda: len(ids(node)) == 2)
    assert sorted(ids(node)) == ["hello@1#1", "hello@1#4"]
    assert not waiting.done()
    waiting.cancel()
    assert not [message for message in node.heard if isinstance(message, InstanceBroken)]


async def test_the_kill_of_one_of_several_leaves_the_version_up(node: Node) -> None:
    ensure(node, min=2)
    await node.told(InstanceUp)
    victim = crew_of(node).members[1]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    down = await node.told(InstanceDown)
    assert (down.instance, down.expected, down.left) == ("hello@1#1", False, 1)
    await until(lambda: sorted(ids(node)) == ["hello@1#2", "hello@1#3"])


async def test_who_stands_by_serves_before_the_loss_of_another_is_known_to_callers(node: Node) -> None:
    ensure(node, standby=1)
    await node.told(InstanceUp)
    await until(lambda: crew_of(node).count(Duty.STANDBY) == 1)
    (only,) = node.directory.of(ONE)
    with pytest.raises(Exception, match="closed its standard output"):
        await call(only, "crash")
    # No wait in between: whoever was refused finds the other at once.
    (other,) = node.directory.of(ONE)
    assert other.instance != only.instance
    assert "result" in await call(other)
    taken = await node.event("INSTANCE_TAKEOVER")
    assert (taken.data["instance"], taken.data["instead_of"]) == (other.instance, only.instance)
    assert (await node.told(InstanceDown)).left == 1
    await until(lambda: crew_of(node).count(Duty.STANDBY) == 1)


async def test_an_instance_is_replaced_by_one_that_is_up_before_it_goes(node: Node) -> None:
    ensure(node)
    await node.told(InstanceUp)
    counts: list[int] = []
    node.directory.on_change(lambda version: counts.append(len(node.directory.of(version))))
    node.manager.cast(ReplaceInstance(ONE, node.directory.of(ONE)[0].instance, "it uses 900 MiB"))
    await until(lambda: ids(node) == ["hello@1#2"])
    assert 0 not in counts
    assert (await node.event("INSTANCE_REPLACED")).data["why"] == "it uses 900 MiB"
    await node.event("INSTANCE_DRAINED")


async def test_an_additional_instance_that_does_not_start_harms_nobody(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    script = f"import os, sys, runpy\nif os.path.exists({str(flag)!r}): sys.exit(4)\n"
    script += f"sys.argv = ['raw']; runpy.run_path({RAW[-1]!r}, run_name='__main__')\n"
    ensure(node, RAW[0], "-S", "-c", script, max=2)
    await node.told(InstanceUp)
    flag.touch()
    node.manager.cast(ScaleVersion(ONE, 2, "busy"))
    refused = await until(lambda: [each for each in node.events("VERSION_SCALED") if each.status == "FAILED"])
    assert "exited with status 4" in refused[0].data["why"]
    assert (crew_of(node).serving, ids(node)) == (1, ["hello@1#1"])
    assert not [message for message in node.heard if isinstance(message, InstanceBroken)]


async def test_a_version_begins_with_those_of_its_instances_that_start(node: Node, tmp_path: Path) -> None:
    turns = tmp_path / "turns"
    turns.mkdir()
    script = (
        f"import os, sys, time, runpy\ntry: os.mkdir({str(turns / 'first')!r})\n"
        f"except FileExistsError:\n while not os.path.exists({str(turns / 'up')!r}): time.sleep(0.01)\n sys.exit(4)\n"
        f"sys.argv = ['raw']; runpy.run_path({RAW[-1]!r}, run_name='__main__')\n"
    )
    ensure(node, RAW[0], "-S", "-c", script, min=2, max=2)
    await until(lambda: len(ids(node)) == 1)
    assert not [message for message in node.heard if isinstance(message, InstanceUp)]
    (turns / "up").touch()
    await node.told(InstanceUp)
    assert (crew_of(node).serving, len(ids(node))) == (1, 1)


async def test_a_manager_that_crashes_finds_all_instances_and_goes_on_scaling(node: Node) -> None:
    ensure(node, min=2, max=3, standby=1)
    await node.told(InstanceUp)
    await until(lambda: crew_of(node).count(Duty.STANDBY) == 1)
    before = ids(node)
    await crash_the_manager(node)
    assert ids(node) == before
    node.manager.cast(ScaleVersion(ONE, 3, "busy"))
    # Who stood by serves at once, and another is started to stand by.
    await until(lambda: len(ids(node)) == 3 and crew_of(node).count(Duty.STANDBY) == 1)
    assert set(before) < set(ids(node))
    node.manager.cast(ReleaseInstance(ONE))
    await nothing_of(node, ONE)
    assert node.directory.of(ONE) == ()


async def test_a_private_connection_to_a_version_that_sleeps_wakes_it(node: Node) -> None:
    ensure(node, min=0)
    await node.told(InstanceUp)
    node.manager.cast(SleepVersion(ONE, "nobody called"))
    await node.event("INSTANCE_DRAINED")

    own = await node.manager.call(OpenPrivate(ONE, SoleClient({"sampling": {}}, _nothing)), timeout_s=10)
    assert "result" in await call(own)
    node.manager.cast(SleepVersion(ONE, "nobody called"))  # not while a client has a connection of its own
    ensure(node, min=0)
    await node.told(InstanceUp, 3)
    assert ids(node) == ["hello@1#2"]


async def test_a_version_sleeps_lists_and_is_woken_by_the_first_real_call(node: Node) -> None:
    ensure(node, min=0)
    await node.told(InstanceUp)
    (before,) = node.directory.of(ONE)
    node.manager.cast(SleepVersion(ONE, "nobody called"))
    assert (await node.told(InstanceDown)).expected
    await node.event("INSTANCE_DRAINED")
    (asleep,) = node.directory.of(ONE)
    assert (asleep.instance, asleep.contract, crew_of(node).asleep_since_s > 0) == (
        "hello@1#asleep",
        before.contract,
        True,
    )
    listed = await asleep.request("tools/list", None, era=Era.MODERN)
    assert [tool["name"] for tool in listed["result"]["tools"]] == ["crash", "echo"]
    assert len(node.events("INSTANCE_START")) == 1
    answers = await asyncio.gather(*(call(asleep) for _ in range(5)))
    assert all("result" in answer for answer in answers)
    assert ids(node) == ["hello@1#2"]
    assert [event.status for event in node.events("VERSION_WOKEN")] == ["PENDING", "SUCCESS"]
    assert (crew_of(node).asleep_since_s, await node.told(InstanceUp, 2)) is not None


async def test_a_version_that_cannot_be_woken_says_why_and_is_tried_again(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    script = f"import os, sys, runpy\nif os.path.exists({str(flag)!r}): sys.exit('no licence')\n"
    script += f"sys.argv = ['raw']; runpy.run_path({RAW[-1]!r}, run_name='__main__')\n"
    ensure(node, RAW[0], "-S", "-c", script, min=0)
    await node.told(InstanceUp)
    flag.touch()
    node.manager.cast(SleepVersion(ONE, "nobody called"))
    await node.told(InstanceDown)
    (asleep,) = node.directory.of(ONE)
    with pytest.raises(Unavailable, match=r"cannot wake hello@1: .*no licence"):
        await call(asleep)
    assert "no licence" in (await node.told(InstanceBroken)).reason
    assert node.directory.of(ONE) == (asleep,)
    with pytest.raises(Unavailable, match="no licence"):  # at once: nothing is started for it
        await call(asleep)
    assert len(node.events("INSTANCE_START")) == 2
    with pytest.raises(Unavailable, match=r"it cannot be woken: .*no licence"):
        await node.manager.call(OpenPrivate(ONE, SoleClient({}, _nothing)), timeout_s=10)
    assert "no licence" in crew_of(node).wake_failure
    flag.unlink()
    ensure(node, RAW[0], "-S", "-c", script, min=0)  # as the version machine does after a while
    assert "result" in await asyncio.wait_for(_eventually(asleep), 10)
    assert crew_of(node).wake_failure == ""


async def _nothing(_method: str, _params: dict[str, Any], _request_id: str | int) -> dict[str, Any]:
    return {"result": {}}


async def _eventually(endpoint: Endpoint) -> dict[str, Any]:
    while True:
        try:
            return await call(endpoint)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_a_call_wakes_all_versions_of_its_service(node: Node) -> None:
    for number, version in enumerate((ONE, TWO), start=1):
        node.manager.cast(EnsureInstance(version, LaunchSpec(command=RAW), None, scale=Scale(min=0)))
        await node.told(InstanceUp, number)
        node.manager.cast(SleepVersion(version, "nobody called"))
        await node.event("INSTANCE_DRAINED", number)
    (asleep,) = node.directory.of(TWO)
    assert "result" in await call(asleep)
    await until(
        lambda: [str(each.instance) for each in node.directory.of_service(ONE.service)] == ["hello@1#2", "hello@2#2"]
    )


async def test_what_sleeps_is_found_again_by_another_manager_and_can_be_released(node: Node) -> None:
    ensure(node, min=0)
    await node.told(InstanceUp)
    node.manager.cast(SleepVersion(ONE, "nobody called"))
    await node.event("INSTANCE_DRAINED")
    await crash_the_manager(node)
    (asleep,) = node.directory.of(ONE)
    assert "result" in await call(asleep)
    node.manager.cast(SleepVersion(ONE, "nobody called"))
    await node.event("INSTANCE_DRAINED", 2)
    node.manager.cast(ReleaseInstance(ONE))
    await nothing_of(node, ONE)
    assert node.directory.of(ONE) == ()


async def test_a_call_under_way_keeps_a_version_awake(node: Node) -> None:
    ensure(node, min=0)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    waiting = asyncio.ensure_future(endpoint.request("tools/call", {"name": "wait"}, era=Era.LEGACY))
    await asyncio.sleep(0)
    node.manager.cast(SleepVersion(ONE, "nobody called"))
    ensure(node, min=0)
    await node.told(InstanceUp, 2)
    assert node.directory.of(ONE) == (endpoint,)
    waiting.cancel()


async def test_a_second_instance_that_grows_too_big_is_told_to_the_version_machine(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("henslowe.actors.instances.scaler.WEIGH_S", 0.0)
    ensure(node)
    await node.told(InstanceUp)
    scaler = await Scaler.start_link(node.board, Wishes(ScaleSettings(), HealthSettings(max_rss_mb=0.001)))
    await until(lambda: scaler.send(Tick()) or len(node.events("INSTANCE_REPLACED")) == 1)
    assert not [message for message in node.heard if isinstance(message, VersionOutgrown)]
    await until(lambda: scaler.send(Tick()) or [m for m in node.heard if isinstance(m, VersionOutgrown)])
    told = await node.told(VersionOutgrown)
    assert told.version == ONE
    assert "health.max_rss_mb is 0.001" in told.why
    await scaler.stop(block=False)


async def test_the_scaler_gives_more_instances_to_a_queue_replaces_the_big_and_lets_the_idle_rest(node: Node) -> None:
    ensure(node, min=0, max=2)
    await node.told(InstanceUp)
    wishes = Wishes(ScaleSettings(min=0, max=2, target_queue=1, idle_s=0.01), HealthSettings(max_rss_mb=0.001))
    scaler = await Scaler.start_link(node.board, wishes)
    (first,) = node.directory.of(ONE)
    waiting = [asyncio.ensure_future(call(first, "wait")) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(2):
        scaler.send(Tick())
    await until(lambda: len(ids(node)) == 2)
    scaled = await node.event("VERSION_SCALED")
    assert scaled.data["why"] == "2 calls in flight or waiting, 1 per instance"
    replaced = await node.event("INSTANCE_REPLACED")
    assert "health.max_rss_mb is 0.001" in replaced.data["why"]
    for each in waiting:
        each.cancel()
    wishes.limits = HealthSettings()
    await until(lambda: scaler.send(Tick()) or crew_of(node).dormant is not None)
    assert (await node.event("VERSION_ASLEEP")).data["why"] == "nobody called for 0.01 s"
    wishes.numbers = ScaleSettings(min=2, max=2, standby=1)
    await until(lambda: scaler.send(Tick()) or (len(ids(node)), crew_of(node).count(Duty.STANDBY)) == (2, 1))
    await scaler.stop(block=False)
