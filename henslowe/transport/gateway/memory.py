"""What the gateway needs of the node beside its sessions: what outlives it, and versions that do not serve.

Each part is a Protocol; the defaults keep everything in the process, for tests and embedding. `managed` has those that
talk to the node's actors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from henslowe.actors.versions import VersionRow
from henslowe.transport.gateway.ranges import Holds, NoHolds, Versions
from henslowe.transport.gateway.replay import NoReplayStore, ReplayStore
from henslowe.transport.gateway.results import NoResultStore, ResultStore
from henslowe.transport.gateway.tasks import MemoryTasks, TaskStore


def no_versions(service: str) -> Iterable[VersionRow]:  # noqa: ARG001 (a Protocol's signature)
    """Where nobody knows of versions: no range means any."""
    return ()


@dataclass(slots=True, frozen=True)
class Memory:
    """The parts."""

    tasks: TaskStore = field(default_factory=MemoryTasks)
    holds: Holds = field(default_factory=NoHolds)
    versions: Versions = no_versions
    replay: ReplayStore = field(default_factory=NoReplayStore)
    results: ResultStore = field(default_factory=NoResultStore)
