"""What a call without a task must not go around: policies, limits, arguments in headers, tasks, rules of routes."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from henslowe.actors.ids import VersionKey
from henslowe.actors.routes import Arm, Route
from henslowe.actors.variants import rule_of
from henslowe.config.exposure import AbTest, Exposure
from henslowe.config.settings import PolicyRule
from tests.transport.gateway.inline_place import KEY, ROOT_TOKEN, Client, both, legacy_body, modern, place
from tests.transport.gateway.world import CAPABILITIES, call_body, modern_body, until

TASKS = {CAPABILITIES: {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


async def test_a_policy_is_asked_about_every_call() -> None:
    careful = PolicyRule(principals=("token:guest",), deny_tools=("read",))
    async with place(rules={"careful": careful}) as at:
        guest = at.token("guest")
        first, second = await both(at, call_body("read"), Authorization=guest, **modern("read"))
        assert first == second
        assert "careful" in orjson.loads(first[2])["error"]["message"]
        assert at.server.calls.count("read") == 0
        for answer in await both(at, call_body("read"), Authorization=f"Bearer {ROOT_TOKEN}", **modern("read")):
            assert answer[0] == 200


async def test_a_token_that_ends_takes_its_call_along() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), Authorization=at.token("ada"), **modern("waits"))
        await asyncio.wait_for(at.server.entered.wait(), 5)
        assert (at.inline.begun, len(at.live)) == (1, 1)
        at.board.publish({})
        at.live.review()
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        await asyncio.wait_for(at.server.cancelled.wait(), 5)
        await until(lambda: at.at_rest() and not len(at.live))


async def test_a_request_beyond_the_limit_is_refused() -> None:
    async with place(request_bytes_max=4_096) as at:
        for size, status in ((3_000, 200), (5_000, 413)):
            first, second = await both(at, call_body("echo", {"text": "x" * size}), **modern("echo"))
            assert first == second
            assert first[0] == status
        assert at.inline.begun == 1


@pytest.mark.parametrize(
    ("sent", "status"), [({}, 400), ({"Mcp_Param_Price": "2"}, 400), ({"Mcp_Param_Price": "1"}, 200)]
)
async def test_arguments_that_travel_in_headers_are_compared(sent: dict[str, str], status: int) -> None:
    async with place() as at:
        body = call_body("priced", {"price": "1"})
        first, second = await both(at, body, **modern("priced"), **sent)
        assert first == second
        assert first[0] == status
        assert at.server.calls.count("priced") == (2 if status == 200 else 0)


async def test_a_task_that_a_call_becomes_is_the_gateway_s_to_name() -> None:
    async with place() as at:
        for answer in await both(at, call_body("later", **TASKS), **modern("later")):
            task_id = orjson.loads(answer[2])["result"]["taskId"]
            assert task_id != "theirs"
            headers = {**modern(task_id), "Mcp_Method": "tasks/get"}
            for told in await both(at, modern_body("tasks/get", {"taskId": task_id}, **TASKS), **headers):
                assert orjson.loads(told[2])["result"]["taskId"] == task_id
        theirs = {**modern("theirs"), "Mcp_Method": "tasks/get"}
        for told in await both(at, modern_body("tasks/get", {"taskId": "theirs"}, **TASKS), **theirs):
            assert "error" in orjson.loads(told[2]), "nobody gets at a task by its name at the server"
        assert at.inline.begun == 1
        await until(at.at_rest)


async def test_a_route_whose_rule_looks_at_callers_sees_them() -> None:
    chosen = Exposure(ab=AbTest(header="x-variant", values={"b": "candidate"}))
    async with place() as at:
        rule = rule_of(chosen, rollout=True)
        at.routes.publish({KEY.service: Route(KEY.service, KEY, VersionKey(KEY.service, 2), 0, rule=rule)})
        at.observations.take()
        for answer in await both(at, call_body("echo"), X_Variant="b", **modern("echo")):
            assert answer[0] == 200, "the stable version takes what the candidate cannot"
        assert at.inline.begun == 0
        assert [record.chosen for record in at.observations.take() if record.arm is Arm.CANARY] == [True, True]


async def test_what_is_said_ahead_of_an_answer_is_not_for_those_who_take_no_stream() -> None:
    async with place() as at:
        session = await at.session()
        for tool in ("streams", "batches"):
            first, second = await both(at, legacy_body(tool), Mcp_Session_Id=session, Accept="application/json")
            assert first == second
            assert first[1]["content-type"].startswith("application/json")
        await until(at.at_rest)


async def test_a_silence_that_lasts_an_interval_is_over_at_once() -> None:
    async with place(sse_keepalive_s=3_600) as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        await asyncio.wait_for(at.server.entered.wait(), 5)
        assert at.inline.call is not None
        at.inline.call.keep_alive()  # what the gateway's clock says to it
        await asyncio.wait_for(client.reader.readuntil(b": keepalive\n\n"), 5)


async def test_a_call_that_is_cancelled_on_its_way_to_a_task_is_answered_once() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        session = await at.session()
        client.send(legacy_body("waits", 1), Mcp_Session_Id=session, Accept="application/json, text/event-stream")
        await asyncio.wait_for(at.server.entered.wait(), 5)
        assert at.inline.call is not None
        at.inline.call.troubled()
        at.inline.call.cancel()
        status, _, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["data"]["code"]) == (200, "cancelled")
        client.send(legacy_body("echo", 2), Mcp_Session_Id=session)
        assert orjson.loads((await client.answer())[2])["id"] == 2
        await until(at.at_rest)
