"""Servers of the handshake era that ask their client, behind the whole way: gateway, instances, children, clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent
from pydantic import FileUrl

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import Wire
from henslowe.actors.messages import InstanceUp, ReleaseInstance
from henslowe.actors.names import SERVICES
from henslowe.actors.routes import Route
from henslowe.transport.gateway import ManagedConnections
from tests.actors.instances.small_node import Node, child_ref, gone, nothing_of, small_node
from tests.transport.gateway.world import CAPABILITIES, World, events, initialize_body, world

SERVER = Path(__file__).parents[1] / "mcp" / "servers" / "asking_server.py"
ASKING = (sys.executable, "-S", "-E", str(SERVER))
ONE, TWO = (VersionKey(ServiceName("hello"), number) for number in (1, 2))
BOTH = pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
NAME_ONLY = {CAPABILITIES: {"elicitation": {}}}

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


@dataclass
class Place:
    """A gateway in front of a small node."""

    gw: World
    node: Node

    async def up(self, version: VersionKey, *, route: bool = True) -> None:
        count = sum(isinstance(message, InstanceUp) for message in self.node.heard)
        self.node.ensure(version, *ASKING)
        await self.node.told(InstanceUp, count + 1)
        if route:
            self.gw.route(Route(version.service, version))

    @property
    def private(self) -> int:
        """Private connections that the gateway has."""
        return int(self.gw.registry.get_sample_value("henslowe_gateway_private_connections") or 0)

    def private_pids(self) -> list[int]:
        ready = [e for e in self.node.events("INSTANCE_READY") if e.data.get("private") and e.status == "SUCCESS"]
        return [event.data["pid"] for event in ready]

    def client(self, mode: str, elicit: Any = None) -> Client:
        return Client(
            f"{self.gw.url}/mcp/hello",
            mode=mode,
            elicitation_callback=elicit or _elicit,
            sampling_callback=_sample,
            list_roots_callback=_roots,
        )

    async def call(self, tool: str, state: str | None = None, responses: Any = None, **meta: Any) -> JsonObject:
        """A call of a stateless client, without a library that answers for it."""
        params: JsonObject = {"name": tool, "arguments": {}}
        if state is not None:
            params |= {"requestState": state, "inputResponses": responses}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        envelope = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", **NAME_ONLY, **meta}
        headers = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": tool}
        _, answer, _ = await self.gw.post("/mcp/hello", {**body, "params": {**params, "_meta": envelope}}, **headers)
        return dict(answer)

    async def gone(self, pid: int) -> None:
        async with asyncio.timeout(5):
            while not gone(pid):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def placed(tmp_path: Path, *, private_max: int = 8, **settings: Any) -> AsyncIterator[Place]:
    async with (
        small_node(tmp_path, private_max=private_max) as node,
        world(node.directory, ManagedConnections(), **settings) as gw,
    ):
        yield Place(gw, node)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with placed(tmp_path) as running:
        await running.up(ONE)
        yield running


async def _elicit(_context: Any, _params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Philip"})


async def _sample(_context: Any, _params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="ho"), model="m")


async def _roots(_context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///home"))])


def text_of(answer: JsonObject) -> str:
    return str(answer["result"]["content"][0]["text"])


async def said(client: Client, tool: str) -> str:
    result = await asyncio.wait_for(client.call_tool(tool, {}), 5)
    return str(result.content[0].text)  # type: ignore[union-attr]


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
    async with Client(f"{place.gw.url}/mcp/hello", mode=mode, elicitation_callback=_elicit) as client:
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
    async with placed(tmp_path, private_idle_s=0.05) as place:
        await place.up(ONE)
        async with place.client("legacy") as client:
            first = json.loads(await said(client, "look"))["pid"]
            await place.gone(first)
            assert json.loads(await said(client, "look"))["pid"] != first


# -- calls of stateless clients that are parked ----------------

ANSWER = {"elicitation-1": {"action": "accept", "content": {"name": "Ann"}}}


async def test_a_parked_call_is_continued_once_with_the_answers(place: Place) -> None:
    asked = (await place.call("ask_name"))["result"]
    assert asked["resultType"] == "input_required"
    assert asked["inputRequests"]["elicitation-1"]["method"] == "elicitation/create"
    done = await place.call("ask_name", asked["requestState"], ANSWER)
    assert done["result"]["content"][0]["text"] == "Hello Ann"
    again = await place.call("ask_name", asked["requestState"], ANSWER)
    assert (again["error"]["code"], again["error"]["message"]) == (
        -32602,
        "the call of this requestState is over; call again",
    )


async def test_what_is_left_unanswered_is_asked_again(place: Place) -> None:
    state = (await place.call("ask_name"))["result"]["requestState"]
    asked = (await place.call("ask_name", state, {"nonsense": {}, "elicitation-1": "no object"}))["result"]
    assert list(asked["inputRequests"]) == ["elicitation-1"]
    assert asked["requestState"] != state
    done = await place.call("ask_name", asked["requestState"], ANSWER)
    assert done["result"]["content"][0]["text"] == "Hello Ann"


@pytest.mark.parametrize("how", ["another client", "another tool", "a changed state"])
async def test_a_parked_call_is_nobody_elses(place: Place, how: str) -> None:
    state = (await place.call("ask_name"))["result"]["requestState"]
    stolen: dict[str, tuple[str, str, JsonObject]] = {
        "another client": ("ask_name", state, {"io.modelcontextprotocol/clientInfo": {"name": "x", "version": "1"}}),
        "another tool": ("look", state, {}),
        "a changed state": ("ask_name", state.replace("parked.", "parked.x"), {}),
    }
    tool, used, meta = stolen[how]
    assert (await place.call(tool, used, ANSWER, **meta))["error"]["code"] == -32602
    done = await place.call("ask_name", state, ANSWER)
    assert done["result"]["content"][0]["text"] == "Hello Ann"


async def test_a_parked_call_that_nobody_continues_is_given_up(tmp_path: Path) -> None:
    async with placed(tmp_path, parked_s=0.05) as place:
        await place.up(ONE)
        state = (await place.call("ask_name"))["result"]["requestState"]
        (pid,) = place.private_pids()
        await place.gone(pid)
        assert (await place.call("ask_name", state, ANSWER))["error"]["code"] == -32602
        assert place.private == 0


async def test_calls_at_the_same_time_have_a_connection_each_and_take_turns_otherwise(place: Place) -> None:
    states = [(await place.call("ask_name"))["result"]["requestState"] for _ in range(3)]
    pids = place.private_pids()
    assert len(set(pids)) == 3
    for state in states:
        await place.call("ask_name", state, ANSWER)
    for _ in range(3):
        looked = await place.call("look")
        assert json.loads(looked["result"]["content"][0]["text"])["pid"] in pids
    assert place.private == 3


async def test_a_server_that_never_stops_asking_a_stateless_client_is_stopped(place: Place) -> None:
    roots = {CAPABILITIES: {"roots": {}}}
    answer = await place.call("ask_for_ever", **roots)
    for n in range(1, 20):
        if "error" in answer:
            break
        answer = await place.call(
            "ask_for_ever", answer["result"]["requestState"], {f"roots-{n}": {"roots": []}}, **roots
        )
    assert answer["error"]["message"] == "the server asked 16 times and was not satisfied"
    (pid,) = place.private_pids()
    await place.gone(pid)


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


# -- what a client asked for once, on connections of its own ----------------

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
