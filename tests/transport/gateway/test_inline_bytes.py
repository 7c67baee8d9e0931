"""Any bytes in any pieces on one connection are answered and recorded in each way as in the others."""

from __future__ import annotations

import asyncio
import itertools
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from henslowe.actors.endpoints import Era
from henslowe.transport.connections import ClientConnection
from tests.transport.gateway.inline_place import Client, Place, legacy_body, modern, place, request_bytes
from tests.transport.gateway.world import call_body, until

TURNS = 200
"""Of the loop, in which a call ends as a rule."""
LAST = b"GET /nowhere HTTP/1.1\r\nHost: localhost:80\r\nConnection: close\r\n\r\n"
LENGTH = re.compile(rb"Content-Length: (\d+)")
LENGTHS = [
    *(b"Content-Length: %b\r\nContent-Length: %b", b"Content-Length: %b\r\nContent-Length: 1%b"),
    *(
        b"X-ength: 5\r\nContent-Length: %b",
        b"X: ength: 5\r\nContent-Length: %b",
        b"X: Content-Length: 7\r\nX-ength: %b",
    ),
    *(
        b"Content-Length : %b",
        b"Content-Length:%b",
        b"content-length: %b",
        b"Content-Length: %b \t",
        b"Content-Length:",
    ),
    *(b"Content-Length: 0%b", b"Content-Length: +%b", b"Content-Length: \r\n %b", b"X: y\r\n Content-Length: %b"),
    *(b"X: y\nContent-Length: %b", b"X: \0\r\nContent-Length: %b", b"Expect: 100-continue\r\nContent-Length: %b"),
    *(b"Transfer-Encoding: chunked\r\nContent-Length: %b", b"Transfer-Encoding: identity\r\nContent-Length: %b"),
]
"""Ways to write a length, right and wrong ones."""
OTHERS = [
    b"GET /mcp HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
    b"HEAD /mcp/shop HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 3\r\n\r\nabc",
    b"CONNECT a:1 HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 5\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
    b"POST /mcp/shop HTTP/1.1\r\nHost: localhost:80\r\nX: ",
    b"GET",
    b"\r\n",
    b"\r\n\r\n",
]
tools = st.sampled_from(["echo", "echo", "fails", "busy", "streams", "batches", "large"])


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """A call without its session, as it should be."""
    number, tool = draw(st.integers(0, 99)), draw(tools)
    if draw(st.booleans()):
        return request_bytes(legacy_body(tool, number), headers={"Mcp-Session-Id": "SESSION"})
    return request_bytes({**call_body(tool, {"n": number}), "id": number}, headers=modern(tool))


@st.composite
def nearly_calls(draw: st.DrawFn) -> bytes:
    """A call whose frame is unusual, or not right."""
    call = draw(calls())
    head, _, body = call.partition(b"\r\n\r\n")
    if draw(st.integers(0, 3)) == 0:  # whose body is a request
        return LENGTH.sub(b"Content-Length: %d" % len(call), head) + b"\r\n\r\n" + call
    if draw(st.booleans()):
        form = draw(st.sampled_from(LENGTHS))
        return LENGTH.sub(lambda found: form.replace(b"%b", found[1]), call)
    changes = [
        LENGTH.sub(b"Transfer-Encoding: chunked", head) + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body),
        LENGTH.sub(b"Content-Length: %d" % (len(body) + draw(st.integers(-5, 5))), call),
        call.replace(b"HTTP/1.1", b"HTTP/1.0", 1),
        call.replace(b"\r\n", b"\n"),
        call.replace(b"localhost", b"LOCALHOST"),
    ]
    return draw(st.sampled_from(changes))


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[bytes], list[bool]]:
    """What a client writes in pieces, and after which of them it waits."""
    one = st.one_of(calls(), calls(), nearly_calls(), st.sampled_from(OTHERS))
    said = [draw(calls()), *draw(st.lists(one, max_size=5)), LAST]
    data, marks = b"".join(said), {0}
    if draw(st.integers(0, 3)):
        marks |= set(itertools.accumulate(map(len, said)))
    if draw(st.booleans()):
        marks |= {found.end() for found in re.finditer(b"\r\n\r\n", data)}
    marks |= {draw(st.integers(0, len(data))) for _ in range(draw(st.sampled_from([0, 0, 1, 3])))}
    pieces = [data[a:b] for a, b in itertools.pairwise(sorted(marks | {len(data)}))]
    return pieces, draw(st.lists(st.booleans(), min_size=len(pieces), max_size=len(pieces)))


class Wire:
    """Hands the listeners' connections bytes in pieces that are known; nothing is lost with a connection that ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._made: dict[Any, ClientConnection] = {}
        made = ClientConnection.connection_made

        def remembered(connection: ClientConnection, transport: asyncio.BaseTransport) -> None:
            self._made[transport.get_extra_info("peername")] = connection
            made(connection, transport)

        monkeypatch.setattr(ClientConnection, "connection_made", remembered)

    async def of(self, client: Client) -> ClientConnection:
        """The listener's side of a client's connection, ready for its first request."""
        address = client.writer.get_extra_info("sockname")
        await until(lambda: address in self._made)
        connection = self._made.pop(address)
        await until(lambda: connection._waiter is not None)
        return connection


async def played(at: Place, port: int, wire: Wire, written: list[bytes], waits: list[bool]) -> tuple[object, ...]:
    """All that comes back until the listener ends the connection, and what was recorded."""
    async with Client.of(port) as client:
        connection = await wire.of(client)
        for piece, wait in zip(written, waits, strict=True):
            if connection.transport is None:
                break
            connection.data_received(piece)
            for _ in range(TURNS if wait else 1):
                if connection._waiter is not None and not connection._waiter.done():
                    break
                await asyncio.sleep(0)
        said = await asyncio.wait_for(client.reader.read(), 5)
    await until(at.at_rest)
    for varying in (rb"Date: [^\r]*\r\n", rb"[0-9a-f]{12}\.\d"):
        said = re.sub(varying, b"", said)
    # How bytes that are no request are refused depends on whether something else was under way.
    said = said.replace(b"HTTP/1.0 400", b"HTTP/1.1 400").replace(b"Connection: close\r\n", b"")
    return said, *at.recorded()


@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_any_bytes_are_answered_and_recorded_as_they_are_with_tasks_and_with_a_router(
    era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, wire = asyncio.get_running_loop(), Wire(monkeypatch)
    async with place(era) as at:
        session = (await at.session()).encode()

        async def compare(stream: list[bytes], waits: list[bool]) -> None:
            written = [piece.replace(b"SESSION", session) for piece in stream]
            without_task = await played(at, at.inline_port, wire, written, waits)
            assert without_task == await played(at, at.task_port, wire, written, waits)
            assert without_task == await played(at, at.router_port, wire, written, waits)

        @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
        @given(streams())
        def check(stream: tuple[list[bytes], list[bool]]) -> None:
            asyncio.run_coroutine_threadsafe(compare(*stream), loop).result(20)

        await asyncio.to_thread(check)
        assert at.inline.begun
