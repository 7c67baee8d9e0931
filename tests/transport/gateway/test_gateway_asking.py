"""Servers of the handshake era that ask their client, behind the whole way: gateway, instances, children, clients."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import Wire
from henslowe.actors.messages import InstanceUp, ReleaseInstance
from henslowe.actors.names import SERVICES
from henslowe.actors.routes import Route
from tests.actors.instances.small_node import child_ref, nothing_of
from tests.transport.gateway.asking import BOTH, ONE, TWO, Place, elicited, placed, said, text_of
from tests.transport.gateway.world import CAPABILITIES, events, initialize_body

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


@BOTH
async def test_a_client_answers_what_its_server_asks_also_several_things_at_once(place: Place, mode: str) -> None:
    async with place.client(mode) as client:
        assert await said(client, "ask_name") == "Hello Philip"
        assert await said(client, "ask_all") == "Philip file:///home ho"
    outcomes = {r.outcome.value for r in place.gw.observations.take()}
    assert outcomes == {"ok"}


@BOTH
async def test_the_server_is_told_of_its_clients_own_capabilities_and_offers_what_they_allow(
    place: Place, mode: str
) -> None:
    async with place.client(mode) as client:
        assert "ask_all" in [tool.name for tool in (await client.list_tools()).tools]
        told = json.loads(await said(client, "look"))["initialize"]
    assert set(told["capabilities"]) == {"elicitation", "sampling", "roots"}
    async with Client(f"{place.gw.url}/mcp/hello", mode=mode, elicitation_callback=elicited) as client:
        assert "ask_all" not in [tool.name for tool in (await client.list_tools()).tools]
        assert set(json.loads(await said(client, "look"))["initialize"]["capabilities"]) == {"elicitation"}


@BOTH
async def test_clients_that_can_be_asked_nothing_share_one_connection_that_asks_nothing(
    place: Place, mode: str
) -> None:
    async with (
        Client(f"{place.gw.url}/mcp/hello", mode=mode) as one,
        Client(f"{place.gw.url}/mcp/hello", mode=mode) as two,
    ):
        assert await said(one, "ask_name") == await said(two, "ask_name")
        assert "not offered" in await said(one, "ask_name")
        assert json.loads(await said(one, "look"))["initialize"]["capabilities"] == {}
    assert (place.private, place.private_pids()) == (0, [])


async def test_each_session_has_its_own_process_and_it_ends_with_the_session(place: Place) -> None:
    async with place.client("legacy") as one, place.client("legacy") as two:
        pids = [json.loads(await said(client, "look"))["pid"] for client in (one, two, one)]
        assert pids[0] == pids[2] != pids[1]
        assert sorted(place.private_pids()) == sorted(set(pids))
        assert place.private == 2
    for pid in set(pids):
        await place.gone(pid)
    assert place.private == 0


async def test_questions_of_many_sessions_at_once_reach_their_own_clients(place: Place) -> None:
    async def greeted(name: str) -> str:
        async def elicit(_context: Any, _params: Any) -> ElicitResult:
            return ElicitResult(action="accept", content={"name": name})

        async with place.client("legacy", elicit) as client:
            return await said(client, "ask_name")

    people = [f"P{n}" for n in range(6)]
    assert await asyncio.gather(*map(greeted, people)) == [f"Hello {name}" for name in people]


async def test_a_client_without_an_event_stream_is_asked_on_the_stream_of_its_call(place: Place) -> None:
    body = initialize_body()
    body["params"]["capabilities"] = {"roots": {}}
    _, _, headers = await place.gw.post("/mcp/hello", body)
    session = headers["Mcp-Session-Id"]
    sent = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "ask_for_ever"}}
    async with place.gw.http.post(f"{place.gw.url}/mcp/hello", json=call, headers=sent) as response:
        async with asyncio.timeout(5):
            async for line in response.content:
                if line.startswith(b"data: {"):
                    question = json.loads(line[6:])
                    break
        assert question["method"] == "roots/list"
        reply = {"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}
        status, _, _ = await place.gw.post("/mcp/hello", reply, Mcp_Session_Id=session)
        assert status == 202
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}
        await place.gw.post("/mcp/hello", cancel, Mcp_Session_Id=session)
        async with asyncio.timeout(5):
            rest = await response.read()
        assert b"cancelled this request" in rest


async def test_a_session_is_asked_on_its_event_stream_when_no_call_is_under_way(place: Place) -> None:
    async with place.client("legacy") as client:
        assert await said(client, "ask_later") == "in a moment"
        async with asyncio.timeout(5):
            while "later" not in (seen := json.loads(await said(client, "look"))):
                pass
        assert seen["later"] == "result"


async def test_a_session_hears_what_its_own_server_announces_and_no_other_does(place: Place) -> None:
    async def streaming(**capabilities: JsonObject) -> tuple[str, Any]:
        body = initialize_body()
        body["params"]["capabilities"] = capabilities
        _, _, headers = await place.gw.post("/mcp/hello", body)
        session = headers["Mcp-Session-Id"]
        sent = {"Mcp-Session-Id": session, "Accept": "text/event-stream"}
        return session, await place.gw.http.get(f"{place.gw.url}/mcp/hello", headers=sent)

    session, own = await streaming(roots={})
    bystander, other = await streaming(roots={})
    await place.gw.legacy("/mcp/hello", session, "logging/setLevel", {"level": "info"})
    call = {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "announce"}}
    sent = {"Mcp-Session-Id": session, "Accept": "application/json, text/event-stream"}
    heard = []
    async with own, other:
        await place.gw.legacy("/mcp/hello", bystander, "tools/call", {"name": "look"})
        async with place.gw.http.post(f"{place.gw.url}/mcp/hello", json=call, headers=sent) as response:
            said_meanwhile = await response.text()  # a log line while one call is in flight counts as that call's
        async for _, event in events(own):
            heard.append(event)
            methods = {event["method"] for event in heard}
            if methods >= {"notifications/elicitation/complete", "notifications/tools/list_changed"}:
                break
        assert "overheard" in said_meanwhile + str(heard)
        assert "secret" not in said_meanwhile + str(heard)
        await place.gw.gateway.close()
        assert [event async for _, event in events(other)] == []


async def test_a_stateless_client_is_not_asked_when_no_call_of_it_is_under_way(place: Place) -> None:
    await place.call("ask_later", **{CAPABILITIES: {"roots": {}}})
    async with asyncio.timeout(5):
        while "later" not in (seen := json.loads(text_of(await place.call("look", **{CAPABILITIES: {"roots": {}}})))):
            pass
    assert seen["later"] != "result"


async def test_a_session_hears_of_changed_roots_and_cancellations_reach_the_server(place: Place) -> None:
    asked = asyncio.Event()

    async def ponder(_context: Any, _params: Any) -> ElicitResult:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with place.client("legacy", ponder) as client:
        await said(client, "look")
        await client.send_roots_list_changed()
        calling = asyncio.ensure_future(client.call_tool("ask_name", {}))
        await asyncio.wait_for(asked.wait(), 5)
        calling.cancel()
        async with asyncio.timeout(5):
            while (seen := json.loads(await said(client, "look")))["cancelled"] == 0:
                pass
        assert (seen["roots_changed"], seen["cancelled"]) == (1, 1)


@BOTH
async def test_a_server_that_dies_asking_fails_its_call_only_and_is_there_again_for_the_next(
    place: Place, mode: str
) -> None:
    async with place.client(mode) as client, Client(f"{place.gw.url}/mcp/hello", mode=mode) as bystander:
        shared = json.loads(await said(bystander, "look"))["pid"]
        with pytest.raises(MCPError, match="closed its standard output"):
            await said(client, "die_asking")
        assert await said(client, "ask_name") == "Hello Philip"
        assert json.loads(await said(bystander, "look"))["pid"] == shared


@BOTH
async def test_a_version_swap_keeps_clients_and_calls(place: Place, mode: str) -> None:
    """What was asked before the swap is answered after it, and the next call meets the new version."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def ponder(_context: Any, _params: Any) -> ElicitResult:
        asked.set()
        await asyncio.wait_for(answer.wait(), 5)
        return ElicitResult(action="accept", content={"name": "Philip"})

    async with place.client(mode, ponder) as client:
        before = json.loads(await said(client, "look"))["pid"]
        calling = asyncio.ensure_future(said(client, "ask_name"))
        await asyncio.wait_for(asked.wait(), 5)
        await place.up(TWO)
        place.node.manager.cast(ReleaseInstance(ONE, drain_s=10))
        after = json.loads(await said(client, "look"))
        assert after["pid"] != before
        assert place.node.events("INSTANCE_READY")[-1].version == 2
        assert not calling.done()
        answer.set()
        assert await calling == "Hello Philip"
        answer.clear()
        await place.gone(before)
    outcomes = {r.outcome.value for r in place.gw.observations.take()}
    assert outcomes == {"ok"}


