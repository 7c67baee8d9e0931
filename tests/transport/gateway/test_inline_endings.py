"""How calls without a task end whose answers do not come at once: as exchanges, or given up, and nothing is left."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from henslowe.actors.endpoints import EndpointState, Era
from henslowe.actors.routes import Outcome
from henslowe.transport.gateway.dialogue import Ask
from tests.transport.gateway.inline_place import ROOT_TOKEN, Client, legacy_body, modern, place
from tests.transport.gateway.inline_server import HUGE_BYTES
from tests.transport.gateway.world import call_body, until


async def test_a_silent_call_becomes_an_event_stream() -> None:
    async with place(sse_keepalive_s=1) as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        head = await asyncio.wait_for(client.reader.readuntil(b": keepalive\n\n"), 5)
        assert b"text/event-stream" in head
        assert at.inline.begun == 1
        at.server.release.set()
        rest = await asyncio.wait_for(client.reader.readuntil(b"0\r\n\r\n"), 5)
        assert b'"isError":false' in rest
        await until(at.at_rest)


async def test_a_client_that_leaves_cancels_its_call() -> None:
    async with place() as at:
        async with Client.of(at.inline_port) as client:
            client.send(call_body("waits"), **modern("waits"))
            await asyncio.wait_for(at.server.entered.wait(), 5)
        await asyncio.wait_for(at.server.cancelled.wait(), 5)
        await until(at.at_rest)
        assert at.observations.take() == [], "it says nothing about the version"


async def test_a_session_s_client_cancels_its_call_by_id() -> None:
    async with place(Era.LEGACY) as at, Client.of(at.inline_port) as client:
        session = await at.session()
        client.send(legacy_body("waits", 42), Mcp_Session_Id=session)
        await asyncio.wait_for(at.server.entered.wait(), 5)
        async with Client.of(at.inline_port) as other:
            params = {"requestId": 42}
            other.send(
                {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}, Mcp_Session_Id=session
            )
            assert (await other.answer())[0] == 202
        status, _, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["data"]["code"]) == (200, "cancelled")
        assert at.inline.begun == 1
        await until(lambda: "notifications/cancelled" in at.server.told and at.at_rest())
        client.send(legacy_body("echo", 43), Mcp_Session_Id=session)  # the connection goes on
        assert (await client.answer())[0] == 200


@pytest.mark.parametrize("where", ["concluded", "finish"])
async def test_a_defect_in_taking_an_answer_is_told_to_its_client_whose_connection_goes_on(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        caller = at.gateway.inline.caller
        true = getattr(caller, where)

        def broken(ask: Ask, *given: Any) -> Any:
            if ask.params["name"] == "echo":
                if where == "finish":
                    true(ask, *given)
                raise RuntimeError("a defect")
            return true(ask, *given)

        monkeypatch.setattr(caller, where, broken)
        client.send(call_body("echo"), **modern("echo"))
        status, _, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["message"]) == (500, "the gateway failed; the node's log says why")
        assert [record.message for record in caplog.records] == ["gateway_failed"]
        client.send(call_body("read"), **modern("read"))
        assert (await client.answer())[0] == 200
        assert at.inline.begun == 2
        await until(at.at_rest)


async def test_a_call_ends_when_its_time_is_over() -> None:
    async with place(call_timeout_s=0.2) as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        error = orjson.loads((await client.answer())[2])["error"]
        assert error["data"]["reason"] == "timeout"
        assert at.inline.begun == 1
        assert [record.outcome for record in at.observations.take()][-1:] == [Outcome.TIMEOUT]
        await until(at.at_rest)


async def test_a_drain_waits_for_a_call_without_a_task() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        await asyncio.wait_for(at.server.entered.wait(), 5)
        draining = asyncio.ensure_future(at.endpoint.drain())
        await asyncio.sleep(0)
        assert at.endpoint.state is EndpointState.DRAINING
        assert not draining.done()
        at.server.release.set()
        assert (await client.answer())[0] == 200
        await asyncio.wait_for(draining, 5)


async def test_a_listener_that_ends_waits_for_a_call_without_a_task() -> None:
    async with place() as at, Client.of(at.inline_port) as client:
        client.send(call_body("waits"), **modern("waits"))
        await asyncio.wait_for(at.server.entered.wait(), 5)
        assert at.inline.client is not None
        ending = asyncio.ensure_future(at.inline.client.shutdown(5.0))
        await asyncio.sleep(0)
        at.server.release.set()
        assert (await client.answer())[0] == 200
        await asyncio.wait_for(ending, 5)
        assert await asyncio.wait_for(client.reader.read(), 5) == b""
        await until(at.at_rest)


async def test_a_large_answer_that_nobody_reads_is_counted_until_its_client_is_gone() -> None:
    async with place() as there:
        unsent = there.gateway.inline.serving.unsent
        async with Client.of(there.inline_port) as client:
            client.send(call_body("huge"), Authorization=f"Bearer {ROOT_TOKEN}", **modern("huge"))
            await until(lambda: unsent.held > HUGE_BYTES)
            assert there.inline.begun == 1
        await until(lambda: unsent.held == 0 and there.at_rest())
