"""Stateless servers that ask something, in front of clients of the handshake era."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CreateMessageResult, ElicitResult, ErrorData, ListRootsResult, Root, TextContent
from pydantic import FileUrl

from henslowe.actors.endpoints import Era, JsonObject, OnNotification
from henslowe.transport.gateway import thinking as thinking_module
from henslowe.transport.gateway.questions import QUESTIONS_MAX, ROUNDS_MAX
from henslowe.transport.gateway.thinking import Thinking
from tests.transport.gateway.world import CAPABILITIES, LOG_LEVEL, LocalServer, World, text, version, world

V1 = version("hello", 1)
FORM = {"message": "Who are you?", "requestedSchema": {"type": "object", "properties": {"name": {"type": "string"}}}}
SAMPLE = {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 5}

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


def asking(*rounds: JsonObject) -> tuple[Any, list[JsonObject]]:
    """A tool that asks each round's questions in turn and then says what it was told; and the parameters it got."""
    got: list[JsonObject] = []

    async def tool_function(params: JsonObject, _notify: OnNotification) -> JsonObject:
        got.append(params)
        number = int(params.get("requestState", "0"))
        if number == len(rounds):
            return text(str(params["inputResponses"]), resultType="complete")
        return {"resultType": "input_required", "inputRequests": rounds[number], "requestState": str(number + 1)}

    return tool_function, got


async def _elicit(_context: Any, _params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Philip"})


async def _sample(_context: Any, _params: Any) -> CreateMessageResult:
    return CreateMessageResult(role="assistant", content=TextContent(text="ho"), model="m")


async def _roots(_context: Any) -> ListRootsResult:
    return ListRootsResult(roots=[Root(uri=FileUrl("file:///home"))])


async def test_a_client_answers_what_a_stateless_server_asks(gw: World) -> None:
    function, got = asking(
        {"form": {"method": "elicitation/create", "params": FORM}, "roots": {"method": "roots/list"}},
        {"model": {"method": "sampling/createMessage", "params": SAMPLE}},
    )
    gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))
    async with Client(
        f"{gw.url}/mcp/hello",
        mode="legacy",
        elicitation_callback=_elicit,
        sampling_callback=_sample,
        list_roots_callback=_roots,
    ) as client:
        result = await asyncio.wait_for(client.call_tool("ask", {}), 5)
    assert "ho" in result.content[0].text  # type: ignore[union-attr]
    assert got[1]["inputResponses"]["form"] == {"action": "accept", "content": {"name": "Philip"}}
    assert got[1]["inputResponses"]["roots"]["roots"][0]["uri"] == "file:///home"
    assert set(got[0]["_meta"][CAPABILITIES]) == {"elicitation", "sampling", "roots"}
    assert got[0]["_meta"][LOG_LEVEL] == "debug"
    assert [r.outcome.value for r in gw.observations.take() if r.tool == "ask"] == ["ok"]


async def test_the_time_that_a_client_thinks_is_not_the_servers(gw: World) -> None:
    function, _ = asking({"form": {"method": "elicitation/create", "params": FORM}})
    gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))
    now_s = [0.0]
    gw.gateway._serving.thinking.now_s = lambda: now_s[0]

    async def ponder(_context: Any, _params: Any) -> ElicitResult:
        now_s[0] += 3_600.0
        return ElicitResult(action="decline")

    async with Client(f"{gw.url}/mcp/hello", mode="legacy", elicitation_callback=ponder) as client:
        await asyncio.wait_for(client.call_tool("ask", {}), 5)
    (latency_s,) = [r.latency_s for r in gw.observations.take() if r.tool == "ask"]
    assert latency_s == 0.0  # an hour of thinking is taken off what took milliseconds


