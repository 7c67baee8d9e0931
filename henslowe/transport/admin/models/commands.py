"""What people tell a service or the node to do, and what is answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from henslowe.transport.admin.models.base import REASON_CHARS_MAX, Reply, Request
from henslowe.transport.admin.models.services import HaltReply


class CommandRequest(Request):
    """A person's command on a service."""

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Kept in the log with the command."""
    to_version: Annotated[int, Field(ge=1)] | None = None
    """For rollback: which archived version, else the previous one. For retry, pin and unpin: which version."""
    expected_epoch: Annotated[int, Field(ge=0)] | None = None
    """Do nothing when the service has moved on since it was looked at."""
    until_s: Annotated[float, Field(gt=0, le=1e11)] | None = None
    """For freeze: Unix time at which it ends by itself, else when somebody ends it."""
    override_freeze: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """For what leads a version on: why it may go through a freeze."""
    skip_hooks: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """For what leads a version on: why its hooks are not asked this time."""


class AllServicesRequest(Request):
    """A person's command on all services at once."""

    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    """Kept in the log with the command."""
    until_s: Annotated[float, Field(gt=0, le=1e11)] | None = None
    """For freeze: Unix time at which it ends by itself, else when somebody ends it."""


class AllServicesReply(Reply):
    """What the command led to, and what holds for all services now."""

    action: str
    changed: bool = False
    message: str = ""
    """The same in a sentence."""
    stopped: HaltReply | None = None
    freeze: HaltReply | None = None


class CommandReply(Reply):
    """What the command led to."""

    service: str
    action: str
    state: str = ""
    """The state of the version after it."""
    version: int | None = None
    """The version that it was about."""
    message: str = ""
    """The same in a sentence."""


class BuildReply(Reply):
    """The version that the new pipeline run will make."""

    service: str
    version: int
