from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from henslowe.transport.admin.feed import Feed
from henslowe.transport.admin.models.events import EventFilter
from tests.transport.admin.small_node import Served

STREAM = "/admin/v1/events/stream"


class Reader:
    """Reads frames of an event stream, each within 5 s."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def frame(self) -> dict[str, str]:
        """The next frame with an id, keepalives included."""
        async with asyncio.timeout(5):
            while True:
                fields: dict[str, str] = {}
                while line := (await self.response.content.readline()).decode().rstrip("\n"):
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                if "id" in fields or self.response.content.at_eof():
                    return fields

    async def event(self) -> dict[str, Any]:
        """The next real event, keepalives left out."""
        while True:
            frame = await self.frame()
            if "data" in frame:
                assert frame["id"] == str(json.loads(frame["data"])["seq"])
                assert frame["event"] == json.loads(frame["data"])["type"]
                return json.loads(frame["data"])


@asynccontextmanager
async def opened(session: aiohttp.ClientSession, query: str = "", **headers: str) -> AsyncIterator[Reader]:
    async with session.get(STREAM + query, headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Reader(response)


async def test_what_happens_is_streamed_as_it_happens(served: Served, local: aiohttp.ClientSession) -> None:
    await served.node.say("lifecycle", "DEPLOY_START", "PENDING", "hello", 1)
    async with opened(local) as reader:
        await reader.frame()
        await served.node.say("lifecycle", "DEPLOY_COMPLETE", "SUCCESS", "hello", 1, took_s=0.5)
        event = await reader.event()
    assert (event["type"], event["status"], event["data"]) == ("DEPLOY_COMPLETE", "SUCCESS", {"took_s": 0.5})


async def test_a_reader_that_comes_back_gets_each_missed_event_once(
    served: Served, local: aiohttp.ClientSession
) -> None:
    async with opened(local, "?since=0") as reader:
        await served.node.say("lifecycle", "PROMOTE", service="hello", version=1)
        last = (await reader.event())["seq"]
    for version in (2, 3, 4):
        await served.node.say("lifecycle", "PROMOTE", service="hello", version=version)
    async with opened(local, "?since=0", **{"Last-Event-ID": str(last)}) as reader:
        assert [(await reader.event())["version"] for _ in range(3)] == [2, 3, 4]
        await served.node.say("lifecycle", "PROMOTE", service="hello", version=5)
        assert (await reader.event())["version"] == 5


async def test_events_committed_while_others_are_sent_are_neither_lost_nor_repeated(
    served: Served, local: aiohttp.ClientSession
) -> None:
    async def write() -> None:
        for version in range(1, 601):
            await served.node.say("activity", "SESSION_OPENED", service="hello", version=version)

    async with opened(local, "?since=0&type=SESSION_OPENED") as reader:
        writing = asyncio.create_task(write())
        seen = [(await reader.event())["version"] for _ in range(600)]
        await writing
    assert seen == list(range(1, 601))


async def test_only_what_the_filter_lets_through_is_sent(served: Served, local: aiohttp.ClientSession) -> None:
    async with opened(local, "?since=0&type=CANARY_*&service=hello&version=4") as reader:
        await served.node.say("lifecycle", "CANARY_DEPLOY", service="other", version=4)
        await served.node.say("lifecycle", "PROMOTE", service="hello", version=4)
        await served.node.say("lifecycle", "CANARY_HEALTH", service="hello", version=3)
        await served.node.say("lifecycle", "CANARY_VERDICT", service="hello", version=4)
        assert (await reader.event())["type"] == "CANARY_VERDICT"


async def test_a_quiet_stream_is_kept_alive_and_moves_the_readers_cursor(
    served: Served, local: aiohttp.ClientSession
) -> None:
    async with opened(local, "?since=0&service=nobody&version=4") as reader:
        await served.node.say("lifecycle", "PROMOTE", service="nobody", version=1)
        while (frame := await reader.frame())["id"] != str(served.node.store.events.last_seq()):
            assert "data" not in frame
        assert "data" not in frame


async def test_a_stream_ends_when_its_listener_closes_and_a_new_listener_serves_new_ones(
    served: Served, local: aiohttp.ClientSession
) -> None:
    async with opened(local) as reader:
        await reader.frame()
        async with asyncio.timeout(5):
            await served.close_listener()
        while await reader.frame():
            pass
    assert served.admin.streams == 0
    await served.open_listener()
    async with opened(local) as reader:
        await reader.frame()
        await reader.frame()
        assert not reader.response.content.at_eof()


async def test_streams_beyond_the_limit_are_refused_and_a_closed_one_makes_room(
    served: Served, local: aiohttp.ClientSession
) -> None:
    served.admin.streams_max = 1
    async with opened(local) as reader:
        await reader.frame()
        async with local.get(STREAM) as response:
            assert response.status == 429
            assert "1 are open" in (await response.json())["error"]["message"]
    async with asyncio.timeout(5):
        while served.admin.streams:
            await asyncio.sleep(0)
    async with opened(local) as reader:
        await reader.frame()


@pytest.mark.parametrize("given", ["soon", "-1", "1" * 20, "١"])
async def test_a_last_event_id_that_is_none_is_refused(
    served: Served, local: aiohttp.ClientSession, given: str
) -> None:
    async with local.get(STREAM, headers={"Last-Event-ID": given}) as response:
        assert response.status == 400
        assert "Last-Event-ID" in (await response.json())["error"]["message"]


async def test_a_feed_gives_a_page_at_a_time_and_nothing_when_nothing_comes(served: Served) -> None:
    say = served.node.say
    await asyncio.gather(*(say("lifecycle", "PROMOTE", service="hello", version=version) for version in range(300)))
    with Feed(served.node.store.events, EventFilter(type=("PROMOTE",)), after_seq=0) as feed:
        first, second = await feed.next(5), await feed.next(5)
        assert (len(first), len(second)) == (256, 44)
        assert await feed.next(0.01) == []