def test_questions_at_the_same_time_count_once_and_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinking_module, "SESSIONS_MAX", 2)
    now_s = [0.0]
    thinking = Thinking(lambda: now_s[0])
    with thinking.question("a"):
        now_s[0] = 1.0
        with thinking.question("a"):
            now_s[0] = 3.0
            assert thinking.total_s("a") == 3.0
        now_s[0] = 4.0
    now_s[0] = 9.0
    assert thinking.total_s("a") == 4.0
    for session in ("b", "c"):
        with thinking.question(session):
            pass
    assert thinking.total_s("a") == 0.0


async def test_a_client_that_refuses_is_no_evidence_against_the_version(gw: World) -> None:
    async def refuse(_context: Any, _params: Any) -> ErrorData:
        return ErrorData(code=-1, message="not now")

    function, _ = asking({"form": {"method": "elicitation/create", "params": FORM}})
    gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))
    async with Client(f"{gw.url}/mcp/hello", mode="legacy", elicitation_callback=refuse) as client:
        with pytest.raises(MCPError, match="answered the server's question with an error"):
            await asyncio.wait_for(client.call_tool("ask", {}), 5)
    assert [r.outcome.value for r in gw.observations.take() if r.tool == "ask"] == ["invalid_params"]


async def test_a_client_without_an_event_stream_declares_nothing_and_is_asked_nothing(gw: World) -> None:
    function, got = asking({"form": {"method": "elicitation/create", "params": FORM}})
    gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))
    session = await gw.initialize("/mcp/hello")
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ask"}}
    status, answer, _ = await gw.post("/mcp/hello", body, Mcp_Session_Id=session, Accept="application/json")
    assert (status, answer["error"]["code"]) == (200, -32603)
    assert got[0]["_meta"][CAPABILITIES] == {}


@pytest.mark.parametrize(
    "questions",
    [
        {"x": {"method": "tools/call", "params": {}}},
        {"x": "form"},
        ["form"],
        {str(n): {"method": "roots/list"} for n in range(QUESTIONS_MAX + 1)},
    ],
    ids=["another method", "no object", "a list", "too many"],
)
async def test_what_a_server_may_not_ask_ends_the_call(gw: World, questions: Any) -> None:
    function, _ = asking(questions)
    gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))
    session = await gw.initialize("/mcp/hello")
    _, answer, _ = await gw.legacy("/mcp/hello", session, "tools/call", {"name": "ask"})
    assert answer["error"]["code"] == -32603


async def test_a_server_that_never_stops_asking_is_stopped(gw: World) -> None:
    function, got = asking(*({"roots": {"method": "roots/list"}},) * (ROUNDS_MAX + 1))
    gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))
    async with Client(f"{gw.url}/mcp/hello", mode="legacy", list_roots_callback=_roots) as client:
        with pytest.raises(MCPError, match="was not satisfied"):
            await asyncio.wait_for(client.call_tool("ask", {}), 5)
    assert len(got) == ROUNDS_MAX


async def test_a_client_that_never_answers_ends_the_call_at_its_time_limit() -> None:
    async with world(call_timeout_s=0.2) as gw:
        function, _ = asking({"form": {"method": "elicitation/create", "params": FORM}})
        gw.serve(LocalServer(V1, {"ask": function}, era=Era.MODERN))

        async def ponder(_context: Any, _params: Any) -> ElicitResult:
            await asyncio.Event().wait()
            raise AssertionError

        async with Client(f"{gw.url}/mcp/hello", mode="legacy", elicitation_callback=ponder) as client:
            with pytest.raises(MCPError, match="did not answer the server's question in time"):
                await asyncio.wait_for(client.call_tool("ask", {}), 5)


async def test_answers_that_nobody_waits_for_are_dropped(gw: World) -> None:
    gw.serve(LocalServer(V1, {}, era=Era.MODERN))
    session = await gw.initialize("/mcp/hello")
    for answer_id in ("henslowe-0", "x", 5):
        message = {"jsonrpc": "2.0", "id": answer_id, "result": {}}
        assert (await gw.post("/mcp/hello", message, Mcp_Session_Id=session))[0] == 202
