"""The actor that carries migrations, and rotations of keys, out in a node: by itself, at a bounded rate, or when asked.

At boot it goes on with what was under way, and begins what is declared and not begun (unless `storage.migrations` is
`manual`). Between two pages it pauses, so that others have most of the writer and of the loop. Commands are answered
when they are begun or, for a rollback, done; how far a migration is can be read in the table `MIGRATIONS`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from henslowe.actors.kernel import LoopActor, Reply, Timer
from henslowe.config.settings import StorageSettings
from henslowe.errors import HensloweError
from henslowe.storage.migrations.compare import COMPARED_ROWS
from henslowe.storage.migrations.engine import PAGE_ROWS, Migrator
from henslowe.storage.migrations.progress import MigrationRow, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from henslowe.storage.rotation import Rotation

RUNNER_NAME: Final = "storage.migrations"
TICK_S: Final = 60.0
"""How often the end of a rollback window is looked for, and tables that were opened late."""
AGAIN_S: Final = 5.0
"""Wait after the disk refused a page."""
SHARE_MAX: Final = 0.25
"""Most of the time that pages take, however fast they may be asked for."""

log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Migrate:
    """Call to the runner: begin the migration of `table`, or lead it on, until `goal` is complete."""

    table: str
    goal: Phase
    by: str


@dataclass(slots=True, frozen=True)
class RollBack:
    """Call to the runner: lead `table` back to what it was before its migration."""

    table: str
    by: str


@dataclass(slots=True, frozen=True)
class Rotate:
    """Call to the runner: begin to seal all secrets with a new key."""

    by: str


@dataclass(slots=True, frozen=True)
class _Work:
    """Info to self: do a page, or look whether there is one to do."""


class MigrationRunner(LoopActor):
    """Runs the migrations of one store.

    Args:
        migrator: Carries them out.
        settings: `migrations`, `migration_rows_per_s` and `rollback_window_s`.
        rotation: Renews keys; it gets its turn when no table is being migrated.
        share_max: Most of the time that pages may take, 0 to 1.
        now_s: The clock, in Unix seconds.
    """

    def __init__(
        self,
        migrator: Migrator,
        settings: StorageSettings,
        rotation: Rotation | None = None,
        *,
        share_max: float = SHARE_MAX,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._rotation = rotation
        self._share_max = share_max
        self._migrator = migrator
        self._settings = settings
        self._now_s = now_s
        self._timer: Timer | None = None

    async def init(self) -> None:
        """Goes on where the last life was."""
        if self._rotation is not None:
            try:
                await self._rotation.resume()
            except HensloweError as error:
                # Whoever needs a secret learns why there is none.
                log.warning("secrets_without_keys", extra={"reason": error.message, "hint": error.hint})
        self._work_in(0.0)

    async def handle_call(self, message: Migrate | RollBack | Rotate, _sender: Reply) -> object:
        """Begins a migration or a rotation, or rolls back; the row after it. Raises what those raise."""
        try:
            match message:
                case Migrate(table, goal, by):
                    return await self._migrator.begin(table, goal=goal, by=by)
                case RollBack(table, by):
                    return await self._migrator.roll_back(table, by=by)
                case Rotate(by):
                    assert self._rotation is not None
                    return await self._rotation.begin(by=by)
        finally:
            self._work_in(0.0)

    async def handle_info(self, _message: _Work) -> None:
        """Does one page of one table; tables are migrated one after the other, by their names."""
        started_s = time.perf_counter()
        try:
            pause_s = await self._work()
        except HensloweError as error:
            log.warning("migration_waits", extra={"reason": error.message})
            pause_s = AGAIN_S
        took_s = time.perf_counter() - started_s
        self._work_in(max(pause_s - took_s, took_s * (1 / self._share_max - 1)))

    async def _work(self) -> float:
        """Does what is next; how long a page may take altogether, in seconds."""
        if self._settings.migrations == "auto":
            for table in self._migrator.waiting():
                await self._migrator.begin(table)
        now_s, window_s = self._now_s(), self._settings.rollback_window_s
        for table in self._migrator.running():
            phase = self._migrator.next_phase(table, now_s=now_s, window_s=window_s)
            if phase is not None:
                await self._migrator.step(table, now_s=now_s, window_s=window_s)
                self._tell(table, phase)
                rows = COMPARED_ROWS if phase is Phase.VERIFY else PAGE_ROWS
                return rows / self._settings.migration_rows_per_s
        if self._rotation is not None and await self._rotation.step():
            return PAGE_ROWS / self._settings.migration_rows_per_s
        return TICK_S

    def _tell(self, table: str, phase: Phase) -> None:
        row = next(row for row in self._rows() if row.table == table)
        if row.problem:
            log.error("migration_stopped", extra={"table": table, "phase": row.phase.value, "problem": row.problem})
        elif row.phase is phase:
            log.info("migration_phase", extra={"table": table, "phase": phase.value, "schema": row.to_schema})

    def _rows(self) -> Sequence[MigrationRow]:
        return self._migrator.rows()

    def _work_in(self, delay_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.send_after(delay_s, _Work())
