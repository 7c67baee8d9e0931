"""What all runs of a node share: settings, the archive, the stage cache, the connector, and the slots for stages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar
from weakref import WeakValueDictionary

from henslowe.actors.endpoints import Connector
from henslowe.actors.ids import ServiceName
from henslowe.actors.launch import Resolve
from henslowe.actors.pipeline.guard import Limits
from henslowe.actors.pipeline.isolation import Cage, achieved
from henslowe.actors.pipeline.stage_cache import StageCache
from henslowe.config.settings import Settings
from henslowe.storage import Archive, Store

T = TypeVar("T")


@dataclass(slots=True)
class Tools:
    """Shared by the runs; made once."""

    settings: Settings
    workspace: Path
    data_dir: Path
    archive: Archive
    connector: Connector
    marker: str
    secrets: Resolve
    cache: StageCache
    slots: asyncio.Semaphore
    """One per stage that may run at once on the node."""
    cage: Cage
    limits: Limits
    _env_locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @classmethod
    def of(cls, store: Store, settings: Settings, connector: Connector, marker: str = "") -> Self:
        """What runs on this store and with these settings share; see `PipelineExecutor`."""
        pipeline, data_dir = settings.pipeline, store.data_dir.resolve()
        return cls(
            settings=settings,
            workspace=settings.workspace.resolve(),
            data_dir=data_dir,
            archive=store.archive,
            connector=connector,
            marker=marker or f"{store.node}:{store.incarnation}",
            secrets=store.secrets.resolve,
            cache=StageCache(store.data_dir / "cache" / "stages", store.archive),
            slots=asyncio.Semaphore(pipeline.parallel),
            cage=Cage(achieved(pipeline.isolation), data_dir, (data_dir / "envs",), pipeline.processes_max),
            limits=Limits(pipeline.processes_max, pipeline.run_mib_max << 20, pipeline.free_mib_min << 20),
        )

    def env_lock(self, digest: str) -> asyncio.Lock:
        """Whoever makes an environment holds its lock; others wait and then find it made."""
        lock = self._env_locks.get(digest)
        if lock is None:
            lock = self._env_locks[digest] = asyncio.Lock()
        return lock

    @property
    def runs(self) -> Path:
        """Where runs work."""
        return self.data_dir / "runs"

    @property
    def envs(self) -> Path:
        """Where environments are."""
        return self.data_dir / "envs"

    def versions_of(self, service: ServiceName) -> Path:
        """Where the versions of a service are materialised."""
        return self.workspace / "archive" / service


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """`function(*args)` in a thread, waited for even when the caller is cancelled: no thread works on what is gone."""
    working = asyncio.ensure_future(asyncio.to_thread(function, *args))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # whatever it was, it no longer matters
        raise
