"""`Last-Event-ID`: a client of the handshake era whose connection broke misses nothing, and hears nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.actors.replay.rows import ReplayRow
from henslowe.transport.gateway import replay as replay_module
from henslowe.transport.gateway.replay import EventId, NoReplayStore, ReplayLog
from tests.transport.gateway.world import ACCEPT, LocalServer, World, echo, events, text, tool, until, version, world

V1 = version("hello")
URI = "file:///a"


class Store:
    """Keeps what a log wants kept, as the table does."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str, int], ReplayRow] = {}

    def rows(self) -> list[ReplayRow]:
        return [self.kept[key] for key in sorted(self.kept)]

    def change(self, added: list[JsonObject], dropped: list[tuple[str, str]]) -> None:
        self.kept = {key: row for key, row in self.kept.items() if key[:2] not in dropped}
        for fields in added:
            row = ReplayRow(**fields)
            self.kept[row.session, row.stream, row.number] = row


class Steps:
    """A tool that says a step whenever it is told to, and counts how often it was called."""

    def __init__(self) -> None:
        self.calls = 0
        self.go: asyncio.Queue[str] = asyncio.Queue()
        self.cancelled = asyncio.Event()

    async def __call__(self, _params: JsonObject, notify: OnNotification) -> JsonObject:
        self.calls += 1
        try:
            while (step := await self.go.get()) != "done":
                notify({"method": "notifications/message", "params": {"level": "info", "data": step}})
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return text(f"after {self.calls} calls")


@asynccontextmanager
async def calling(gw: World, session: str, steps: Steps) -> AsyncIterator[str]:
    """A call whose first step was heard, until its client hangs up; the id of that step's event."""
    steps.go.put_nowait("one")
    body = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "steps"}}
    headers = {"Mcp-Session-Id": session, "Accept": ACCEPT}
    async with gw.http.post(f"{gw.url}/mcp/hello", json=body, headers=headers) as response:
        event_id, message = await anext(events(response))
        assert message["params"]["data"] == "one"
        yield event_id


async def resumed(gw: World, session: str, last: str, count: int) -> list[tuple[str, JsonObject]]:
    """The first events of a stream that is taken up again."""
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream", "Last-Event-ID": last}
    found: list[tuple[str, JsonObject]] = []
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as response:
        assert response.status == 200
        heard = events(response)
        while len(found) < count:
            found.append(await anext(heard))
    return found


async def test_a_call_goes_on_without_its_client_which_misses_nothing(gw: World) -> None:
    steps = Steps()
    gw.serve(LocalServer(V1, {"steps": steps}))
    session = await gw.initialize("/mcp/hello")
    async with calling(gw, session, steps) as last:
        pass
    for word in ("two", "three", "done"):
        steps.go.put_nowait(word)
    messages = [message for _, message in await resumed(gw, session, last, 3)]
    assert [message["params"]["data"] for message in messages[:2]] == ["two", "three"]
    assert (messages[2]["id"], messages[2]["result"]["content"][0]["text"]) == (5, "after 1 calls")
    assert not steps.cancelled.is_set()


async def test_a_client_that_comes_back_early_hears_the_rest_as_it_happens(gw: World) -> None:
    steps = Steps()
    gw.serve(LocalServer(V1, {"steps": steps}))
    session = await gw.initialize("/mcp/hello")
    async with calling(gw, session, steps) as last:
        pass
    coming = asyncio.ensure_future(resumed(gw, session, last, 2))
    for word in ("two", "done"):
        steps.go.put_nowait(word)
    (event_id, first), _ = await asyncio.wait_for(coming, 5)
    assert first["params"]["data"] == "two"
    assert (await resumed(gw, session, event_id, 1))[0][1]["id"] == 5  # once more, from there


async def test_what_belongs_to_another_session_is_not_told(gw: World) -> None:
    steps = Steps()
    gw.serve(LocalServer(V1, {"steps": steps}))
    session, stranger = await gw.initialize("/mcp/hello"), await gw.initialize("/mcp/hello")
    async with calling(gw, session, steps) as last:
        pass
    steps.go.put_nowait("done")
    told = (await resumed(gw, stranger, last, 1))[0][1]  # its own change stream, and what it may have missed there
    assert told["method"].endswith("list_changed")


async def test_a_client_may_still_cancel_what_it_left(gw: World) -> None:
    steps = Steps()
    gw.serve(LocalServer(V1, {"steps": steps}))
    session = await gw.initialize("/mcp/hello")
    async with calling(gw, session, steps) as last:
        pass
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
    await until(lambda: bool(gw.gateway._serving._detached))
    await gw.post("/mcp/hello", cancel, Mcp_Session_Id=session)
    await asyncio.wait_for(steps.cancelled.wait(), 5)
    assert (await resumed(gw, session, last, 1))[0][1]["error"]["data"]["code"] == "cancelled"


