"""The rehearsal's actor over a real capture, with servers that are coroutines of this process."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors import names
from henslowe.actors.endpoints import Contract, EndpointDirectory, EndpointState, Era, JsonObject, ServerFacts
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.kernel import LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import ClosePrivate, OpenPrivate, Rehearse, Rehearsed, Resemblance
from henslowe.actors.rehearsal import Rehearsal, running
from henslowe.config.settings import CaptureSettings, DeliverySettings
from henslowe.errors import Unavailable, UpstreamLost
from henslowe.storage.capture import FLUSH, WRITER_NAME, Captures, Exchange
from henslowe.testing import Probe, Supervised, assert_receive, supervised

HELLO = ServiceName("hello")
OLD, NEW = VersionKey(HELLO, 1), VersionKey(HELLO, 2)
Function = Callable[[JsonObject], Awaitable[JsonObject]]


def text(said: str) -> JsonObject:
    return {"result": {"content": [{"type": "text", "text": said}]}}


def failure(said: str) -> JsonObject:
    return {"result": {"content": [{"type": "text", "text": said}], "isError": True}}


async def echoes(params: JsonObject) -> JsonObject:
    return text(f"it is {params['arguments']['n']}")


class Server:
    """An endpoint with one read-only tool."""

    def __init__(self, version: VersionKey, function: Function, instance: str = "") -> None:
        self.version, self.instance = version, InstanceId(instance or f"{version}#1")
        self.state, self.in_flight = EndpointState.READY, 0
        self.facts = ServerFacts(Era.LEGACY, "2025-11-25", {}, {})
        self.contract = Contract(tools=({"name": "look", "annotations": {"readOnlyHint": True}},))
        self.asked: list[JsonObject] = []
        self._function = function

    async def request(self, method: str, params: JsonObject | None, *, timeout_s: float, **_: Any) -> JsonObject:
        assert method == "tools/call"
        assert params is not None
        self.asked.append(params)
        async with asyncio.timeout(timeout_s):
            return await self._function(params)

    def notify(self, method: str, params: JsonObject | None) -> None:
        raise AssertionError(f"expected no notification, got {method}")


class Instances(LoopActor):
    """Plays the instance manager: opens fresh copies."""

    def __init__(self, fresh: dict[VersionKey, Function], open_now: set[str]) -> None:
        super().__init__()
        self._fresh, self._open = fresh, open_now

    def handle_call(self, message: OpenPrivate, _sender: Any) -> Server:
        if message.version not in self._fresh:
            raise Unavailable("no")
        self._open.add(f"{message.version}~1")
        return Server(message.version, self._fresh[message.version], f"{message.version}~1")

    def handle_cast(self, message: ClosePrivate) -> None:
        self._open.discard(str(message.instance))


class World:
    """A capture, a directory, and the actor between them."""

    def __init__(self, group: Supervised, captures: Captures) -> None:
        self.group, self.captures, self.directory = group, captures, EndpointDirectory()
        self.fresh: dict[VersionKey, Function] = {}
        self.open_now: set[str] = set()
        self.probe = Probe()
        self._count = 0

    async def start(self) -> None:
        await self.group.start_spec(self.captures.child_spec())
        self.probe = (await self.group.start(Probe, name=names.VERSIONS))._actor
        await self.group.start(Instances, self.fresh, self.open_now, name=names.INSTANCES)
        args = (self.captures, self.directory, DeliverySettings(), random.Random(1))
        self.ref = await self.group.start(Rehearsal, *args, name=names.REHEARSAL)

    async def record(self, calls: int, took_s: float = 0.01, **more: Any) -> None:
        for _ in range(calls):
            self._count += 1
            params = {"name": "look", "arguments": {"n": self._count, **more}}
            answer = text("x")
            self.captures.recorder.record(
                Exchange("hello", 1, "i", "u", True, "legacy", "tools/call", params, answer, "ok", took_s, True)
            )
        await registry.via(WRITER_NAME).call(FLUSH, 5.0)

    def serve(self, old: Function, new: Function) -> tuple[Server, Server]:
        servers = Server(OLD, old), Server(NEW, new)
        self.fresh.update({OLD: old, NEW: new})
        for server in servers:
            self.directory.add(server)
        return servers

    async def rehearse(self, budget_s: float = 5.0) -> Rehearsed:
        self.ref.cast(Rehearse(NEW, 1, budget_s))
        found: Rehearsed = await assert_receive(self.probe, Rehearsed, 10.0)
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    ticks = itertools.count(1)
    captures = Captures(tmp_path, CaptureSettings(), lambda: (next(ticks), next(ticks)), clean=True)
    async with supervised() as group:
        made = World(group, captures)
        await made.start()
        yield made
    captures.close()


async def test_nothing_captured_is_no_evidence_and_asks_nobody(world: World) -> None:
    old, new = world.serve(echoes, echoes)
    found = await world.rehearse()
    assert (found.found, found.why) == (Resemblance.UNKNOWN, "nothing to replay")
    assert not old.asked
    assert not new.asked


async def test_each_captured_call_goes_once_to_the_new_version_and_twice_to_the_active_one(world: World) -> None:
    await world.record(20)
    old, new = world.serve(echoes, echoes)
    found = await world.rehearse()
    assert (found.version, found.against, found.found) == (NEW, 1, Resemblance.ALIKE)
    assert found.why == "20 calls replayed beside v1: 20 alike"
    assert (len(new.asked), len(old.asked)) == (20, 40)
    assert {params["_meta"]["henslowe/replay"] for params in new.asked} == {True}


async def test_a_version_that_fails_what_the_active_one_answers_fails(world: World) -> None:
    async def broken(_: JsonObject) -> JsonObject:
        return failure("boom")

    await world.record(2)
    world.serve(echoes, broken)
    found = await world.rehearse()
    assert found.found is Resemblance.FAILS
    assert found.report["evidence"] >= 100
    assert found.report["confirmed"]["failed_new"] >= 8
    assert found.why.endswith("look: tool_error: boom")
    assert not world.open_now, "the fresh copies were given back"


async def test_a_call_that_needs_the_state_of_the_running_process_is_not_held_against_a_new_one(world: World) -> None:
    async def forgetful(_: JsonObject) -> JsonObject:
        return failure("no such note")

    await world.record(5)
    world.serve(echoes, forgetful)
    world.fresh[OLD] = forgetful
    found = await world.rehearse()
    assert found.found is Resemblance.ALIKE
    assert "a fresh copy of v1 fails them too" in found.why
    assert found.report["confirmed"]["calls"] == 5, "once is enough"
    again = await world.rehearse()
    assert again.why == "nothing to replay; left out: 5 that need what a process remembers"


async def test_without_a_fresh_copy_a_tool_that_complains_is_told_and_a_server_that_breaks_fails(world: World) -> None:
    async def complains(_: JsonObject) -> JsonObject:
        return failure("no such note")

    async def breaks(_: JsonObject) -> JsonObject:
        return {"error": {"code": -32603, "message": "boom"}}

    await world.record(3)
    _, server = world.serve(echoes, complains)
    world.fresh.clear()
    assert (await world.rehearse()).found is Resemblance.DIFFERS
    server._function = breaks
    assert (await world.rehearse()).found is Resemblance.FAILS


async def test_a_version_that_fails_now_and_then_is_found_by_more_calls(world: World) -> None:
    luck = random.Random(2)

    async def flaky(params: JsonObject) -> JsonObject:
        return failure("unlucky") if luck.random() < 0.2 else await echoes(params)

    await world.record(150)
    world.serve(echoes, flaky)
    found = await world.rehearse()
    assert found.found is Resemblance.FAILS
    assert found.report["confirmed"]["calls"] < 170


async def test_a_server_that_listens_has_no_fresh_copy(world: World) -> None:
    async def complains(_: JsonObject) -> JsonObject:
        return failure("no such note")

    await world.record(3)
    world.serve(echoes, complains)
    world.ref.cast(Rehearse(NEW, 1, 5.0, on_pipes=False))
    assert (await assert_receive(world.probe, Rehearsed, 10.0)).found is Resemblance.DIFFERS


async def test_what_is_random_in_both_versions_is_no_difference(world: World) -> None:
    count = itertools.count()

    async def counts(_: JsonObject) -> JsonObject:
        return text(str(next(count)))

    await world.record(5)
    world.serve(counts, counts)
    found = await world.rehearse()
    assert (found.found, found.why) == (
        Resemblance.ALIKE,
        "5 calls replayed beside v1: 5 alike",
    )


async def test_a_different_answer_is_told_with_its_place(world: World) -> None:
    async def shouts(params: JsonObject) -> JsonObject:
        return text(f"IT IS {params['arguments']['n']}")

    await world.record(3)
    world.serve(echoes, shouts)
    found = await world.rehearse()
    assert found.found is Resemblance.DIFFERS
    assert found.report["paths"] == [{"tool": "look", "path": "content[].text", "calls": 3}]
    assert found.report["examples"][0]["new"].startswith("IT IS")


async def test_sixty_calls_will_do_where_somebody_waits_for_their_edit(world: World) -> None:
    await world.record(70)
    world.serve(echoes, echoes)
    world.ref.cast(Rehearse(NEW, 1, 5.0, short=True))
    report = (await assert_receive(world.probe, Rehearsed, 10.0)).report
    assert (report["calls"], report["skipped"]["over"]) == (60, 10)


async def test_slow_calls_are_made_one_by_one_after_the_quick_ones(world: World) -> None:
    at_once: list[int] = []
    order: list[int] = []
    under_way = 0

    async def counts(params: JsonObject) -> JsonObject:
        nonlocal under_way
        under_way += 1
        at_once.append(under_way)
        order.append(params["arguments"]["n"])
        await asyncio.sleep(0)
        under_way -= 1
        return text("x")

    await world.record(2, took_s=3.0)
    await world.record(6)
    world.serve(echoes, counts)
    assert (await world.rehearse()).report["calls"] == 8
    assert max(at_once[:6]) > 1
    assert at_once[6:] == [1, 1]
    assert sorted(order[6:]) == [1, 2]


async def test_time_that_is_up_ends_it_with_what_was_found(world: World) -> None:
    never = asyncio.Event()

    async def hangs(_: JsonObject) -> JsonObject:
        await never.wait()
        raise AssertionError

    await world.record(5)
    world.serve(hangs, echoes)
    found = await world.rehearse(budget_s=0.3)
    assert (found.found, found.report["calls"]) == (Resemblance.UNKNOWN, 0)


async def test_a_server_that_ends_is_waited_for_and_its_end_is_a_failure(world: World) -> None:
    await world.record(1)
    _, new = world.serve(echoes, echoes)

    async def dies(_: JsonObject) -> JsonObject:
        world.directory.remove(new)
        asyncio.get_running_loop().call_later(0.05, world.directory.add, new)
        raise UpstreamLost("it ended", sent=True)

    new._function = dies
    world.fresh.pop(NEW)
    found = await world.rehearse()
    assert found.found is Resemblance.FAILS
    assert found.why.endswith("look: crash: it ended")


async def test_a_server_that_stays_away_is_left_to_its_supervisor(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "BACK_S", 0.1)
    await world.record(3)
    world.serve(echoes, echoes)
    world.directory.remove(world.directory.of(NEW)[0])
    found = await world.rehearse()
    assert (found.found, found.report["failed_new"]) == (Resemblance.UNKNOWN, 0)


async def test_a_run_that_breaks_by_itself_keeps_no_version_waiting(world: World) -> None:
    async def nonsense(_: JsonObject) -> JsonObject:
        raise ZeroDivisionError

    await world.record(1)
    world.serve(echoes, nonsense)
    found = await world.rehearse()
    assert (found.found, found.why) == (Resemblance.UNKNOWN, "the replay failed; the node's log says why")


async def test_another_version_of_the_service_ends_the_run_before(world: World) -> None:
    never, began = asyncio.Event(), asyncio.Event()

    async def hangs(_: JsonObject) -> JsonObject:
        began.set()
        await never.wait()
        raise AssertionError

    await world.record(2)
    third = Server(VersionKey(HELLO, 3), echoes)
    world.directory.add(third)
    old, _ = world.serve(hangs, echoes)
    world.ref.cast(Rehearse(NEW, 1, 60.0))
    await began.wait()
    old._function = echoes
    world.ref.cast(Rehearse(third.version, 1, 5.0))
    found = await assert_receive(world.probe, Rehearsed)
    assert (found.version, found.found) == (third.version, Resemblance.ALIKE)


async def test_arguments_with_secrets_are_counted_and_not_sent(world: World) -> None:
    await world.record(1)
    await world.record(2, password="hunter2 hunter2")
    _, new = world.serve(echoes, echoes)
    found = await world.rehearse()
    assert found.why == "1 call replayed beside v1: 1 alike; left out: 2 with secrets"
    assert len(new.asked) == 1
