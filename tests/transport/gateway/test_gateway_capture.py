"""What the gateway hands to the capture: each exchange once, as it was, and never in the way of a call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from henslowe.actors.capturing import Exchange
from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.config.settings import CaptureSettings
from henslowe.errors import UpstreamLost
from henslowe.storage.capture import Recorder
from tests.transport.gateway.world import LocalServer, echo, text, tool, version, world

V1 = version("hello", 1)
READS = tool("reads", annotations={"readOnlyHint": True})


@pytest.fixture
def recorder() -> Recorder:
    numbers: Iterator[int] = itertools.count(1)
    return Recorder(CaptureSettings(), lambda: (next(numbers), next(numbers)))


def taken(recorder: Recorder) -> list[Exchange]:
    return [waiting.exchange for waiting in recorder.take(100)]


async def test_a_call_of_either_era_is_handed_over_with_its_answer(recorder: Recorder) -> None:
    async with world(capture=recorder) as gw:
        gw.serve(LocalServer(V1, {"echo": echo, "reads": echo}, listed={"reads": READS}, resources={"a:b": "c"}))
        session = await gw.initialize("/mcp/hello")
        _, legacy, _ = await gw.legacy("/mcp/hello", session, "tools/call", {"name": "echo", "arguments": {"a": 1}}, 42)
        _, modern, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "reads", "arguments": {}})
        await gw.modern("/mcp/hello", "resources/read", {"uri": "a:b"})
        await gw.modern("/mcp/hello", "tools/list")
        first, second, third = taken(recorder)
        assert (first.service, first.version, first.era, first.method) == ("hello", 1, "legacy", "tools/call")
        assert first.params is not None
        assert first.params["arguments"] == {"a": 1}
        assert first.answer is not None
        assert first.answer["result"]["content"] == legacy["result"]["content"]
        assert (first.request_id, first.unit_is_session, first.read_only, first.outcome) == (42, True, False, "ok")
        assert session not in str(first)
        assert first.latency_s > 0
        assert second.answer is not None
        assert second.answer["result"]["content"] == modern["result"]["content"]
        assert (second.era, second.unit_is_session, second.read_only, second.request_id) == ("modern", False, True, 1)
        assert (third.method, third.read_only) == ("resources/read", True)


async def test_a_lost_call_and_its_repetition_are_two_exchanges(recorder: Recorder) -> None:
    tries: list[int] = []

    async def flaky(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        tries.append(1)
        if len(tries) == 1:
            raise UpstreamLost("the connection broke", sent=True)
        return text("done")

    async with world(capture=recorder) as gw:
        gw.serve(LocalServer(V1, {"reads": flaky}, listed={"reads": READS}))
        status, _, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "reads", "arguments": {}})
        assert status == 200
        lost, done = taken(recorder)
        assert (lost.answer, lost.outcome, lost.error) == (None, "transport", "the connection broke")
        assert done.outcome == "ok"


async def test_tool_errors_and_refusals_are_recorded_as_such(recorder: Recorder) -> None:
    async def failing(_params: JsonObject, _notify: OnNotification) -> JsonObject:
        return {"content": [], "isError": True}

    async with world(capture=recorder) as gw:
        gw.serve(LocalServer(V1, {"failing": failing}))
        await gw.modern("/mcp/hello", "tools/call", {"name": "failing", "arguments": {}})
        await gw.modern("/mcp/hello", "tools/call", {"name": "nothing", "arguments": {}})
        outcomes = [exchange.outcome for exchange in taken(recorder)]
        assert outcomes[0] == "tool_error"
        assert len(outcomes) == 2


async def test_a_capture_that_wants_nothing_costs_no_exchange() -> None:
    class Unwilling:
        def wants(self, service: str, method: str, unit: str) -> bool:
            assert (service, method) == ("hello", "tools/call")
            assert unit
            return False

        def record(self, exchange: Exchange) -> None:
            raise AssertionError(f"expected nothing to be recorded, got {exchange.method}")

    async with world(capture=Unwilling()) as gw:
        gw.serve(LocalServer(V1, {"echo": echo}))
        status, _, _ = await gw.modern("/mcp/hello", "tools/call", {"name": "echo", "arguments": {}})
        assert status == 200
