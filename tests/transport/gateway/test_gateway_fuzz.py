"""A little of `bench/fuzz_mcp.py`: mutated requests over raw sockets bring no 500 and no silence."""

from __future__ import annotations

import asyncio
import json
import logging
from urllib.parse import urlsplit

import pytest

from bench.mcp_fuzzing.driving import SUSPECTS_MAX, Driver, Figures, Sessions
from bench.mcp_fuzzing.requests import Fuzzer
from henslowe.actors.endpoints import JsonObject, OnNotification
from henslowe.errors import UpstreamLost
from tests.transport.gateway.world import LocalServer, World, call_body, echo, version, world


@pytest.mark.parametrize("seed", [11, 12])
async def test_mutated_requests_are_answered_in_words(gw: World, seed: int, caplog: pytest.LogCaptureFixture) -> None:
    gw.serve(
        LocalServer(
            version("fixture"), {"test_simple_text": echo}, resources={"test://static-text": "text"}, prompts=("p",)
        )
    )
    sessions = await asyncio.to_thread(Sessions, gw.url)
    figures, fuzzer = Figures(seed), Fuzzer(seed, urlsplit(gw.url).netloc, sessions.of)
    await Driver(gw.url, fuzzer, figures, 1_500, sessions.renew).run()
    assert (figures.broken, figures.suspects) == ([], [])
    assert figures.statuses["200"] > 50, "some of them are right"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and "gateway" in record.name] == []


class Same:
    """A source of one request."""

    def __init__(self, tool: str, host: str) -> None:
        body = json.dumps(call_body(tool)).encode()
        fields = {"Host": host, "Content-Type": "application/json", "Accept": "application/json"}
        fields |= {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "tools/call", "Mcp-Name": tool}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self._request = f"POST /mcp/fixture HTTP/1.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body

    def request(self) -> bytes:
        return self._request


async def hang(_params: JsonObject, _notify: OnNotification) -> JsonObject:
    await asyncio.Event().wait()
    return {}


async def die(_params: JsonObject, _notify: OnNotification) -> JsonObject:
    raise UpstreamLost("cannot call fixture@1: it ended", sent=True)


@pytest.mark.parametrize(("tool", "left"), [("hang", True), ("die", True), ("echo", False)])
async def test_a_request_that_its_server_does_not_answer_is_kept_as_it_was_sent(tool: str, left: bool) -> None:
    async with world(call_timeout_s=0.05) as gw:
        gw.serve(LocalServer(version("fixture"), {"hang": hang, "die": die, "echo": echo}))
        figures, same = Figures(0), Same(tool, urlsplit(gw.url).netloc)
        await Driver(gw.url, same, figures, 1, lambda _request: None).run()
        assert figures.broken == []
        assert bool(figures.left) is left
        assert all(f"Mcp-Name: {tool}" in request for request in figures.suspects)
        assert len(figures.suspects) == min(figures.left, SUSPECTS_MAX)
