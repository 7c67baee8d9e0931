"""Children that write more than anybody asked for are read more slowly, logged a little, and still answer."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from henslowe.actors.endpoints import JsonObject
from henslowe.transport.mcp import jsonrpc, stdio
from henslowe.transport.mcp.stdio import GARBAGE_LOGGED, LINES_AT_ONCE, READ_BYTES, UNASKED_BURST, StdioLink

GARBAGE = b"this is not JSON-RPC\n"
NOTIFICATION = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n'


class Pipe:
    """Both ends of a child: what it wrote is read as fast as the link takes it, and each request is answered."""

    def __init__(self, flood: bytes, lines: int) -> None:
        self.flood = flood
        self.left = lines
        self.read_lines = 0
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def read(self, _count: int) -> bytes:
        if self.left <= 0:
            return await self._answers.get()
        await asyncio.sleep(0)
        lines = min(self.left, READ_BYTES // len(self.flood))
        self.left -= lines
        self.read_lines += lines
        return self.flood * lines

    def write(self, data: bytes) -> None:
        for line in data.splitlines():
            message: JsonObject = orjson.loads(line)
            if "id" in message:
                self._answers.put_nowait(jsonrpc.reply(message["id"], {"result": {}}) + b"\n")

    async def drain(self) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool:
        return False


@contextlib.asynccontextmanager
async def linked(pipe: Pipe) -> AsyncIterator[tuple[StdioLink, list[JsonObject]]]:
    heard: list[JsonObject] = []

    async def refuse(*_: Any) -> JsonObject:
        return jsonrpc.refusal("any")

    link = StdioLink(
        pipe,  # type: ignore[arg-type]
        pipe,
        peer="hello@1#1",
        on_event=heard.append,
        on_closed=lambda _: None,
        on_request=refuse,
        in_flight_max=10,
        message_bytes_max=1_000_000,
    )
    link.opened()
    try:
        yield link, heard
    finally:
        await link.close()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("line", [GARBAGE, NOTIFICATION], ids=["no JSON-RPC", "notifications"])
async def test_a_flood_is_left_in_the_pipe_once_the_allowance_is_used(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stdio, "UNASKED_PER_S", 1.0)  # else a slow machine allows for more while this is counted
    pipe = Pipe(line, 1_000_000)
    allowed = int(UNASKED_BURST) + 2 * READ_BYTES // len(line)
    async with linked(pipe):
        await turns(2 * allowed // LINES_AT_ONCE)  # enough for twice as many
        assert UNASKED_BURST <= pipe.read_lines <= allowed
        assert pipe.left > 0, "there is more, and the loop had time for it"


async def test_a_child_that_said_too_much_still_answers() -> None:
    pipe = Pipe(GARBAGE, int(UNASKED_BURST) + 1_000)
    async with linked(pipe) as (link, _):
        answer = await link.exchange("ping", None, timeout_s=5.0)
    assert answer == {"result": {}}


async def test_a_pipe_full_of_answers_leaves_others_their_turns() -> None:
    """Each answer may wake a call: hundreds of them in one turn of the loop would hold everybody up."""
    seen: list[int] = []

    async def bystander(heard: list[JsonObject]) -> None:
        while True:
            seen.append(len(heard))
            await asyncio.sleep(0)

    pipe = Pipe(NOTIFICATION, READ_BYTES // len(NOTIFICATION))
    async with linked(pipe) as (link, heard):
        looking = asyncio.create_task(bystander(heard))
        await link.exchange("ping", None, timeout_s=5.0)
        looking.cancel()
    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert sum(steps) == READ_BYTES // len(NOTIFICATION)
    assert max(steps) <= LINES_AT_ONCE


async def test_garbage_is_counted_and_logged_a_little(caplog: pytest.LogCaptureFixture) -> None:
    pipe = Pipe(GARBAGE, 5_000)
    with caplog.at_level(logging.WARNING):
        async with linked(pipe) as (link, _):
            await link.exchange("ping", None, timeout_s=5.0)
            assert link.garbage_lines == 5_000
    logged = [record for record in caplog.records if record.message == "stdout_not_json"]
    assert GARBAGE_LOGGED < len(logged) <= GARBAGE_LOGGED + 13, "the first ones, then every power of two"


async def test_notifications_within_the_allowance_are_all_heard() -> None:
    pipe = Pipe(NOTIFICATION, 2_000)
    async with linked(pipe) as (link, heard):
        await link.exchange("ping", None, timeout_s=5.0)
    assert len(heard) == 2_000