async def test_private_connections_are_in_the_tree_under_their_version(place: Place) -> None:
    from henslowe.actors.kernel import WhichChildren

    async with place.client("legacy") as client:
        await said(client, "look")
        services = registry.whereis(SERVICES)
        assert services is not None
        version = await child_ref(await child_ref(services, "hello"), str(ONE))
        assert [child.id for child in await version.call(WhichChildren())] == ["instance", "hello@1~1"]


async def test_beyond_the_limit_clients_share_as_before(tmp_path: Path) -> None:
    async with placed(tmp_path, private_max=1) as place:
        await place.up(ONE)
        async with place.client("legacy") as one, place.client("legacy") as two:
            assert await said(one, "ask_name") == "Hello Philip"
            assert "not offered" in await said(two, "ask_name")


async def test_connections_that_rest_are_ended_and_opened_again_when_they_are_needed(tmp_path: Path) -> None:
    async with placed(tmp_path, private_idle_s=0.3) as place:
        await place.up(ONE)
        async with place.client("legacy") as client:
            first = json.loads(await said(client, "look"))["pid"]
            await place.gone(first)
            assert json.loads(await said(client, "look"))["pid"] != first


# -- servers made with the SDK ----------------

SDK = (sys.executable, str(Path(__file__).parents[2] / "conformance" / "sdk_server.py"), "--legacy")


