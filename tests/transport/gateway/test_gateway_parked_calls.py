"""Calls of stateless clients whose server asks something: they are parked, and continued with the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.endpoints import JsonObject
from tests.transport.gateway.asking import ONE, Place, placed
from tests.transport.gateway.world import CAPABILITIES

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


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


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        (["user_name", "b2f0:1/x.y-z"], ["user_name", "b2f0:1/x.y-z"]),
        (["7", 8], ["elicitation-1", "elicitation-2"]),
        (["__proto__", "two words"], ["elicitation-1", "elicitation-2"]),
        (["n" * 128, "n" * 129], ["n" * 128, "elicitation-1"]),
        (["elicitation-1", "é"], ["elicitation-1", "elicitation-2"]),
    ],
    ids=["names", "numbers", "no names", "long", "ours"],
)
async def test_a_question_has_the_name_that_its_server_gave_to_it(
    place: Place, ids: list[Any], names: list[str]
) -> None:
    arguments = {"names": ids}
    asked = (await place.call("ask_by_name", arguments=arguments))["result"]
    assert list(asked["inputRequests"]) == names
    answers = {
        name: {"action": "accept", "content": {"name": person}}
        for name, person in zip(names, ("Ann", "Bob"), strict=True)
    }
    done = await place.call("ask_by_name", asked["requestState"], answers, arguments=arguments)
    assert done["result"]["content"][0]["text"] == "Ann and Bob"


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
