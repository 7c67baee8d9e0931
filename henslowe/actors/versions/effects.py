"""Performing effects: instances, routes, links, folders. Each is idempotent and looks at the rows of now.

An effect that was committed long ago does not insist: a version that is not wanted any more is not started, one that
is wanted again is not released. So the order in which leftovers are driven after a crash does not matter.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from henslowe.actors import names
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import DELIVERY, InstanceBroken, ReleaseInstance, RoutesChanged
from henslowe.actors.versions.rows import (
    SERVICES,
    VERSIONS,
    EffectKind,
    OutboxRow,
    Rehearsal,
    ServiceRow,
    VersionRow,
)
from henslowe.actors.versions.starting import LayOut, Starting
from henslowe.errors import HensloweError, StorageError
from henslowe.storage import Store, remove_tree, swap_link

log = logging.getLogger("henslowe.versions")

ROUTES_TIMEOUT_S: Final = 5.0
LINKS: Final = ("staged", "canary", "active")
"""Folders of the workspace with one link per service, named as the fields of the row."""


class Effects:
    """What the version machine does to the world.

    Args:
        store: Tables and archive.
        workspace: The folder with `archive/`, `staged/`, `canary/` and `active/`.
        drain_s: Longest wait for calls in flight when an instance is released.
        broken: Told when a version cannot even be laid out for starting.
        released: Told when an instance is asked to drain: from then on it does not count as up.
        rehearse: Has captured calls replayed.
        lay_out: Makes folders again that were deleted; None for the bare builds.
    """

    def __init__(
        self,
        store: Store,
        workspace: Path,
        *,
        drain_s: float,
        broken: Callable[[InstanceBroken], None],
        released: Callable[[VersionKey], None],
        rehearse: Callable[[VersionKey, Rehearsal], None],
        lay_out: LayOut | None = None,
    ) -> None:
        self._services = store.table(SERVICES)
        self._versions = store.table(VERSIONS)
        self._archive = store.archive
        self._workspace = workspace
        self._drain_s = drain_s
        self._broken = broken
        self._released = released
        self._rehearse = rehearse
        self._starting = Starting(
            workspace, lay_out or (lambda _key, build, folder, _facts: self._archive.materialise(build, folder))
        )

    async def perform(self, effect: OutboxRow) -> None:
        """Does one effect.

        Raises:
            ActorExit, CallTimeout: The router is not there; try again.
        """
        service = self._services.lookup(effect.service)
        if service is None:
            return
        match effect.kind:
            case EffectKind.ENSURE:
                await self._ensure(service, effect.version)
            case EffectKind.RELEASE:
                self._release(service, effect.version)
            case EffectKind.ROUTES:
                # A call: whatever follows may stop instances that the routes of before lead to.
                await registry.via(names.ROUTER).call(RoutesChanged((effect.service,)), timeout_s=ROUTES_TIMEOUT_S)
            case EffectKind.LINKS:
                await asyncio.to_thread(self._link, service, self._links_of(service))
            case EffectKind.DISCARD:
                await self._discard(effect)
            case EffectKind.REHEARSE:
                row = self._versions.lookup((effect.service, effect.version))
                if row is not None and row.number == service.staged and row.rehearsal and not row.rehearsal.found:
                    self._rehearse(row.key, row.rehearsal)

    def folder(self, row: VersionRow) -> Path:
        """Where a version's build lies."""
        return self._starting.folder(row)

    async def _ensure(self, service: ServiceRow, number: int) -> None:
        row = self._versions.lookup((service.service, number))
        if row is None or row.launch is None or number not in service.wanted:
            return
        try:
            order = await self._starting.order(row, DELIVERY)
        except HensloweError as error:
            self._broken(InstanceBroken(row.key, f"cannot lay out its build: {error}"))
            return
        registry.via(names.INSTANCES).cast(order)

    def _release(self, service: ServiceRow, number: int) -> None:
        if number not in service.wanted:
            self._released(service.key_of(number))
            registry.via(names.INSTANCES).cast(ReleaseInstance(service.key_of(number), self._drain_s))

    def _links_of(self, service: ServiceRow) -> dict[str, Path | None]:
        rows = {state: self._versions.lookup((service.service, getattr(service, state))) for state in LINKS}
        return {state: self.folder(row) if row is not None and row.folder else None for state, row in rows.items()}

    def _link(self, service: ServiceRow, targets: dict[str, Path | None]) -> None:
        """Runs in: a thread. Links are for people's eyes: what cannot be linked is logged and left."""
        for state, target in targets.items():
            link = self._workspace / state / service.service
            try:
                if target is not None:
                    swap_link(link, target)
                elif link.is_symlink():
                    link.unlink()
            except (StorageError, OSError) as error:
                log.warning("link_not_moved link=%s reason=%s", link, error)

    async def _discard(self, effect: OutboxRow) -> None:
        rows = self._versions.rows()
        used = {row.folder for row in rows if row.service == effect.service}
        if effect.folder and effect.folder not in used:
            await asyncio.to_thread(remove_tree, self._workspace / "archive" / effect.service / effect.folder)
        pins = {row.build for row in rows if row.build}
        pins.update(str(row.metadata["kept"]) for row in rows if row.metadata.get("kept"))
        await asyncio.to_thread(self._archive.gc, pins=pins)


def everything_of(service: ServiceName, row: ServiceRow) -> list[OutboxRow]:
    """All effects that follow from a row as it is, for a start: instances (the active one first), routes, links."""
    wanted = sorted(row.wanted, key=lambda number: number != row.active)
    plans = [(EffectKind.ROUTES, 0), (EffectKind.LINKS, 0), *((EffectKind.ENSURE, number) for number in wanted)]
    return [
        OutboxRow(service=service, epoch=row.epoch, effect=f"{kind}:{number}", kind=kind, version=number)
        for kind, number in plans
    ]


def unwanted_of(row: ServiceRow, versions: Iterable[VersionRow]) -> list[OutboxRow]:
    """The releases that follow from the rows as they are: of every version whose instance should not be running."""
    numbers = sorted(version.number for version in versions if version.number not in row.wanted)
    return [
        OutboxRow(
            service=row.service,
            epoch=row.epoch,
            effect=f"{EffectKind.RELEASE}:{number}",
            kind=EffectKind.RELEASE,
            version=number,
        )
        for number in numbers
    ]
