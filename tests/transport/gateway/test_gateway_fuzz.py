"""A little of `bench/fuzz_mcp.py`: mutated requests over raw sockets bring no 500 and no silence."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import urlsplit

import pytest

from bench.fuzz_mcp import Driver, Figures, Fuzzer, Sessions
from tests.transport.gateway.world import LocalServer, World, echo, version


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
    assert figures.broken == []
    assert figures.statuses["200"] > 50, "some of them are right"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR and "gateway" in record.name] == []
