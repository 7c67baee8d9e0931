"""A service that sleeps, seen by its clients: lists at once, sessions that stay, and a first call that waits."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest
from mcp.client import Client

from henslowe.actors.endpoints import Endpoint, Era, SoleClient
from henslowe.actors.ids import VersionKey
from henslowe.errors import LimitReached, Unavailable
from henslowe.transport.gateway.dialogue import Ask, Dialogues
from henslowe.transport.gateway.private import Privates, SessionClient
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.mcp import DormantEndpoint
from tests.transport.gateway.test_gateway_real_server import V1, Instances, instances
from tests.transport.gateway.world import World, until

__all__ = ["instances"]


class Sleeper:
    """Puts the server to sleep and wakes it, as the instance manager does."""

    def __init__(self, gw: World, instances: Instances, **limits: Any) -> None:
        self.gw, self.instances, self.wakes = gw, instances, 0
        (self._before,) = gw.directory.of(V1)
        instances.keep = False
        facts, contract = self._before.facts, self._before.contract
        self.dormant = DormantEndpoint(V1, facts, contract, self._wake, **limits)
        gw.directory.add(self.dormant)
        gw.directory.remove(self._before)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.gw.directory.remove(self.dormant)
        await self._before.close()  # type: ignore[attr-defined]

    def _wake(self) -> None:
        self.wakes += 1

    async def wake(self) -> None:
        """The server is started because of a call."""
        await until(lambda: self.wakes > 0)
        await self.instances.start()
        self.gw.directory.remove(self.dormant)
        self.dormant.woken(self.gw.directory.of(V1)[0])


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_lists_without_waking_and_its_session_outlives_the_sleep(
    gw: World, instances: Instances, mode: str
) -> None:
    async with Client(f"{gw.url}/mcp/echo", mode=mode) as before:
        first = await asyncio.wait_for(before.call_tool("pid", {}), 5)
        async with Sleeper(gw, instances) as sleeper, Client(f"{gw.url}/mcp/echo", mode=mode) as newcomer:
            for client in (before, newcomer):
                assert {tool.name for tool in (await client.list_tools()).tools} == {"pid", "die", "die_writing"}
            assert sleeper.wakes == 0
            waking = asyncio.ensure_future(sleeper.wake())
            answers = await asyncio.wait_for(
                asyncio.gather(*(client.call_tool("pid", {}) for client in (before, newcomer, before))), 5
            )
            await waking
        assert {answer.content[0].text for answer in answers} != {first.content[0].text}  # type: ignore[union-attr]
        assert sleeper.wakes == 1


async def test_a_server_that_cannot_be_started_is_named_to_who_waits_and_nobody_is_blamed_for_a_call(
    gw: World, instances: Instances
) -> None:
    async with Sleeper(gw, instances) as sleeper:
        calling = asyncio.ensure_future(gw.modern("/mcp/echo", "tools/call", {"name": "pid"}))
        await until(lambda: sleeper.wakes == 1)
        sleeper.dormant.failed("it exited with status 1; it printed: no licence")
        status, answer, _ = await calling
    assert (status, answer["error"]["data"]["code"]) == (200, "unavailable")
    assert answer["error"]["message"].startswith("cannot wake echo@1: it exited with status 1; it printed: no licence")
    assert gw.observations.take() == []


async def test_calls_that_wait_are_bounded_in_number_and_time(gw: World, instances: Instances) -> None:
    async with Sleeper(gw, instances, waiting_max=1) as sleeper:
        dormant, call = sleeper.dormant, {"name": "pid"}
        waiting = asyncio.ensure_future(dormant.request("tools/call", call, era=Era.MODERN, timeout_s=0.05))
        await asyncio.sleep(0)
        with pytest.raises(LimitReached, match="1 call waiting until it is awake"):
            await dormant.request("tools/call", call, era=Era.MODERN)
        with pytest.raises(Exception, match=r"it is not up after 0\.05 s"):
            await waiting
        assert dormant.in_flight == 0


class Doors:
    """Counts the connections that would be opened."""

    def __init__(self) -> None:
        self.opened = 0

    async def open(self, version: VersionKey, client: SoleClient) -> Endpoint:
        self.opened += 1
        raise Unavailable(f"cannot open a connection to {version}")

    def close(self, endpoint: Endpoint) -> None:
        raise AssertionError(endpoint)


async def test_a_client_that_can_be_asked_something_lists_without_waking_either(
    gw: World, instances: Instances
) -> None:
    async def ask(_method: str, _params: dict[str, Any], _request_id: str | int) -> dict[str, Any]:
        return {"result": {}}

    doors = Doors()
    dialogues = Dialogues(Privates(doors, 60.0, lambda _session: True), parked_s=1.0, call_timeout_s=1.0)
    client = SessionClient("s", SoleClient({"sampling": {}}, ask))
    async with Sleeper(gw, instances) as sleeper:
        for method, opened in (("tools/list", 0), ("tools/call", 1)):
            asked = Ask(Unit("s:x", is_session=True), method, {"name": "pid"}, Era.LEGACY, session=client)
            way = await dialogues.prepare(sleeper.dormant, asked, timeout_s=1.0)
            assert (way.endpoint, doors.opened) == (sleeper.dormant, opened)
    dialogues.close()
