"""What the admin API tells of recorded traffic: part of the contract of `models`, which the CLI reads, too."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from henslowe.transport.admin.models.base import Reply, Request, Seq

CAPTURES_PAGE_MAX = 1_000
TIME_S_MAX = 9e9
"""Latest Unix time: in nanoseconds it is just within 64 bits."""


class CapturesQuery(Request):
    """A page of the record, newest first."""

    service: str = ""
    version: Annotated[int, Field(ge=0)] = 0
    """Answered by this version; 0 for any."""
    method: str = ""
    """`tools/call`, `prompts/get`, `resources/read`."""
    name: str = ""
    """Of this tool, prompt or resource."""
    errors: bool | None = None
    """Only errors, or only what is none."""
    since_s: Annotated[float, Field(ge=0, le=TIME_S_MAX)] = 0.0
    """From this Unix time on."""
    until_s: Annotated[float, Field(ge=0, le=TIME_S_MAX)] | None = None
    before: Seq | None = None
    """Older than the capture of this number: for the next page, `next_before` of the last one."""
    limit: Annotated[int, Field(ge=1, le=CAPTURES_PAGE_MAX)] = 100
    bodies: bool = False
    """With parameters and results."""


class CaptureReply(Reply):
    """One recorded exchange. Its secrets were taken out before it was stored."""

    seq: int
    time_s: float
    service: str
    version: int
    instance: str
    unit: str
    """Digest of the session or client: equal for equal ones, on this node."""
    session: bool
    """Whether the unit is a session."""
    era: str
    """legacy or modern: how the client spoke."""
    method: str
    name: str = ""
    """The tool, prompt or resource."""
    request_id: Any = None
    outcome: str
    """ok, tool_error, internal_error, invalid_params, transport, timeout or crash."""
    error: bool
    """Whether it was an error for the client."""
    latency_ms: float
    read_only: bool
    """Whether the server says that such a call changes nothing."""
    params_bytes: int
    """About so many bytes were sent."""
    answer_bytes: int
    redactions: int = 0
    """Secrets taken out, in parameters and answer."""
    repeatable: bool = True
    """Whether the parameters are as they were: nothing taken out, nothing cut off."""
    truncated: bool = False
    params: Any = None
    """Where bodies were asked for."""
    result: Any = None
    failure: Any = None
    """The JSON-RPC error, or why no answer came."""


class CapturesReply(Reply):
    """A page of the record, and how recording goes."""

    captures: tuple[CaptureReply, ...]
    next_before: int | None = None
    """Give it as `before` for what is older; null at the end."""
    enabled: bool = True
    stored: int = 0
    """Exchanges in the record."""
    dropped: int = 0
    """Not recorded since the start, though wanted: the queue was full, or the disk refused."""
    sampled_out: int = 0
    """Not recorded since the start, as the settings say: not in the sample, or above the rate."""
