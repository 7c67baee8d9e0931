"""The admin routes of recorded traffic: a page of it, and one exchange with everything."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from aiohttp import web

from henslowe.actors.kernel import ActorExit, CallTimeout, names
from henslowe.errors import BadRequest, NotFound
from henslowe.storage.capture import FLUSH, WRITER_NAME, Capture
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.captures import CaptureReply, CapturesQuery, CapturesReply

FLUSH_S_MAX: Final = 2.0
_NS: Final = 1_000_000_000
_NEVER_NS: Final = (1 << 63) - 1


async def listed(call: Call) -> Reply | web.StreamResponse:
    """A page, newest first."""
    query = call.query
    assert isinstance(query, CapturesQuery)
    await _stored()
    source = call.admin.captures
    found = source.read(
        service=query.service,
        version=query.version,
        method=query.method,
        name=query.name,
        errors=query.errors,
        since_ns=int(query.since_s * _NS),
        until_ns=_NEVER_NS if query.until_s is None else int(query.until_s * _NS),
        before_seq=_NEVER_NS if query.before is None else query.before,
        limit=query.limit + 1,
    )
    shown, info = found[: query.limit], source.info()
    return CapturesReply(
        captures=tuple(reply_of(each, bodies=query.bodies) for each in shown),
        next_before=shown[-1].seq if len(found) > len(shown) else None,
        enabled=info.enabled,
        stored=info.exchanges,
        dropped=info.counts.dropped + info.failed,
        sampled_out=info.counts.sampled_out + info.counts.over_rate,
    )


async def one(call: Call) -> Reply | web.StreamResponse:
    """One exchange, with parameters and result."""
    text = call.path("seq")
    if not text.isdecimal() or len(text) > 18:
        raise BadRequest(f"expected the number of a capture, got: {text!r:.40}", hint="henslowe captures lists them")
    found = call.admin.captures.get(int(text))
    if found is None:
        raise NotFound(f"there is no capture {text}, or not any more", hint="henslowe captures lists them")
    return reply_of(found, bodies=True)


async def _stored() -> None:
    """Has the calls of a moment ago stored, so that whoever made one sees it; not worth an error."""
    writer = names.whereis(WRITER_NAME)
    if writer is not None:
        with suppress(CallTimeout, ActorExit):
            await writer.call(FLUSH, FLUSH_S_MAX)


def reply_of(capture: Capture, *, bodies: bool) -> CaptureReply:
    """A capture as the API shows it."""
    return CaptureReply(
        seq=capture.seq,
        time_s=capture.time_ns / _NS,
        service=capture.service,
        version=capture.version,
        instance=capture.instance,
        unit=capture.unit,
        session=capture.unit_is_session,
        era=capture.era,
        method=capture.method,
        name=capture.name,
        request_id=capture.request_id,
        outcome=capture.outcome,
        error=capture.is_error,
        latency_ms=capture.latency_ms,
        read_only=capture.read_only,
        params_bytes=capture.params_bytes,
        answer_bytes=capture.answer_bytes,
        redactions=capture.redactions,
        repeatable=capture.repeatable,
        truncated=capture.truncated,
        params=capture.params if bodies else None,
        result=capture.result if bodies else None,
        failure=capture.error if bodies else None,
    )
