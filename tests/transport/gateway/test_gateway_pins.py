"""A stateless server's `requestState` goes back to the process that gave it out, over any change of versions."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from mcp.client import Client
from mcp_types import ElicitResult

from henslowe.actors.endpoints import Era, JsonObject, OnNotification
from henslowe.actors.ids import InstanceId, ServiceName
from henslowe.actors.routes import Route
from henslowe.transport.gateway.pins import Pins
from tests.transport.gateway.world import LocalServer, ToolFunction, World, echo, text, version

V1, V2 = version("hello", 1), version("hello", 2)
FORM = {
    "method": "elicitation/create",
    "params": {"message": "?", "requestedSchema": {"type": "object", "properties": {}}},
}


def asking(word: str, *, with_state: bool = True) -> ToolFunction:
    """A tool that asks once, and then says its word and the state it got back."""

    async def ask(params: JsonObject, _notify: OnNotification) -> JsonObject:
        if "inputResponses" in params:
            return text(f"{word} {params.get('requestState')}", resultType="complete")
        asked: JsonObject = {"resultType": "input_required", "inputRequests": {"form": FORM}}
        return {**asked, "requestState": f"sealed by {word}"} if with_state else asked

    return ask


def stateless(key: Any, **tools: ToolFunction) -> LocalServer:
    return LocalServer(key, tools, era=Era.MODERN)


async def ask(gw: World, path: str = "/mcp/hello", name: str = "ask", **more: Any) -> Any:
    return (await gw.modern(path, "tools/call", {"name": name, **more}))[1]


async def test_the_answer_returns_to_the_version_that_asked(gw: World) -> None:
    old = gw.serve(stateless(V1, ask=asking("one")))
    gw.up(stateless(V1, ask=asking("one's twin")))
    state = (await ask(gw))["result"]["requestState"]
    old.in_flight = 5  # the twin has less to do
    gw.serve(stateless(V2, ask=asking("two")))
    done = await ask(gw, requestState=state, inputResponses={"form": {"action": "accept"}})
    assert done["result"]["content"][0]["text"] == "one sealed by one"
    assert len(gw.observations.take()) == 1, "what a version does that the route has left is no evidence"


async def test_a_server_without_state_is_returned_to_as_well(gw: World) -> None:
    gw.serve(stateless(V1, ask=asking("one", with_state=False)))
    state = (await ask(gw, "/mcp", "hello__ask"))["result"]["requestState"]
    gw.serve(stateless(V2, ask=asking("two")))
    done = await ask(gw, "/mcp", "hello__ask", requestState=state, inputResponses={})
    assert done["result"]["content"][0]["text"] == "one None"


async def test_when_the_process_is_gone_its_successor_is_asked(gw: World) -> None:
    old = gw.serve(stateless(V1, ask=asking("one")))
    state = (await ask(gw))["result"]["requestState"]
    gw.down(old)
    gw.up(stateless(V1, ask=asking("restarted")))
    done = await ask(gw, requestState=state, inputResponses={})
    assert done["result"]["content"][0]["text"] == "restarted sealed by one"


async def test_a_state_that_was_changed_is_refused(gw: World) -> None:
    gw.serve(stateless(V1, ask=asking("one")))
    gw.serve(stateless(version("other"), ask=asking("other")))
    state = (await ask(gw))["result"]["requestState"]
    number, instance, own, mac = orjson.loads(state)
    forged = [
        state + "x",
        state[:-3],
        orjson.dumps([number + 1, instance, own, mac]).decode(),
        orjson.dumps([number, instance, "mine", mac]).decode(),
        orjson.dumps([number, instance, own, None]).decode(),
        orjson.dumps([{}, instance, own, mac]).decode(),
        "[]",
        "sealed by one",
        7,
        None,
    ]
    for each in forged:
        assert (await ask(gw, requestState=each, inputResponses={}))["error"]["code"] == -32602, each
    stolen = await ask(gw, "/mcp/other", requestState=state, inputResponses={})
    assert stolen["error"]["code"] == -32602, "a state belongs to its service"


async def test_a_real_client_answers_across_a_promotion(gw: World) -> None:
    gw.serve(stateless(V1, ask=asking("one"), echo=echo))

    async def promote_and_accept(_context: Any, _params: Any) -> ElicitResult:
        gw.up(stateless(V2, ask=asking("two")))
        gw.route(Route(V2.service, V2))
        return ElicitResult(action="accept", content={})

    async with Client(f"{gw.url}/mcp/hello", mode="2026-07-28", elicitation_callback=promote_and_accept) as client:
        result = await asyncio.wait_for(client.call_tool("ask", {}), 5)
    assert result.content[0].text == "one sealed by one"  # type: ignore[union-attr]


@pytest.mark.parametrize("state", [None, "", "x" * 10_000, '"', "\u2028"], ids=repr)
def test_states_come_out_as_they_went_in(state: str | None) -> None:
    pins = Pins()
    endpoint = stateless(V1)
    result = (
        {"resultType": "input_required"} if state is None else {"resultType": "input_required", "requestState": state}
    )
    wrapped = pins.wrap({"result": result}, endpoint, "token:a")["result"]["requestState"]
    unwrapped = pins.unwrap(V1.service, {"name": "x", "requestState": wrapped}, "token:a")
    assert unwrapped is not None
    assert unwrapped[0].instance == InstanceId(endpoint.instance)
    assert unwrapped[1].get("requestState") == state
    assert pins.unwrap(ServiceName("other"), {"requestState": wrapped}, "token:a") is None
    for other in ("", "token:b", "oauth:a"):
        assert pins.unwrap(V1.service, {"requestState": wrapped}, other) is None, "a state is its principal's"
    assert Pins().unwrap(V1.service, {"requestState": wrapped}, "token:a") is None
