"""Instances: who wants them, who asks them to wake, sleep or be replaced, and what becomes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from henslowe.actors.endpoints import Contract, SoleClient
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.config.upkeep import Scale

# -- version machine -> instances ----------------


DELIVERY: Final = "delivery"
"""The holder on whose behalf instances run that serve, or are about to."""


@dataclass(slots=True, frozen=True)
class EnsureInstance:
    """Cast to INSTANCES: a version must be running (idempotent). Answered by `InstanceUp` or `InstanceBroken`."""

    version: VersionKey
    launch: LaunchSpec
    root: Path | None
    """The materialised build, or None for a declared service."""
    holder: str = DELIVERY
    """On whose behalf: it runs until each holder has released it."""
    scale: Scale = field(default_factory=Scale)
    """What the version says of how many instances it should have."""


@dataclass(slots=True, frozen=True)
class ReleaseInstance:
    """Cast to INSTANCES: a holder wants a version no longer; after the last one: drain, then stop (idempotent)."""

    version: VersionKey
    drain_s: float = 30.0
    holder: str = DELIVERY


# -- gateway, scaler -> instances ----------------


@dataclass(slots=True, frozen=True)
class ScaleVersion:
    """Cast to INSTANCES: so many instances of a version should serve. Ignored while it sleeps."""

    version: VersionKey
    serving: int
    why: str = ""


@dataclass(slots=True, frozen=True)
class SleepVersion:
    """Cast to INSTANCES: nobody uses this version: end its instances, and keep what wakes it."""

    version: VersionKey
    why: str = ""


@dataclass(slots=True, frozen=True)
class WakeVersion:
    """Cast to INSTANCES: somebody calls a version that sleeps (idempotent)."""

    version: VersionKey


@dataclass(slots=True, frozen=True)
class ReplaceInstance:
    """Cast to INSTANCES: start another instance, and once it is up let this one finish and end (idempotent)."""

    version: VersionKey
    instance: InstanceId
    why: str


@dataclass(slots=True, frozen=True)
class VersionOutgrown:
    """Cast to VERSIONS: instances of a version grow beyond its limit of memory, one after another (idempotent)."""

    version: VersionKey
    why: str


# -- gateway -> holds -> instances ----------------


@dataclass(slots=True, frozen=True)
class HoldVersion:
    """Cast to HOLDS, again and again: clients need this version for `hold_s` from now, whether or not it serves."""

    version: VersionKey
    hold_s: float


# -- gateway -> instances ----------------


@dataclass(slots=True, frozen=True)
class OpenPrivate:
    """Call to INSTANCES: a connection of a running version for one client. Reply: its `Endpoint`, in no directory.

    Fails with `Unavailable` (the version is not up, or on its way out), `LimitReached`, `InstanceFailed`.
    """

    version: VersionKey
    client: SoleClient


@dataclass(slots=True, frozen=True)
class ClosePrivate:
    """Cast to INSTANCES: a private connection is not wanted any more: finish its calls, and end it."""

    instance: InstanceId
    drain_s: float = 30.0


# -- instances -> version machine, router ----------------


@dataclass(slots=True, frozen=True)
class InstanceUp:
    """Cast to VERSIONS and ROUTER: an instance answered its handshake and listing; its endpoint is in the directory.

    A version that begins with several instances is announced once all of them are up.
    """

    version: VersionKey
    instance: InstanceId
    contract: Contract
    era: str
    took_s: float


@dataclass(slots=True, frozen=True)
class InstanceDown:
    """Cast to VERSIONS and ROUTER: an instance ended. `expected` when it was released, or its version sleeps."""

    version: VersionKey
    instance: InstanceId
    reason: str
    expected: bool
    left: int = 0
    """Instances of the version that serve on."""


@dataclass(slots=True, frozen=True)
class InstanceBroken:
    """Cast to VERSIONS and ROUTER: a version cannot be kept running (first start failed, or restarts exhausted)."""

    version: VersionKey
    reason: str
    """With the last lines of its standard error."""
