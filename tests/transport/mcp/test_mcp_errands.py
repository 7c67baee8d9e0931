"""Errands: small messages that nobody waits for, a bounded number at once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from henslowe.transport.mcp.errands import ERRANDS_MAX, Errands


async def test_more_errands_than_may_be_on_their_way_are_dropped() -> None:
    errands, begun, go = Errands("shop"), [0], asyncio.Event()

    async def errand() -> None:
        begun[0] += 1
        await go.wait()

    for _ in range(ERRANDS_MAX + 5):
        errands.begin(errand())
    await asyncio.sleep(0)
    assert begun == [ERRANDS_MAX]
    go.set()
    await asyncio.sleep(0.01)
    errands.begin(errand())
    await asyncio.sleep(0)
    assert begun == [ERRANDS_MAX + 1]
    await errands.end()


async def test_errands_end_with_their_link_and_none_begins_after_it() -> None:
    errands, cancelled, begun = Errands("shop"), asyncio.Event(), [0]

    async def errand() -> None:
        begun[0] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    errands.begin(errand())
    await asyncio.sleep(0)
    await errands.end()
    assert cancelled.is_set()
    errands.begin(errand())
    await asyncio.sleep(0)
    assert begun == [1]


async def test_an_errand_that_fails_is_logged_with_its_server(caplog: pytest.LogCaptureFixture) -> None:
    errands = Errands("shop")

    async def errand() -> None:
        raise ConnectionError("no way")

    with caplog.at_level(logging.INFO):
        errands.begin(errand())
        await asyncio.sleep(0.01)
    assert [(record.message, record.__dict__["peer"]) for record in caplog.records] == [("errand_failed", "shop")]