@BOTH
@pytest.mark.parametrize("wire", Wire)
async def test_a_server_of_the_sdk_asks_over_pipes_and_over_http(tmp_path: Path, mode: str, wire: Wire) -> None:
    async with placed(tmp_path) as place:
        if wire is Wire.HTTP:
            place.node.ensure(ONE, *SDK, "{port}", wire=wire, url="http://127.0.0.1:{port}/mcp")
        else:
            place.node.ensure(ONE, *SDK, "stdio")
        assert (await place.node.told(InstanceUp)).era == "legacy"
        place.gw.route(Route(ONE.service, ONE))
        asked, answer = asyncio.Event(), asyncio.Event()

        async def ponder(_context: Any, _params: Any) -> ElicitResult:
            asked.set()
            await asyncio.wait_for(answer.wait(), 5)
            return ElicitResult(action="accept", content={"name": "Philip"})

        async with place.client(mode, ponder) as client:
            assert await said(client, "test_input_required_result_sampling") == "ho"
            assert "file:///home" in await said(client, "test_input_required_result_list_roots")
            calling = asyncio.ensure_future(said(client, "test_input_required_result_elicitation"))
            await asyncio.wait_for(asked.wait(), 5)
            place.node.manager.cast(ReleaseInstance(ONE, drain_s=10))
            answer.set()
            assert await calling == "Hello, Philip!"
        (pid,) = place.private_pids()
        assert (pid is None) is (wire is Wire.HTTP), "who listens is joined, not started once more"
        await nothing_of(place.node, ONE)


# -- a server of the TypeScript SDK, which offers tools by what its client can be asked ----------------

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")


@BOTH
@pytest.mark.npm
@pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs")
async def test_the_everything_server_offers_and_runs_what_asks_its_client(tmp_path: Path, mode: str) -> None:
    async with placed(tmp_path) as place:
        place.node.ensure(ONE, str(Path(NPM_BIN).absolute() / "mcp-server-everything"), "stdio")
        shared = {tool["name"] for tool in (await place.node.told(InstanceUp)).contract.tools}
        place.gw.route(Route(ONE.service, ONE))
        async with place.client(mode) as client:
            offered = {tool.name for tool in (await client.list_tools()).tools}
            asking = {"get-roots-list", "trigger-elicitation-request", "trigger-sampling-request"}
            assert offered - shared >= asking
            assert "file:///home" in await said(client, "get-roots-list")
            assert "provided the requested information" in await said(client, "trigger-elicitation-request")
            result = await asyncio.wait_for(client.call_tool("trigger-sampling-request", {"prompt": "hi"}), 5)
            assert "ho" in result.content[0].text  # type: ignore[union-attr]
