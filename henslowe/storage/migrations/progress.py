"""How far a migration has come: its phases, its durable row, and what follows from it. Pure.

A row is kept for every table that was ever migrated. It also says where the table is: in the sub-database of
generation 0, `t.NAME`, where every table begins, or in that of generation 1, `t.NAME@1`; a migration leads from the one
to the other.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel

from henslowe.storage.tablespec import TableSpec

BY_ITSELF: Final = "henslowe"
"""Who began a migration that nobody asked for."""


class Phase(StrEnum):
    """The last phase of a migration that is complete."""

    EXPAND = "expand"
    """The second sub-database exists; every write goes to both."""
    BACKFILL = "backfill"
    """Every row was copied."""
    VERIFY = "verify"
    """Every row was compared."""
    FLIP = "flip"
    """The second one is the table; the first one is still written: the rollback window."""
    DROP = "drop"
    """The first one is empty."""
    ROLLED_BACK = "rolled_back"
    """The first one is the table, the second one is empty."""


ORDER: Final = (Phase.EXPAND, Phase.BACKFILL, Phase.VERIFY, Phase.FLIP, Phase.DROP)
_OVER: Final = (Phase.DROP, Phase.ROLLED_BACK)


class MigrationRow(BaseModel, frozen=True, extra="forbid"):
    """The newest migration of one table, durable. Times are Unix seconds, 0 for not yet."""

    table: str
    from_schema: int
    to_schema: int
    """Lower than `from_schema` for a rollback after the drop."""
    from_generation: int
    to_generation: int
    phase: Phase
    goal: Phase
    """The last phase that was asked for; the drop comes by itself when the rollback window is over."""
    rows: int = 0
    """Rows copied, or compared, in the phase that is under way."""
    cursor: bytes = b""
    """Packed key of the last of them."""
    started_s: float
    changed_s: float
    """When `phase` was completed."""
    flipped_s: float = 0.0
    by: str
    """Who began it, or rolled it back."""
    problem: str = ""
    """Why it stands still."""

    @property
    def running(self) -> bool:
        """Whether there are two sub-databases to be kept the same."""
        return self.phase not in _OVER

    @property
    def flipped(self) -> bool:
        """Whether the second sub-database is the table."""
        return self.phase in (Phase.FLIP, Phase.DROP)

    @property
    def generation(self) -> int:
        """Where the table is."""
        return self.to_generation if self.flipped else self.from_generation

    @property
    def schema_now(self) -> int:
        """Of which schema the table's sub-database is."""
        return self.to_schema if self.flipped else self.from_schema

    @property
    def forward(self) -> bool:
        """Whether it leads to the later schema."""
        return self.to_schema > self.from_schema


MIGRATIONS: Final = TableSpec(name="migrations", row_type=MigrationRow, key="table")


def db_name(table: str, generation: int) -> str:
    """The sub-database of a table's generation."""
    return f"t.{table}@{generation}" if generation else f"t.{table}"


def following(row: MigrationRow, *, now_s: float, window_s: float) -> Phase | None:
    """The phase to work on now; None when there is nothing to do."""
    if not row.running or row.problem:
        return None
    wanted = ORDER[ORDER.index(row.phase) + 1]
    if wanted is Phase.DROP and row.goal is Phase.FLIP:
        return Phase.DROP if now_s >= row.flipped_s + window_s else None
    return wanted if ORDER.index(row.goal) >= ORDER.index(wanted) else None


def settled(row: MigrationRow | None, *, pending: bool) -> bool:
    """Whether a table needs nothing that should begin by itself.

    What was rolled back stays so until somebody asks for it again.
    """
    if not pending:
        return True
    return row is not None and (row.running or row.phase is Phase.ROLLED_BACK or not row.forward)