async def test_events_of_a_lost_change_stream_are_told_once(gw: World) -> None:
    server = gw.serve(LocalServer(V1, {"echo": echo}, resources={URI: "x"}))
    session = await gw.initialize("/mcp/hello")
    await gw.legacy("/mcp/hello", session, "resources/subscribe", {"uri": URI})
    headers = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    updated = {"method": "notifications/resources/updated", "params": {"uri": URI}}
    async with gw.http.get(f"{gw.url}/mcp/hello", headers=headers) as response:
        heard = events(response)
        await until(lambda: URI in server.watched)
        gw.gateway.server_event(V1, updated)
        last, _ = await anext(heard)
    await until(lambda: gw.registry.get_sample_value("henslowe_gateway_streams") == 0)
    gw.gateway.server_event(V1, updated)  # while nobody is connected
    again, message = (await resumed(gw, session, last, 1))[0]
    assert message["params"] == {"uri": URI}
    assert again != last
    gw.gateway.server_event(V1, updated)
    assert (await resumed(gw, session, again, 1))[0][0] not in (last, again)


def message(number: int, size: int = 10) -> bytes:
    return b'{"n":%d}' % number + b" " * size


class Place:
    """A log with a clock and small bounds."""

    def __init__(self, store: Any = None, **limits: Any) -> None:
        self.now_s = 1_000.0
        self.open = {"s", "t"}
        defaults = {"replay_s": 60.0, "replay_events_max": 4, "replay_session_bytes_max": 200, "replay_bytes_max": 300}
        self.log = ReplayLog(
            store or NoReplayStore(),
            SimpleNamespace(**{**defaults, **limits}),
            lambda session: session in self.open,
            clock=lambda: self.now_s,
        )


async def test_streams_and_sessions_and_all_of_them_have_bounds() -> None:
    place = Place()
    log = place.log
    stream = log.open("s", {"id": 1})
    for number in range(10):
        log.append(stream, message(number))
    assert [number for number, _ in stream.since(0)] == [7, 8, 9, 10]
    log.append(stream, b"", last=True)
    other = log.open("s", {"id": 2})
    log.append(other, message(0, 190), last=True)
    assert log.find("s", stream.id()) is None  # the oldest that is done made room
    third = log.open("t", {"id": 3})
    log.append(third, message(0, 150))
    assert log.size <= 200 + 200
    for number in range(100):
        log.append(log.open("t", {"id": number}), b"x", last=True)
    assert len(log) <= 2 * replay_module.STREAMS_MAX
    log.end_session("t")
    log.end_session("s")
    assert (len(log), log.size) == (0, 0)
    log.close()


async def test_what_is_old_or_belongs_to_nobody_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "SWEEP_S", 0.01)
    place = Place()
    log = place.log
    done, under_way = log.open("s", {"id": 1}), log.open("s", {"id": 2})
    log.append(done, b"x", last=True)
    log.append(under_way, b"x")
    place.now_s += 61
    await until(lambda: len(log) == 1)
    assert log.find("s", under_way.id()) is not None
    place.open.clear()
    await until(lambda: len(log) == 0)
    log.close()


async def test_what_was_sent_at_once_is_never_written_and_the_rest_is() -> None:
    store = Store()
    log = Place(store).log
    quick, lost = log.open("s", {"id": 1}), log.open("s", {"id": 2, "method": "tools/call"})
    for stream in (quick, lost):
        log.append(stream, b"answer", last=True)
    log.done(quick)
    log.close()
    assert {row.stream for row in store.rows()} == {lost.name}
    revived = Place(store).log
    revived.recover()
    found = revived.find("s", lost.id(0))
    assert found is not None
    stream, event_id = found
    assert (stream.complete, stream.since(event_id.number)) == (True, [(1, b"answer")])
    revived.end_session("s")
    revived.close()
    assert store.rows() == []


@pytest.mark.parametrize("annotations", [{"readOnlyHint": True}, {}])
async def test_a_call_that_died_with_the_node_is_made_again_if_that_is_safe(annotations: JsonObject) -> None:
    store, steps = Store(), Steps()
    listed = {"steps": tool("steps", annotations=annotations)} if annotations else {}
    async with world(replay=store) as gw:
        gw.serve(LocalServer(V1, {"steps": steps}, listed=listed))
        session = await gw.initialize("/mcp/hello")
        async with calling(gw, session, steps) as last:
            await until(lambda: len(store.kept) == 2)
            kept = dict(store.kept)  # as a node leaves it that is killed now
    store.kept = kept
    async with world(replay=store) as gw:
        await gw.sessions.open(session, scope="hello", protocol_version="2025-11-25", client_info={}, capabilities={})
        gw.gateway.start()
        gw.serve(LocalServer(V1, {"steps": steps}, listed=listed))
        steps.go.put_nowait("done")
        answer = (await resumed(gw, session, last, 1))[0][1]
        if annotations:
            assert answer["result"]["content"][0]["text"] == "after 2 calls"
        else:
            assert answer["error"]["data"] == {"code": "upstream_lost", "sent": True}
            assert steps.calls == 1


@pytest.mark.parametrize("text", ["", "x", ".1", "a.", "a.-1", "a.1x", "a.99999999999999999999", "é.²"])
def test_what_is_no_id_of_ours_is_none(text: str) -> None:
    assert EventId.parse(text) is None


def test_ids_are_read_back() -> None:
    for event_id in (EventId("ab", 7), EventId("ab", 7, "note.d")):
        assert EventId.parse(str(event_id)) == event_id
