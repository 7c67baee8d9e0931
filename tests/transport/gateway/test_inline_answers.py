"""Calls without a task are answered, told and recorded as those with one, whatever becomes of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from henslowe.actors.endpoints import Era
from henslowe.actors.routes import Outcome
from henslowe.transport.gateway.inbound import check_modern_again
from tests.transport.gateway.inline_place import both, each, legacy_body, modern, place
from tests.transport.gateway.world import ACCEPT, MODERN, call_body, until

OUTCOMES = {
    "echo": (Outcome.OK,),
    "read": (Outcome.OK,),
    "fails": (Outcome.TOOL_ERROR,),
    "refuses": (Outcome.INTERNAL_ERROR,),
    "busy": (Outcome.INTERNAL_ERROR,),
    "http_500": (Outcome.TRANSPORT,),
    "rubbish": (Outcome.INTERNAL_ERROR,),
    "large": (Outcome.OK,),
    "deep": (Outcome.OK,),
    "streams": (Outcome.OK,),
    "batches": (Outcome.OK,),
    "drops": (Outcome.TRANSPORT,),
}


@pytest.mark.parametrize("tool", OUTCOMES)
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_whatever_becomes_of_a_call_is_told_and_recorded_as_with_a_task(era: Era, tool: str) -> None:
    async with place(era) as at:
        body, headers = call_body(tool, {"a": 1}), {**modern(tool), "Authorization": at.token("ada")}
        first, second = await each(at, body, **headers)
        assert first == second
        assert at.inline.begun == 1
        records, exchanges, _ = first[1]
        assert tuple(record.outcome for record in records) == OUTCOMES[tool]
        assert {record.principal for record in records} == {"token:ada"}
        assert len(exchanges) == 1
        await until(lambda: not len(at.live))
        await until(at.at_rest)


@pytest.mark.parametrize("tool", [*OUTCOMES, "asks"])
@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_a_session_s_calls_are_the_same_too(era: Era, tool: str) -> None:
    async with place(era) as at:
        session = await at.session()
        accept = "application/json" if tool == "asks" else ACCEPT  # nobody there who could be asked
        (first, one), (second, other) = await each(at, legacy_body(tool), Mcp_Session_Id=session, Accept=accept)
        assert first[0] == second[0] == 200
        assert one == other
        assert without_event_ids(first) == without_event_ids(second)
        assert at.inline.begun == 1
        await until(at.at_rest)


@pytest.mark.parametrize("method", ["tools/\u00e9", "tools/\u0142", "tools/a b", "\U0001f600"])
async def test_a_method_in_any_letters_is_sent_on(method: str) -> None:
    async with place() as at:
        fields = {"MCP_Protocol_Version": MODERN, "Mcp_Method": method}
        first, second = await both(at, {**call_body("echo"), "method": method}, **fields)
        assert first == second
        assert orjson.loads(first[2])["error"]["message"] == "Method not found"
        assert at.inline.begun == 1
        await until(at.at_rest)


@pytest.mark.parametrize("method", ["x\r\nX-Evil: 1", "x\nX-Evil: 1", "x\r\n\r\nPOST /mcp HTTP/1.1", "x\0", "\u0142"])
async def test_a_session_s_method_breaks_out_of_no_header(method: str) -> None:
    async with place() as at:
        session = await at.session()
        sent = len(at.server.fields)
        for answer in await both(at, {**legacy_body("echo"), "method": method}, Mcp_Session_Id=session):
            assert orjson.loads(answer[2])["error"]["message"] == "Method not found"
        said = at.server.fields[sent:]
        assert [dict(fields)[b"Mcp-Method"][:9] for fields in said] == [b"=?base64?"] * 2
        assert not any(b"evil" in name.lower() for fields in said for name, _ in fields)
        await until(at.at_rest)


def test_no_body_makes_the_gateway_remember_more_than_its_head_has() -> None:
    agreed: set[tuple[Any, ...]] = set()
    body = {**call_body("echo"), "method": "theirs"}
    for number in range(3):
        body["params"][""] = str(number) * 50_000
        check_modern_again(body, {"mcp-protocol-version": MODERN, "mcp-method": "theirs"}, agreed)
    assert len(orjson.dumps(list(agreed))) < 1_000


def without_event_ids(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], list[bytes]]:
    return *answer[:2], [line for line in answer[2].splitlines() if not line.startswith(b"id: ")]
