"""The JSON contract of services as data; as `models`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from henslowe.config.manifest.editing import TEXT_CHARS_MAX
from henslowe.transport.admin.models.base import Reply, Request


class ManifestReply(Reply):
    """A service's `service.toml`."""

    service: str
    path: str
    """Its folder in the workspace."""
    text: str
    """All of it; "" where there is none and everything is inferred."""
    etag: str
    """Also the header `ETag`; give it as `If-Match` with a change of what was read."""
    values: dict[str, Any] = {}
    """The same as JSON."""
    created: bool = False
    """Whether this request made the service."""
    builds: bool = False
    """Whether the change touches the build; else it holds without a new version."""


class PutManifestRequest(Request):
    """All of a `service.toml`. `If-None-Match: *` makes a new service; without it there has to be one."""

    text: str = Field(max_length=TEXT_CHARS_MAX)


class PatchManifestRequest(Request):
    """Some keys of a `service.toml`; its comments stay."""

    set: dict[str, Any] = Field({}, max_length=100)
    """By dotted key: `{"canary_percent": 5, "health.max_error_rate": 0.05}`."""
    remove: tuple[str, ...] = Field((), max_length=100)
    """Keys that shall go back to their defaults."""


class RemovedReply(Reply):
    """A service that was removed."""

    service: str
    kept_at: str
    """Where its folder is now: nothing is deleted."""
    retired: bool
    """Whether it was deployed, and its instances are being drained now."""
