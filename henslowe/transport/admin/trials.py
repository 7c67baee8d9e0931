"""The admin route that runs stages for whoever asked, and sends what they say as they run: a JSON object a line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from aiohttp import web
from pydantic import Field

from henslowe.transport.admin.answers import dump_json
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.models.base import Reply, Request

LEFT_S: Final = 0.5
"""How often it is seen whether the client of a silent stage is still there."""


class RunRequest(Request):
    """Which stages are run."""

    stage: str = Field("", max_length=32)
    """Only this one and what it needs; "" for all."""
    cache: bool = True
    """Whether a stage that has not changed may be replayed."""


class RunEventReply(Reply):
    """One line of the answer: something that happened in the run, or that a stage printed (`STAGE_OUTPUT`)."""

    time_s: float
    type: str
    """A word of the vocabulary. `PIPELINE_START` is first, `PIPELINE_COMPLETE` last."""
    status: str
    service: str
    data: dict[str, Any] = {}
    """What belongs to this type; of `PIPELINE_COMPLETE` that failed: `stage`, `message`, `hint`, `exit_code`."""


async def run_stages(call: Call) -> web.StreamResponse:
    """Run stages until they end or the client leaves. What keeps them from beginning is an error as everywhere."""
    body = call.body
    assert isinstance(body, RunRequest)
    events = call.admin.view.run(call.path("service"), stage=body.stage, cache=body.cache, by=call.by)
    response = web.StreamResponse(
        headers={"Content-Type": "application/jsonl; charset=utf-8", "Cache-Control": "no-store"}
    )
    async with contextlib.aclosing(events):
        while (event := await _next(events, call.request)) is not None:
            if not response.prepared:
                await response.prepare(call.request)
            await response.write(dump_json(RunEventReply.model_validate(event)) + b"\n")
    if not response.prepared:
        await response.prepare(call.request)
    await response.write_eof()
    return response


async def _next(events: AsyncGenerator[Mapping[str, Any], None], request: web.Request) -> Mapping[str, Any] | None:
    """The next event, None at the end.

    Raises:
        ConnectionResetError: The client has left: nobody is told of that who does not write.
    """
    coming = asyncio.ensure_future(anext(events, None))
    try:
        while not (await asyncio.wait({coming}, timeout=LEFT_S))[0]:
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("the client has left")
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.wait({coming})
    return coming.result()
