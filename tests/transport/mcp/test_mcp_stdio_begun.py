"""Exchanges over pipes that are begun without a task: what whoever began one is told, and that nothing is left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from henslowe.actors.endpoints import EndpointState, Era, JsonObject, OnNotification
from henslowe.errors import UpstreamLost
from henslowe.transport.mcp.begun import Begun
from henslowe.transport.mcp.endpoint import McpEndpoint
from tests.transport.mcp.harness import RAW, call, opened


@dataclass
class Caller:
    """Whoever began a call."""

    answers: list[tuple[JsonObject, int]] = field(default_factory=list)
    troubles: int = 0
    something: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, answer: JsonObject, size: int) -> None:
        self.answers.append((answer, size))
        self.something.set()

    def troubled(self) -> None:
        self.troubles += 1
        self.something.set()

    async def told(self) -> None:
        async with asyncio.timeout(5):
            await self.something.wait()


def begin(
    endpoint: McpEndpoint,
    caller: Any,
    tool: str,
    *,
    timeout_s: float = 5.0,
    on_notification: OnNotification | None = None,
    **arguments: Any,
) -> Begun | None:
    params = {"name": tool, "arguments": arguments}
    return endpoint.begin(
        "tools/call",
        params,
        era=Era.LEGACY,
        headers={},
        timeout_s=timeout_s,
        on_notification=on_notification,
        told=caller,
    )


def begun(endpoint: McpEndpoint, caller: Any, tool: str, **options: Any) -> Begun:
    found = begin(endpoint, caller, tool, **options)
    assert found is not None
    return found


def left(endpoint: McpEndpoint) -> tuple[int, int, int]:
    """What is counted as under way: at the endpoint, at the link, among its deadlines."""
    link: Any = endpoint._link
    return endpoint.in_flight, link.in_flight, len(link._deadlines)


async def cancelled(endpoint: McpEndpoint) -> tuple[list[int], list[int]]:
    """The calls that wait at the server, and those that it was told to cancel."""
    told = (await call(endpoint, "waiting"))["result"]["structuredContent"]
    return told["waiting"], told["cancelled"]


async def waits(endpoint: McpEndpoint, number: int) -> None:
    """Return once so many calls wait at the server."""
    async with asyncio.timeout(5):
        while len((await cancelled(endpoint))[0]) < number:
            pass


async def test_an_answer_is_told_with_its_size_and_is_that_of_an_ordinary_call() -> None:
    async with opened(*RAW) as endpoint:
        caller = Caller()
        begun(endpoint, caller, "echo", text="x" * 5_000)
        assert left(endpoint) == (1, 1, 1)
        await caller.told()
        ordinary = await call(endpoint, "echo", text="x" * 5_000)
        for answer in (caller.answers[0][0], ordinary):
            del answer["result"]["structuredContent"]["id"]
        ((answer, size),) = caller.answers
        assert answer == ordinary
        assert 5_000 < size < 5_500
        assert (left(endpoint), caller.troubles) == ((0, 0, 0), 0)


async def test_calls_that_are_begun_in_one_turn_meet_their_own_answers() -> None:
    async with opened(*RAW) as endpoint:
        callers = [Caller() for _ in range(20)]
        for number, caller in enumerate(callers):
            begun(endpoint, caller, "echo", number=number)
        assert endpoint.in_flight == 20
        for number, caller in enumerate(callers):
            await caller.told()
            assert caller.answers[0][0]["result"]["structuredContent"]["params"]["arguments"] == {"number": number}
        assert left(endpoint) == (0, 0, 0)


async def test_what_the_server_says_ahead_of_the_answer_is_told_before_it() -> None:
    order: list[str] = []

    class Ordered(Caller):
        def answered(self, answer: JsonObject, size: int) -> None:
            order.append("answer")
            super().answered(answer, size)

    async with opened(*RAW) as endpoint:
        caller = Ordered()
        begun(endpoint, caller, "progress", on_notification=lambda said: order.append(said["method"]))
        await caller.told()
        assert order == ["notifications/message", "answer"], "nobody asked for progress"


async def test_an_error_and_an_answer_that_is_too_long_are_answers() -> None:
    async with opened(*RAW, message_bytes_max=50_000) as endpoint:
        for tool, code in (("nope", -32602), ("big", -32603)):
            caller = Caller()
            begun(endpoint, caller, tool, bytes=100_000)
            await caller.told()
            assert caller.answers[0][0]["error"]["code"] == code
        assert left(endpoint) == (0, 0, 0)


async def test_a_call_whose_time_is_over_is_trouble_and_is_cancelled_at_the_server_by_whoever_goes_on() -> None:
    async with opened(*RAW) as endpoint:
        caller = Caller()
        call_ = begun(endpoint, caller, "wait", timeout_s=0.05)
        await caller.told()
        assert (caller.troubles, caller.answers) == (1, [])
        with pytest.raises(TimeoutError):
            await call_.answer()
        waiting, told = await cancelled(endpoint)
        assert waiting == told != []
        assert left(endpoint) == (0, 0, 0)


async def test_a_call_may_go_on_in_a_task_that_waits_for_the_same_answer() -> None:
    async with opened(*RAW) as endpoint:
        caller = Caller()
        answer = await asyncio.wait_for(begun(endpoint, caller, "echo", a=1).answer(), 5)
        assert answer["result"]["structuredContent"]["params"]["arguments"] == {"a": 1}
        assert (caller.answers, caller.troubles) == ([], 0), "from then on nobody is told anything"
        assert left(endpoint) == (0, 0, 0)
        assert "result" in await call(endpoint, "echo")


async def test_a_task_that_is_cancelled_while_it_waits_cancels_the_call_at_the_server() -> None:
    async with opened(*RAW) as endpoint:
        waiting = asyncio.ensure_future(begun(endpoint, Caller(), "wait").answer())
        await waits(endpoint, 1)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        numbers, told = await cancelled(endpoint)
        assert numbers == told
        assert left(endpoint) == (0, 0, 0)


async def test_a_call_that_is_abandoned_is_cancelled_at_the_server_and_nobody_is_told() -> None:
    async with opened(*RAW) as endpoint:
        caller = Caller()
        call_ = begun(endpoint, caller, "wait")
        await waits(endpoint, 1)
        call_.abandon()
        assert left(endpoint) == (0, 0, 0)
        numbers, told = await cancelled(endpoint)
        assert numbers == told
        assert (caller.answers, caller.troubles) == ([], 0)


async def test_a_call_that_is_abandoned_in_its_turn_never_reaches_the_server() -> None:
    async with opened(*RAW) as endpoint:
        begun(endpoint, Caller(), "wait").abandon()
        assert await cancelled(endpoint) == ([], [])
        assert left(endpoint) == (0, 0, 0)


async def test_a_server_that_dies_is_trouble_for_every_call_and_each_goes_on_to_the_loss() -> None:
    async with opened(*RAW) as endpoint:
        callers = [Caller() for _ in range(3)]
        calls = [begun(endpoint, caller, "wait") for caller in callers]
        begun(endpoint, Caller(), "crash")
        for caller, call_ in zip(callers, calls, strict=True):
            await caller.told()
            assert (caller.troubles, caller.answers) == (1, [])
            with pytest.raises(UpstreamLost) as lost:
                await call_.answer()
            assert lost.value.details["sent"] is True
        assert endpoint.state is EndpointState.GONE


async def test_whoever_is_told_of_the_end_may_abandon_its_call_at_once() -> None:
    class Leaving(Caller):
        call: Begun | None = None

        def troubled(self) -> None:
            super().troubled()
            assert self.call is not None
            self.call.abandon()

    async with opened(*RAW) as endpoint:
        callers = [Leaving() for _ in range(3)]
        for caller in callers:
            caller.call = begun(endpoint, caller, "wait")
        crash = begun(endpoint, Caller(), "crash")
        for caller in callers:
            await caller.told()
            assert caller.troubles == 1
        with pytest.raises(UpstreamLost):
            await crash.answer()
        assert left(endpoint) == (0, 0, 0)


async def test_nothing_is_begun_beyond_the_limit_or_at_a_server_that_is_gone() -> None:
    async with opened(*RAW, in_flight_max=2) as endpoint:
        calls = [begun(endpoint, Caller(), "wait") for _ in range(2)]
        assert begin(endpoint, Caller(), "echo") is None
        assert left(endpoint) == (2, 2, 2)
        calls[0].abandon()
        caller = Caller()
        begun(endpoint, caller, "crash")
        await caller.told()
        assert begin(endpoint, Caller(), "echo") is None
        link: Any = endpoint._link
        options = {"timeout_s": 5.0, "headers": {}, "on_notification": None, "told": Caller()}
        calls[1].abandon()
        assert link.in_flight < 2
        assert link.begin("ping", None, **options) is None


async def test_a_request_that_json_cannot_say_leaves_nothing_behind() -> None:
    async with opened(*RAW) as endpoint:
        for unsayable in (2**70, "\ud800", {1, 2}):
            with pytest.raises(TypeError):
                begin(endpoint, Caller(), "echo", value=unsayable)
        assert left(endpoint) == (0, 0, 0)
        caller = Caller()
        begun(endpoint, caller, "echo")
        await caller.told()
        assert "result" in caller.answers[0][0]


async def test_a_connection_that_is_closed_is_trouble_for_what_is_under_way() -> None:
    caller = Caller()
    async with opened(*RAW) as endpoint:
        call_ = begun(endpoint, caller, "wait")
        await waits(endpoint, 1)
        await endpoint.close()
        assert caller.troubles == 1
        with pytest.raises(UpstreamLost):
            await call_.answer()
        assert left(endpoint) == (0, 0, 0)
