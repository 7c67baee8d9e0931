"""When a slow call is tried a second time, and which of the two answers counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.ids import VersionKey
from henslowe.errors import UpstreamLost
from henslowe.transport.gateway.hedging import CALLS_LEAST, FRESH_S, Hedging, first_of
from tests.transport.gateway.world import (
    CAPABILITIES,
    MODERN,
    LocalServer,
    World,
    call_body,
    text,
    tool,
    version,
    world,
)

V1: VersionKey = version("hello", 1)
CALL_HEADERS: dict[str, Any] = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/call", "Mcp_Name": "t"}


class Try:
    """One of the tries: answers, fails, or goes on until it is told."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.began = asyncio.Event()
        self.cancelled = False

    async def run(self) -> str:
        self.began.set()
        try:
            return await self.answer
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_a_first_try_that_answers_in_time_is_the_only_one() -> None:
    first, second = Try(), Try()
    first.answer.set_result("first")
    assert await first_of(first.run(), 5.0, second.run) == ("first", False)
    assert not second.began.is_set()


async def test_the_second_try_may_win_and_the_first_is_given_up() -> None:
    first, second = Try(), Try()
    second.answer.set_result("second")
    assert await first_of(first.run(), 0.0, second.run) == ("second", True)
    assert first.cancelled


async def test_the_first_try_may_win_after_the_second_began() -> None:
    first, second = Try(), Try()
    running = asyncio.ensure_future(first_of(first.run(), 0.0, second.run))
    await asyncio.wait_for(second.began.wait(), 5)
    first.answer.set_result("first")
    assert await running == ("first", False)
    assert second.cancelled


async def test_a_try_that_fails_leaves_it_to_the_other() -> None:
    for one_fails in (0, 1):
        tries = Try(), Try()
        running = asyncio.ensure_future(first_of(tries[0].run(), 0.0, tries[1].run))
        await asyncio.wait_for(tries[1].began.wait(), 5)
        tries[one_fails].answer.set_exception(UpstreamLost("lost", sent=True))
        await asyncio.sleep(0)
        tries[1 - one_fails].answer.set_result("well")
        assert await running == ("well", one_fails == 0)


async def test_when_both_fail_the_first_ones_failure_counts() -> None:
    first, second = Try(), Try()
    running = asyncio.ensure_future(first_of(first.run(), 0.0, second.run))
    await asyncio.wait_for(second.began.wait(), 5)
    second.answer.set_exception(UpstreamLost("the second", sent=True))
    first.answer.set_exception(UpstreamLost("the first", sent=True))
    with pytest.raises(UpstreamLost, match="the first"):
        await running


async def test_without_another_instance_the_first_try_is_waited_for() -> None:
    first = Try()
    running = asyncio.ensure_future(first_of(first.run(), 0.0, lambda: None))
    await asyncio.wait_for(first.began.wait(), 5)
    first.answer.set_result("first")
    assert await running == ("first", False)


async def test_a_caller_that_leaves_ends_both_tries() -> None:
    first, second = Try(), Try()
    running = asyncio.ensure_future(first_of(first.run(), 0.0, second.run))
    await asyncio.wait_for(second.began.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert first.cancelled
    assert second.cancelled


def test_patience_is_the_95th_percentile_of_late_once_enough_is_known() -> None:
    now_s = [1_000.0]
    hedging = Hedging(5.0, lambda: now_s[0])
    for number in range(CALLS_LEAST):
        assert hedging.patience_s(V1, "t") is None
        now_s[0] += FRESH_S / 1_000
        hedging.answered(V1, "t", 0.1 if number % 10 == 0 else 0.01)
    now_s[0] += FRESH_S
    assert hedging.patience_s(V1, "t") == pytest.approx(0.1, rel=0.02)
    assert hedging.patience_s(V1, "another") is None


def test_second_tries_are_a_share_of_the_calls() -> None:
    hedging = Hedging(5.0, lambda: 1_000.0)
    for _ in range(100):
        hedging.called("hello")
    assert sum(hedging.take("hello") for _ in range(100)) == 5


class Tool:
    """A tool of one instance: says its name, at once or never."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.stuck = False
        self.calls = self.given_up = 0

    async def __call__(self, _params: JsonObject, _notify: OnNotification) -> JsonObject:
        self.calls += 1
        if self.stuck:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up += 1
                raise
        return text(self.name)


async def _pair(gw: World, **hints: bool) -> tuple[Tool, Tool]:
    """Two instances of one version, whose calls are known to be quick; the one that is asked first is stuck now."""
    one, two = Tool("one"), Tool("two")
    listed = {"t": tool("t", annotations=hints)}
    gw.serve(LocalServer(V1, {"t": one}, listed=listed))
    gw.up(LocalServer(V1, {"t": two}, listed=listed))
    for _ in range(CALLS_LEAST):
        assert _said(await _call(gw)) == "one"
    one.stuck = True
    return one, two


async def _call(gw: World, meta: JsonObject | None = None) -> JsonObject:
    sent = gw.post("/mcp/hello", call_body("t", **(meta or {})), **CALL_HEADERS)
    answer: JsonObject = (await asyncio.wait_for(sent, 5))[1]
    return answer


def _said(answer: JsonObject) -> str:
    said = answer["result"]["content"][0]["text"]
    assert isinstance(said, str)
    return said


async def test_a_read_that_one_instance_is_slow_with_is_answered_by_another() -> None:
    async with world(hedge_percent=50.0, call_timeout_s=4.0) as gw:
        one, two = await _pair(gw, readOnlyHint=True)
        assert [_said(await _call(gw)) for _ in range(10)] == ["two"] * 10
        assert one.given_up == two.calls == 10
        assert gw.registry.get_sample_value("henslowe_gateway_hedges_total", {"service": "hello"}) == 10
        assert all(endpoint.in_flight == 0 for endpoint in gw.directory.of(V1))


@pytest.mark.parametrize(
    ("hints", "meta", "percent"),
    [
        ({}, {}, 50.0),
        ({"readOnlyHint": True}, {"progressToken": 1}, 50.0),
        ({"readOnlyHint": True}, {CAPABILITIES: {"elicitation": {}}}, 50.0),
        ({"readOnlyHint": True}, {}, 0.0),
    ],
    ids=["may_not_run_twice", "reports_progress", "may_be_asked_back", "switched_off"],
)
async def test_other_calls_are_tried_once(hints: dict[str, bool], meta: JsonObject, percent: float) -> None:
    async with world(hedge_percent=percent, call_timeout_s=0.2) as gw:
        one, two = await _pair(gw, **hints)
        answer = await _call(gw, meta)
        assert answer["error"]["data"]["reason"] == "timeout"
        assert one.calls == CALLS_LEAST + 1
        assert two.calls == 0
