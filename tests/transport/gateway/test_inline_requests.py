"""Which requests are served without a task: whole ones on a connection that rests, of who may come in."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from henslowe.actors.endpoints import Era
from henslowe.transport.connections import ClientConnection
from tests.transport.gateway.inline_place import ROOT_TOKEN, Client, both, modern, place, request_bytes
from tests.transport.gateway.world import call_body, until


class Pieces:
    """Lets a client's bytes arrive in pieces that are known."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._came: Counter[Any] = Counter()
        take = ClientConnection.data_received

        def taken(connection: ClientConnection, data: bytes) -> None:
            assert connection.transport is not None
            self._came[connection.transport.get_extra_info("peername")] += len(data)
            take(connection, data)

        monkeypatch.setattr(ClientConnection, "data_received", taken)

    async def send(self, client: Client, *pieces: bytes) -> None:
        """Write each once the listener has taken the one before it."""
        address = client.writer.get_extra_info("sockname")
        for piece in pieces:
            expected = self._came[address] + len(piece)
            client.writer.write(piece)
            async with asyncio.timeout(5):
                while self._came[address] < expected:
                    await asyncio.sleep(0)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Pieces:
    return Pieces(monkeypatch)


def numbered(number: int, tool: str = "echo") -> bytes:
    return request_bytes({**call_body(tool), "id": number}, headers=modern(tool))


async def answered_id(client: Client) -> int:
    status, _, body = await client.answer()
    assert status == 200
    return int(orjson.loads(body)["id"])


async def test_requests_behind_a_call_without_a_task_are_answered_after_it_in_their_order(pieces: Pieces) -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        await pieces.send(client, numbered(0, "waits"), *map(numbered, range(1, 5)))
        assert at.inline.begun == 1
        at.server.release.set()
        assert [await answered_id(client) for _ in range(5)] == [0, 1, 2, 3, 4]
        assert at.inline.begun == 1, "what waits in a queue is left to tasks"
        await pieces.send(client, numbered(5))
        assert await answered_id(client) == 5
        assert at.inline.begun == 2, "the connection rests again"
        await until(at.at_rest)


async def test_a_body_in_pieces_is_left_to_a_task_and_the_next_request_is_not(pieces: Pieces) -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        await pieces.send(client, numbered(0)[:-5], numbered(0)[-5:])
        assert await answered_id(client) == 0
        assert at.inline.begun == 0
        await pieces.send(client, numbered(1))
        assert await answered_id(client) == 1
        assert at.inline.begun == 1


@pytest.mark.parametrize("sent", ["a head in pieces", "two requests in one piece"])
async def test_a_connection_on_which_requests_are_not_told_apart_by_their_pieces_is_left_to_tasks(
    pieces: Pieces, sent: str
) -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        if sent == "a head in pieces":
            await pieces.send(client, numbered(0)[:40], numbered(0)[40:], numbered(1))
        else:
            await pieces.send(client, numbered(0) + numbered(1))
        assert [await answered_id(client) for _ in range(2)] == [0, 1]
        await pieces.send(client, numbered(2))
        assert await answered_id(client) == 2
        assert at.inline.begun == 0


@pytest.mark.parametrize("without_task", [True, False])
async def test_what_is_no_request_behind_a_call_is_refused_after_the_call_s_answer(
    pieces: Pieces, without_task: bool
) -> None:
    async with place() as at, Client.of(at.inline_port if without_task else at.task_port) as client:
        await pieces.send(client, numbered(1, "waits"), b"\0 no request\r\n\r\n")
        at.server.release.set()
        assert await answered_id(client) == 1
        assert (await client.answer())[0] == 400
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        assert at.inline.begun == int(without_task)
        await until(at.at_rest)


async def test_who_may_not_come_in_is_turned_away_as_with_a_task() -> None:
    async with place(open_mcp=False) as at:
        for token in ("", "Bearer wrong", f"Bearer {ROOT_TOKEN}"):
            first, second = await both(at, call_body("echo"), Authorization=token, **modern("echo"))
            assert first == second
            assert first[0] == (200 if ROOT_TOKEN in token else 401)
        assert at.inline.begun == 1


async def test_each_request_is_counted_once_by_the_limit_of_its_client() -> None:
    async with place(rate_per_s=0.001) as at, Client.of(at.inline_port) as client:
        said = []
        for _ in range(4):
            client.send(call_body("echo"), **modern("echo"))
            said.append((await client.answer())[0])
        assert said == [200, 200, 200, 429]
        assert at.door.limiter is not None
        assert at.door.limiter.refused == 1


async def test_a_read_that_its_server_lets_be_kept_is_asked_once() -> None:
    async with place(Era.LEGACY, cache_tools={"shop/read": 60_000}) as at, Client.of(at.inline_port) as client:
        for _ in range(3):
            client.send(call_body("read"), **modern("read"))
            assert (await client.answer())[0] == 200
        assert at.server.calls.count("read") == 1
        assert at.inline.begun == 1
