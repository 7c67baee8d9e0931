"""Calls without a task at a server behind pipes: answered and recorded as with one."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from henslowe.actors.endpoints import Era
from henslowe.actors.ids import InstanceId
from henslowe.config.settings import InstanceSettings
from henslowe.transport.mcp import McpConnector, McpEndpoint
from tests.transport.gateway.inline_place import KEY, each, legacy_body, modern, place
from tests.transport.gateway.inline_server import Server
from tests.transport.gateway.test_inline_answers import without_event_ids
from tests.transport.gateway.world import ACCEPT, call_body, until
from tests.transport.mcp.harness import RAW, running


@contextlib.asynccontextmanager
async def over_pipes(_server: Server) -> AsyncIterator[McpEndpoint]:
    async with running(RAW) as child:
        endpoint = await McpConnector(InstanceSettings()).connect_stdio(
            KEY,
            InstanceId("shop@1#1"),
            child,
            on_server_event=lambda *_: None,
            on_closed=lambda _reason: None,
            timeout_s=10,
        )
        try:
            yield endpoint
        finally:
            await endpoint.close()


TOOLS: list[tuple[str, dict[str, Any]]] = [
    ("wrong", {}),
    ("logs", {}),
    ("progress", {}),
    ("rubbish", {}),
    ("big", {"bytes": 1}),
    ("big", {"bytes": 100_000}),
    ("big", {"bytes": 2_000_000}),
]


@pytest.mark.parametrize(("tool", "arguments"), TOOLS)
async def test_whatever_a_child_writes_is_told_and_recorded_as_with_a_task(
    tool: str, arguments: dict[str, Any]
) -> None:
    async with place(Era.LEGACY, reached=over_pipes) as at:
        session = await at.session()
        asked = legacy_body(tool, arguments=arguments)
        for accept in (ACCEPT, "application/json"):
            first, second = await each(at, asked, Mcp_Session_Id=session, Accept=accept)
            assert without_event_ids(first[0]) == without_event_ids(second[0])
            assert first[1] == second[1]
            first, second = await each(at, call_body(tool, arguments), Accept=accept, **modern(tool))
            assert first == second
        assert at.inline.begun == 4
        await until(at.at_rest)


async def test_a_log_line_in_the_same_read_as_the_answer_has_its_place_ahead_of_it() -> None:
    async with place(Era.LEGACY, reached=over_pipes) as at:
        session = await at.session()
        (told, _), _ = await each(at, legacy_body("logs"), Mcp_Session_Id=session)
        assert told[1]["content-type"] == "text/event-stream"
        assert told[2].index(b"half-way") < told[2].index(b'"result"')
        assert at.inline.begun == 1
