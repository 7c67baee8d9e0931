"""What a client asked for once, on connections of its own: it is asked of the next one, too."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from henslowe.actors.endpoints import JsonObject
from tests.transport.gateway.asking import TWO, Place, text_of
from tests.transport.gateway.world import events, initialize_body

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


WATCHED = "file:///watched"


@asynccontextmanager
async def listening(place: Place) -> AsyncIterator[tuple[str, Any]]:
    """A session that can be asked for its roots, and its event stream."""
    body = initialize_body()
    body["params"]["capabilities"] = {"roots": {}}
    _, _, headers = await place.gw.post("/mcp/hello", body)
    session = headers["Mcp-Session-Id"]
    sent = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
    async with place.gw.http.get(f"{place.gw.url}/mcp/hello", headers=sent) as stream:
        yield session, stream


async def updates(stream: Any) -> JsonObject:
    """The next update of a resource."""
    async for _, event in events(stream):
        if event["method"] == "notifications/resources/updated":
            return dict(event["params"])
    raise AssertionError("the stream ended")


async def seen_by_own(place: Place, session: str) -> JsonObject:
    """What the session's own server has seen."""
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "look"}}
    headers = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
    async with place.gw.http.post(f"{place.gw.url}/mcp/hello", json=call, headers=headers) as response:
        return dict(json.loads(text_of(await response.json())))


async def test_a_session_hears_of_resources_that_only_its_own_server_knows_to_have_changed(place: Place) -> None:
    async with listening(place) as (session, stream):
        await seen_by_own(place, session)
        await place.gw.legacy("/mcp/hello", session, "resources/subscribe", {"uri": WATCHED})
        assert (await seen_by_own(place, session))["watched"] == [WATCHED]
        await call_own(place, session, "touch")
        assert await updates(stream) == {"uri": WATCHED}
        await place.gw.legacy("/mcp/hello", session, "resources/unsubscribe", {"uri": WATCHED})
        assert (await seen_by_own(place, session))["watched"] == []


@pytest.mark.parametrize("how", ["crash", "promotion"])
async def test_what_a_session_asked_for_is_asked_of_its_next_own_server_too(place: Place, how: str) -> None:
    async with listening(place) as (session, stream):
        await place.gw.legacy("/mcp/hello", session, "resources/subscribe", {"uri": WATCHED})
        await place.gw.legacy("/mcp/hello", session, "logging/setLevel", {"level": "error"})
        before = await seen_by_own(place, session)
        assert (before["watched"], before["level"]) == ([WATCHED], "error")
        if how == "crash":
            os.kill(before["pid"], signal.SIGKILL)
            await place.gone(before["pid"])
        else:
            await place.up(TWO)
        async with asyncio.timeout(5):
            while (after := await seen_by_own(place, session))["pid"] == before["pid"]:
                pass
        assert (after["watched"], after["level"]) == ([WATCHED], "error")
        await call_own(place, session, "touch")
        assert await updates(stream) == {"uri": WATCHED}


async def call_own(place: Place, session: str, tool: str) -> None:
    call = {"jsonrpc": "2.0", "id": 6, "method": "tools/call", "params": {"name": tool}}
    headers = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
    async with place.gw.http.post(f"{place.gw.url}/mcp/hello", json=call, headers=headers) as response:
        assert response.status == 200


async def test_a_session_hears_what_its_own_server_says_of_its_task(place: Place) -> None:
    async with listening(place) as (session, stream):
        call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "look", "task": {}}}
        headers = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
        async with place.gw.http.post(f"{place.gw.url}/mcp/hello", json=call, headers=headers) as response:
            task_id = (await response.json())["result"]["task"]["taskId"]
        assert task_id != "t1", "the gateway's own"
        await call_own(place, session, "finish")
        async for _, event in events(stream):
            if event["method"] == "notifications/tasks/status":
                assert (event["params"]["taskId"], event["params"]["status"]) == (task_id, "completed")
                return
        raise AssertionError("the stream ended")
