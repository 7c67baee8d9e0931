"""`/mcp/<service>@<range>`: a contract that stays, whatever serves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from henslowe.actors.versions import VersionState
from henslowe.transport.gateway import ranges as ranges_module
from tests.transport.gateway.world import LocalServer, World, events, saying, version

V1, V2, V3 = version("hello", 1), version("hello", 2), version("hello", 3)


def server(key: Any, *more: str) -> LocalServer:
    return LocalServer(key, {"who": saying(str(key)), **{name: saying(name) for name in more}})


async def who(gw: World, path: str) -> Any:
    _, answer, _ = await gw.modern(path, "tools/call", {"name": "who", "arguments": {}})
    return answer["result"]["content"][0]["text"]


async def test_a_range_leads_to_its_version_and_the_service_to_what_serves(gw: World) -> None:
    gw.serve(server(V1))
    gw.serve(server(V2))
    assert await who(gw, "/mcp/hello@1") == "hello@1"
    assert await who(gw, "/mcp/hello@%5E1.0") == "hello@1"
    assert await who(gw, "/mcp/hello") == "hello@2"
    assert set(gw.held) == {V1}
    assert all(record.version != V1 for record in gw.observations.take())  # it is no evidence for either arm


async def test_a_call_waits_until_the_version_was_started_for_it(gw: World) -> None:
    gw.serve(server(V2))
    gw.version(V1)
    calling = asyncio.ensure_future(who(gw, "/mcp/hello@1"))
    async with asyncio.timeout(5):
        while V1 not in gw.held:
            await asyncio.sleep(0.001)
    gw.up(server(V1))
    assert await calling == "hello@1"


async def test_a_range_that_no_version_is_in_is_refused_with_those_that_there_are(gw: World) -> None:
    gw.serve(server(V1))
    gw.serve(server(V2))
    status, answer, _ = await gw.modern("/mcp/hello@3", "tools/list")
    assert status == 404
    assert (
        answer["error"]["message"] == "expected a range that a version of hello is in, got: '3'; there are 2.0.0, 1.0.0"
    )
    assert answer["error"]["data"]["available"] == ["2.0.0", "1.0.0"]


@pytest.mark.parametrize(("path", "status"), [("/mcp/hello@latest", 400), ("/mcp/hello@%231", 400), ("/mcp/no@1", 404)])
async def test_what_is_no_range_or_no_service_is_refused(gw: World, path: str, status: int) -> None:
    gw.serve(server(V1))
    assert (await gw.modern(path, "tools/list"))[0] == status


async def test_a_session_on_a_range_hears_when_that_means_another_version(
    gw: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges_module, "LOOK_S", 0.01)
    gw.serve(server(V1))
    gw.version(V3, "1.1.0", state=VersionState.STAGED)
    gw.up(server(V3, "new"))
    session = await gw.initialize("/mcp/hello@1.x")
    headers = {"Accept": "text/event-stream", "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
    async with gw.http.get(gw.url + "/mcp/hello@1.x", headers=headers) as stream:
        heard = events(stream)
        gw.serve(server(V2))  # outside of the range: nobody hears of it
        gw.version(V3, "1.1.0")  # it is up already, and has come to serve
        _, event = await anext(heard)
        assert event["method"] == "notifications/tools/list_changed"
    _, answer, _ = await gw.legacy("/mcp/hello@1.x", session, "tools/call", {"name": "who"})
    assert answer["result"]["content"][0]["text"] == "hello@3"


async def test_a_session_belongs_to_its_range(gw: World) -> None:
    gw.serve(server(V1))
    session = await gw.initialize("/mcp/hello@1")
    assert (await gw.legacy("/mcp/hello", session, "tools/list"))[0] == 404
