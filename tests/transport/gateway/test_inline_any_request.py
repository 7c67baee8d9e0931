"""Requests that are nearly right are answered and recorded without a task as they are with one, byte for byte."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from henslowe.actors.endpoints import Era
from tests.transport.gateway.inline_place import ROOT_TOKEN, Client, legacy_body, modern, place, request_bytes
from tests.transport.gateway.world import call_body, until

values = st.none() | st.booleans() | st.integers(-5, 5) | st.text(st.characters(codec="utf-8"), max_size=5)
meta_changes = st.sampled_from(
    [
        ("io.modelcontextprotocol/protocolVersion", "2025-11-25"),
        ("io.modelcontextprotocol/clientCapabilities", {"elicitation": {}}),
        ("io.modelcontextprotocol/clientInfo", {"name": "a", "version": "1"}),
        ("io.modelcontextprotocol/logLevel", "debug"),
        ("progressToken", 5),
        ("theirs", {"a": [1]}),
    ]
)
param_changes = st.sampled_from(
    [
        ("name", "fails"),
        ("name", "refuses"),
        ("name", "priced"),
        ("name", 5),
        ("arguments", {"price": "1"}),
        ("arguments", None),
        ("requestState", "x"),
        ("task", {}),
        ("theirs", "\U0001f600"),
        ("_meta", None),
    ]
)
message_changes = st.one_of(
    st.tuples(st.just("id"), values),
    st.tuples(st.just("params"), values),
    st.sampled_from(
        [
            ("jsonrpc", "1.0"),
            ("method", "tools/list"),
            ("method", "prompts/get"),
            ("method", "ping"),
            ("method", "tasks/get"),
            ("method", "server/discover"),
            ("method", 5),
            ("result", {}),
        ]
    ),
)
field_changes = st.sampled_from(
    [
        ("Accept", "application/json"),
        ("Accept", "text/event-stream"),
        ("Accept", "*/*"),
        ("Content-Type", "application/json; charset=utf-8"),
        ("Content-Type", "Application/JSON"),
        ("Content-Type", "text/plain"),
        ("Content-Type", ""),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("MCP-Protocol-Version", "1999-01-01"),
        ("Mcp-Method", "ping"),
        ("Mcp-Name", "fails"),
        ("Mcp-Name", "=?base64?ZWNobw==?="),
        ("Mcp-Name", "\udcff"),
        ("mcp-name", "echo"),
        ("Mcp-Param-Price", "1"),
        ("Mcp-Param-Price", "2"),
        ("Mcp-Session-Id", "nobody"),
        ("Origin", "http://localhost:80"),
        ("Origin", "http://evil.example"),
        ("Host", "evil.example"),
        ("Host", "127.0.0.1:80"),
        ("Host", ""),
        ("Authorization", f"Bearer {ROOT_TOKEN}"),
        ("Authorization", "Bearer no"),
        ("Authorization", "Basic no"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("Connection", "close"),
        ("Expect", "100-continue"),
        ("Content-Length", "0"),
        ("Content-Length", "+5"),
        ("X-Length", "7"),
    ]
)
paths = st.sampled_from([*["/mcp/shop"] * 9, "/mcp/none", "/mcp/sh%6Fp", "/mcp", "/mcp/shop@1", "/mcp/shop?a=b"])


def few(changes: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Seldom more than one change."""
    return st.one_of(st.just([]), st.just([]), st.lists(changes, max_size=2)).map(dict)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A request that is nearly right, without its session, and whether it is of the handshake era."""
    legacy = draw(st.booleans())
    body: Any = legacy_body("echo") if legacy else call_body("echo", {"a": 1})
    body["params"].get("_meta", {}).update(draw(few(meta_changes)))
    body["params"].update(draw(few(param_changes)))
    body.update(draw(few(message_changes)))
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.sampled_from([b"", b"{", b"[]", b"7", [body], [], {}]))
    fields = {"Mcp-Session-Id": "SESSION"} if legacy else {k.replace("_", "-"): v for k, v in modern("echo").items()}
    return request_bytes(body, draw(paths), {**fields, **draw(few(field_changes))}), legacy


@pytest.mark.parametrize("era", [Era.MODERN, Era.LEGACY])
async def test_any_request_is_answered_and_recorded_as_it_is_with_a_task(era: Era) -> None:
    loop = asyncio.get_running_loop()
    async with place(era) as at:
        session = await at.session()

        async def compare(request: bytes) -> None:
            said = []
            for port in (at.inline_port, at.task_port):
                async with Client.of(port) as client:
                    client.writer.write(request.replace(b"SESSION", session.encode()))
                    status, fields, content = await client.answer()
                    fields.pop("mcp-session-id", None)
                    said.append((status, fields, content, at.recorded()))
            assert said[0] == said[1]

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        @given(requests())
        def check(request: tuple[bytes, bool]) -> None:
            asyncio.run_coroutine_threadsafe(compare(request[0]), loop).result(20)

        await asyncio.to_thread(check)
        assert at.inline.begun > 40
        await until(at.at_rest)
