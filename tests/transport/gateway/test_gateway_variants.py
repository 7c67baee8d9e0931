"""A/B by header, stickiness and mirroring at the gateway: who is served by which version, and what copies cost."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from henslowe.actors import names
from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.messages import Mirrored
from henslowe.actors.routes import Route
from henslowe.actors.variants import rule_of
from henslowe.config.exposure import AbTest, Exposure
from henslowe.testing import Probe, assert_receive, supervised
from tests.transport.gateway.world import LocalServer, World, saying, text, tool, until, version, world

V1, V2 = version("hello", 1), version("hello", 2)
AB = Exposure(ab=AbTest(header="x-variant", values={"b": "candidate", "a": "stable"}))
READS = {"look": tool("look", annotations={"readOnlyHint": True})}


def rollout(exposure: Exposure = AB, weight: int = 0) -> Route:
    return Route(V1.service, V1, V2, weight, "salt", 1, rule=rule_of(exposure, rollout=True))


def both(gw: World) -> None:
    gw.up(LocalServer(V1, {"who": saying("one")}))
    gw.up(LocalServer(V2, {"who": saying("two")}))


async def who(gw: World, **headers: str) -> str:
    _, body, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "who", "arguments": {}}, **headers)
    return str(body["result"]["content"][0]["text"])


async def in_session(gw: World, session: str, **headers: str) -> str:
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "who", "arguments": {}}}
    _, body, _ = await gw.post("/mcp/hello", call, Mcp_Session_Id=session, **headers)
    return str(body["result"]["content"][0]["text"])


async def test_a_client_of_either_era_chooses_its_arm_by_a_header() -> None:
    async with world() as gw:
        both(gw)
        gw.route(rollout())
        assert [await who(gw), await who(gw, X_Variant="b"), await who(gw, X_Variant="a")] == ["one", "two", "one"]
        session = await gw.initialize("/mcp/hello")
        assert [await in_session(gw, session), await in_session(gw, session, X_Variant="b")] == ["one", "two"]
        assert [record.chosen for record in gw.observations.take()] == [False, True, True, False, True]


async def test_the_aggregate_endpoint_knows_the_header_too() -> None:
    async with world() as gw:
        both(gw)
        gw.route(rollout())
        named = {"name": "hello_who", "arguments": {}}
        _, body, _ = await gw.modern("/mcp", "tools/list")
        named["name"] = body["result"]["tools"][0]["name"]
        _, body, _ = await gw.modern("/mcp", "tools/call", named, X_Variant="b")
        assert body["result"]["content"][0]["text"] == "two"


async def test_sessions_of_one_client_stay_together_where_the_service_says_so() -> None:
    async with world() as gw:
        both(gw)
        gw.route(rollout(Exposure(sticky="client"), weight=5_000))
        arms = {await in_session(gw, await gw.initialize("/mcp/hello")) for _ in range(12)}
        units = {record.unit for record in gw.observations.take()}
        assert len(arms) == len(units) == 1
        gw.route(replace(rollout(Exposure(), weight=5_000), salt="other"))
        arms = {await in_session(gw, await gw.initialize("/mcp/hello")) for _ in range(24)}
        assert arms == {"one", "two"}, "by default each session has its own coin"


# -- mirroring ----------------


class Mirrored3:
    """A mirrored route before two servers, and the router's mailbox."""

    def __init__(self, gw: World, probe: Probe) -> None:
        self.gw, self.probe = gw, probe

    def serve(self, new: Any, percent: int = 10_000) -> tuple[LocalServer, LocalServer]:
        old = self.gw.up(LocalServer(V1, {"look": saying("seen"), "write": saying("done")}, listed=READS))
        candidate = self.gw.up(LocalServer(V2, {"look": new, "write": saying("done")}, listed=READS))
        self.gw.route(Route(V1.service, V1, V2, 0, "salt", 1, mirror=percent))
        return old, candidate

    async def call(self, name: str = "look") -> str:
        _, body, _ = await self.gw.modern("/mcp/hello", "tools/call", {"name": name, "arguments": {}})
        return str(body["result"]["content"][0]["text"])

    async def copied(self) -> Mirrored:
        found: Mirrored = await assert_receive(self.probe, Mirrored)
        return found


async def test_a_mirrored_call_is_asked_of_the_candidate_and_answered_by_the_stable_version() -> None:
    async with supervised() as group, world() as gw:
        probe: Probe = (await group.start(Probe, name=names.ROUTER))._actor
        mirrored = Mirrored3(gw, probe)
        old, new = mirrored.serve(saying("other"))
        assert await mirrored.call() == "seen"
        found = await mirrored.copied()
        assert (found.version, found.epoch, found.asked.tool) == (V2, 1, "look")
        assert found.asked.new.body["content"][0]["text"] == "other"
        assert [each.body["content"][0]["text"] for each in (*found.asked.others, *found.asked.beside)] == ["seen"] * 2
        assert (old.calls, new.calls) == (["look", "look"], ["look"])
        assert len(gw.observations.take()) == 1, "copies are no traffic"


async def test_only_calls_that_change_nothing_are_copied() -> None:
    async with supervised() as group, world() as gw:
        mirrored = Mirrored3(gw, (await group.start(Probe, name=names.ROUTER))._actor)
        _, new = mirrored.serve(saying("seen"))
        for _ in range(5):
            await mirrored.call("write")
        await mirrored.call()
        await mirrored.copied()
        assert new.calls == ["look"]


async def test_a_candidate_that_hangs_delays_nobody_and_what_is_too_much_is_dropped_and_counted() -> None:
    never = asyncio.Event()

    async def hangs(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        await never.wait()
        return text("late")

    async with supervised() as group, world() as gw:
        mirrored = Mirrored3(gw, (await group.start(Probe, name=names.ROUTER))._actor)
        mirrored.serve(hangs)
        async with asyncio.timeout(5):
            for _ in range(80):
                assert await mirrored.call() == "seen"
        assert gw.gateway._mirror.dropped > 0
        never.set()
        await mirrored.copied()


async def test_a_part_of_the_calls_is_copied_and_none_of_a_route_without_a_mirror() -> None:
    async with supervised() as group, world() as gw:
        mirrored = Mirrored3(gw, (await group.start(Probe, name=names.ROUTER))._actor)
        _, new = mirrored.serve(saying("seen"), percent=3_000)
        for _ in range(60):
            await mirrored.call()
        await until(lambda: not gw.gateway._mirror._workers)
        assert 3 <= len(new.calls) <= 40
        before = len(new.calls)
        gw.route(Route(V1.service, V1, V2, 0, "salt", 2))
        await mirrored.call()
        assert len(new.calls) == before
        assert not gw.gateway._mirror._workers
