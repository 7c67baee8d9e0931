"""What is kept of what a server prints: all of it in moderation, and of a flood no more than the rate."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors.ids import InstanceId
from henslowe.actors.instances.output import BURST_S, Output, OutputRate
from tests.actors.instances.small_node import ONE, Node, small_node

FLOOD_LINES = 20_000


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with small_node(tmp_path) as running:
        yield running


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def kept(node: Node) -> tuple[list[str], int]:
    """The lines that reached the bus until it was told how many were left out, and that number."""

    def look() -> tuple[list[str], int] | None:
        events = node.events("INSTANCE_OUTPUT")
        notes = [event.data["line"] for event in events if event.data["channel"] == "note"]
        left_out = sum(int(re.match(r"(\d+) lines left out", note)[1]) for note in notes)  # type: ignore[index]
        return (
            ([event.data["line"] for event in events if event.data["channel"] != "note"], left_out) if notes else None
        )

    return await node.until(look)


async def test_a_burst_of_lines_is_kept_and_beyond_it_as_many_as_time_allows(node: Node) -> None:
    clock = Clock()
    output = Output(ONE, InstanceId("hello@1#1"), OutputRate(lines_per_s=4, bytes_per_s=65_536), clock=clock)
    for number in range(50):
        output.line("stderr", f"first {number}")
    clock.now_s += 1
    for number in range(50):
        output.line("stderr", f"then {number}")
    output.close()
    lines, left_out = await kept(node)
    burst = int(4 * BURST_S)
    assert lines == [f"first {n}" for n in range(burst)] + [f"then {n}" for n in range(4)]
    assert left_out == 100 - len(lines)
    assert output.last_line() == "then 49"


async def test_long_lines_are_limited_by_their_bytes(node: Node) -> None:
    output = Output(ONE, InstanceId("hello@1#1"), OutputRate(lines_per_s=1_000, bytes_per_s=1_024), clock=Clock())
    for _ in range(30):
        output.line("stdout", "é" * 512)
    output.close()
    lines, left_out = await kept(node)
    assert (len(lines), left_out) == (BURST_S, 20)


async def test_a_server_that_floods_its_standard_error_writes_no_more_than_the_rate(node: Node) -> None:
    script = f"import sys; sys.stderr.write(('x' * 1000 + '\\n') * {FLOOD_LINES}); sys.exit(4)"
    node.ensure(ONE, sys.executable, "-S", "-E", "-c", script)
    lines, left_out = await kept(node)
    rate = OutputRate()
    assert len(lines) + left_out == FLOOD_LINES
    assert sum(map(len, lines)) < 3 * BURST_S * rate.bytes_per_s
