"""What every request and reply of the admin API is, and how it says no."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

EVENTS_PAGE_MAX = 1_000


REASON_CHARS_MAX = 500


ActionName = Literal[
    "promote", "promote-full", "approve", "rollback", "hold", "resume", "freeze", "unfreeze", "abort", "retry",
    "restart", "remove", "pin", "unpin",
]  # fmt: skip


LineName = Literal["stop", "start", "freeze", "unfreeze"]


StreamName = Literal["lifecycle", "activity", "output"]


Seq = Annotated[int, Field(ge=0, le=(1 << 63) - 1)]


class Request(BaseModel):
    """Base of what clients send: a field that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


class Reply(BaseModel):
    """Base of what the node answers: a field that is not known is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True, defer_build=True)


class ErrorBody(Reply):
    """What went wrong, as `henslowe.errors` has it."""

    code: str
    """Stable: programs may match on it."""
    message: str
    hint: str = ""
    """The command to run or the key to change."""
    details: dict[str, Any] = {}


class ErrorReply(Reply):
    """The body of every reply with a status of 400 or more."""

    error: ErrorBody
