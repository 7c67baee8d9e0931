"""The JSON contract of one version and of what is kept with it; as `models`."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from henslowe.transport.admin.models.base import Reply, Request


class VersionFactsReply(Reply):
    """One version, whole."""

    service: str
    version: int
    state: str
    semver: str = ""
    build: str = ""
    created_s: float = 0.0
    changed_s: float = 0.0
    reason: str = ""
    facts: dict[str, Any] = {}
    """Who and why (`by`, `why`), digests (`source_digest`, `env_digest`, `lock_digest`, `contract_digest`), how its
    `stages` went with their `tests` and `coverage`, what it `offers`, and more as it is known."""


class ArtifactReply(Reply):
    """One file that was kept."""

    path: str
    """`STAGE/PATH`."""
    size_bytes: int
    digest: str
    """SHA-256 of its content."""


class ArtifactsReply(Reply):
    """The files kept with a version, by path."""

    service: str
    version: int
    artifacts: tuple[ArtifactReply, ...] = ()


class ArtifactQuery(Request):
    """Which file."""

    path: str = Field(min_length=1, max_length=4096)
    """As the list of artifacts has it."""
