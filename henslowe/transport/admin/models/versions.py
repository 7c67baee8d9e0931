"""Versions as the admin API tells them: their stages, and what their contracts changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.figures import ReplayReply
from henslowe.transport.admin.models.services import TestsReply


class StageReply(Reply):
    """One stage of a version's pipeline run."""

    name: str
    status: str
    took_s: float | None = None
    tests: TestsReply | None = None
    """As its JUnit report says."""
    coverage_percent: float | None = None
    """Lines that its tests reached, as its report says."""

    @classmethod
    def of(cls, name: str, report: Mapping[str, Any]) -> StageReply:
        """A stage as the facts of a version have it."""
        return cls(
            name=name,
            status=report["status"],
            took_s=report["duration_ms"] / 1000,
            tests=report.get("tests"),
            coverage_percent=report.get("coverage", {}).get("percent"),
        )


class ContractChangeReply(Reply):
    """One difference between the contracts of two versions."""

    step: str
    """major, risky, minor or patch."""
    subject: str
    """What it is about: `tool 'add'`."""
    text: str


class ContractReply(Reply):
    """What a version changes for clients."""

    against: int
    """The version that it was compared with."""
    step: str
    """The gravest of the changes; `none` without one."""
    changes: tuple[ContractChangeReply, ...] = ()
    more: int = 0
    """Changes that are not listed."""


class VersionReply(Reply):
    """One version of a service."""

    version: int
    state: str
    """DEVELOPMENT, STAGED, CANARY, ACTIVE, ARCHIVED, FAILED, ROLLED_BACK or SUPERSEDED."""
    semver: str = ""
    build: str = ""
    """Digest of its content; equal builds are the same files."""
    created_s: float = 0.0
    changed_s: float = 0.0
    """When it came into its state."""
    permanent: bool = False
    pinned: bool = False
    """Kept by a person's wish, however many newer ones there are."""
    """Whether it passed its probation and is what the node boots after a crash."""
    tools: int = 0
    stages: tuple[StageReply, ...] = ()
    reason: str = ""
    """Why it failed, was rolled back or superseded."""
    contract: ContractReply | None = None
    """What it changes for the clients of the version that was active when it was built; null for the first one."""
    replay: ReplayReply | None = None
    """What captured calls showed of it; null where none were replayed."""


class VersionsReply(Reply):
    """The versions of a service, newest first."""

    service: str
    versions: tuple[VersionReply, ...]
