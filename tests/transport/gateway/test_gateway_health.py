"""Servers that do not answer are left alone, busy ones are not overrun, and repeats stay a share of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.health import BreakerPolicy, HealthPolicy, LimiterPolicy
from henslowe.actors.routes import Route
from henslowe.errors import UpstreamLost
from henslowe.transport.gateway.budget import LEAST, RepeatBudget
from tests.transport.gateway.world import LocalServer, World, saying, text, tool, until, version, world

V1, V2 = version("hello", 1), version("hello", 2)
POLICY = HealthPolicy(BreakerPolicy(failures=3, open_s=30.0), limiter=LimiterPolicy(start=2, least=2, most=2))


@pytest.fixture
async def gw() -> AsyncIterator[World]:
    async with world(health=POLICY, waiting_max=4) as running:
        yield running


class Failing:
    """A tool that breaks its connection as long as it is told to; the server itself stays up."""

    def __init__(self) -> None:
        self.failing = True
        self.calls = 0

    async def __call__(self, _params: JsonObject, _notify: OnNotification) -> JsonObject:
        self.calls += 1
        if self.failing:
            raise UpstreamLost("cannot call: the server answered 502", sent=True, status=502)
        return text("well")


async def call(gw: World, name: str = "t", path: str = "/mcp/hello") -> tuple[JsonObject, Any]:
    _, answer, headers = await gw.modern(path, "tools/call", {"name": name, "arguments": {}})
    return answer, headers


async def test_a_server_that_does_not_answer_is_left_alone_and_callers_are_told_for_how_long(gw: World) -> None:
    failing = Failing()
    gw.serve(LocalServer(V1, {"t": failing}))
    for _ in range(3):
        assert (await call(gw))[0]["error"]["data"]["code"] == "upstream_lost"
    answer, headers = await call(gw)
    assert failing.calls == 3
    assert answer["error"]["data"]["reason"] == "circuit_open"
    assert answer["error"]["data"]["retry_after_s"] in (29, 30)
    assert headers["Retry-After"] == str(answer["error"]["data"]["retry_after_s"])
    sample = gw.registry.get_sample_value
    assert sample("henslowe_gateway_breaker_changes_total", {"service": "hello", "state": "open"}) == 1


async def test_calls_go_to_the_instance_that_answers(gw: World) -> None:
    failing = Failing()
    gw.serve(LocalServer(V1, {"t": failing}))
    gw.up(LocalServer(V1, {"t": saying("well")}))
    answers = [(await call(gw))[0] for _ in range(20)]
    assert sum("error" in answer for answer in answers) <= 3
    assert all("result" in answer for answer in answers[-10:])


async def test_a_call_waits_for_a_server_that_is_about_to_be_tried_again() -> None:
    policy = HealthPolicy(BreakerPolicy(failures=1, open_s=0.05))
    async with world(health=policy) as gw:
        failing = Failing()
        gw.serve(LocalServer(V1, {"t": failing}))
        await call(gw)
        failing.failing = False
        assert (await call(gw))[0]["result"]["content"][0]["text"] == "well"


async def test_stable_serves_while_the_canary_is_left_alone(gw: World) -> None:
    failing = Failing()
    gw.serve(LocalServer(V1, {"t": saying("stable")}))
    gw.up(LocalServer(V2, {"t": failing}))
    gw.route(Route(V1.service, V1, canary=V2, canary_weight=10_000, salt="s"))
    for _ in range(3):
        await call(gw)
    assert (await call(gw))[0]["result"]["content"][0]["text"] == "stable"


async def test_errors_that_a_server_answers_open_nothing(gw: World) -> None:
    async def broken(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        return text("no", isError=True)

    server = gw.serve(LocalServer(V1, {"t": broken}))
    for _ in range(20):
        assert (await call(gw))[0]["result"]["isError"] is True
    assert len(server.calls) == 20


class Slow:
    """A tool that answers when it is told to."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.running = self.most = 0

    async def __call__(self, _params: JsonObject, _notify: OnNotification) -> JsonObject:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.release.wait()
        self.running -= 1
        return text("done")


async def test_calls_beyond_the_limit_wait_their_turn_and_those_beyond_the_queue_fail_at_once(gw: World) -> None:
    slow = Slow()
    server = gw.serve(LocalServer(V1, {"t": slow}))
    gw.serve(LocalServer(version("other"), {"t": saying("well")}))
    calls = [asyncio.ensure_future(call(gw)) for _ in range(2 + 4)]
    await until(lambda: gw.registry.get_sample_value("henslowe_gateway_waiting") == 4)
    assert server.in_flight == 2
    answer, headers = await call(gw)
    assert answer["error"]["data"]["code"] == "limit_reached"
    assert headers["Retry-After"] == "1"
    assert "result" in (await call(gw, path="/mcp/other"))[0]  # another service does not notice
    slow.release.set()
    assert all("result" in answer for answer, _ in await asyncio.gather(*calls))
    assert slow.most == 2


async def test_a_call_that_waits_and_is_given_up_leaves_its_turn_to_the_next(gw: World) -> None:
    slow = Slow()
    gw.serve(LocalServer(V1, {"t": slow}))
    calls = [asyncio.ensure_future(call(gw)) for _ in range(4)]
    await until(lambda: gw.registry.get_sample_value("henslowe_gateway_waiting") == 2)
    calls[2].cancel()
    await until(lambda: gw.registry.get_sample_value("henslowe_gateway_waiting") == 1)
    slow.release.set()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(each, tuple) and "result" in each[0] for each in done) == 3


async def test_repeats_are_a_share_of_the_calls() -> None:
    now_s = [0.0]
    budget = RepeatBudget(20.0, lambda: now_s[0])
    for _ in range(1_000):
        budget.called("hello")
    taken = sum(budget.take("hello") for _ in range(1_000))
    assert 200 <= taken <= 201
    assert sum(budget.take("quiet") for _ in range(1_000)) == LEAST
    now_s[0] = 60.0
    assert budget.take("hello")


async def test_safe_tools_are_not_repeated_beyond_the_budget() -> None:
    never_open = HealthPolicy(BreakerPolicy(failures=1_000, calls_min=1_000))
    async with world(health=never_open, repeats_percent=0) as gw:
        failing = Failing()
        listed = {"t": tool("t", annotations={"readOnlyHint": True})}
        gw.serve(LocalServer(V1, {"t": failing}, listed=listed))
        for _ in range(LEAST):
            await call(gw)
        assert failing.calls == 2 * LEAST
