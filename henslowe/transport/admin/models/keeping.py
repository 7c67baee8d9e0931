"""What is kept, as the admin API tells it: migrations of tables, and secrets by name."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SecretStr

from henslowe.transport.admin.models.base import Reply, Request


class MigrationReply(Reply):
    """The newest migration of one table. Times are 0 for not yet."""

    table: str
    from_schema: int
    to_schema: int
    """Lower than `from_schema` for a rollback after the old form was dropped."""
    phase: str
    """The last one that is complete: expand, backfill, verify, flip, drop or rolled_back."""
    goal: str
    """The last one that was asked for."""
    running: bool
    """Whether both forms of the table are kept."""
    rows_done: int = 0
    """Rows of the phase that is under way."""
    started_s: float = 0.0
    changed_s: float = 0.0
    """When `phase` was completed."""
    flipped_s: float = 0.0
    by: str = ""
    problem: str = ""
    """Why it stands still."""


class PlannedMigrationReply(Reply):
    """What is to be done for one table."""

    table: str
    from_schema: int
    to_schema: int
    phases: tuple[str, ...]
    """Those that are left, in order."""
    rows: int
    size_bytes: int
    reversible: bool
    """Whether an older Henslowe can take over again, with the rows that are written meanwhile."""
    estimate_s: float
    """Until the flip, at the rate of `storage.migration_rows_per_s`."""
    problem: str = ""


class MigrationsReply(Reply):
    """The migrations of the node's tables."""

    migrations: tuple[MigrationReply, ...] = ()
    planned: tuple[PlannedMigrationReply, ...] = ()
    """Under way, or to be begun."""


class MigrateRequest(Request):
    """Which tables are to be migrated how far, or back."""

    table: str = ""
    """"" for all that wait."""
    to: Literal["expand", "backfill", "verify", "flip", "drop"] = "flip"
    """After `flip` the old form is dropped when `storage.rollback_window_s` is over."""
    rollback: bool = False
    """Instead: back to what `table` was before its migration."""


SecretName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class SecretReply(Reply):
    """A secret, without its value: that is never in an answer."""

    name: str
    created_s: float
    changed_s: float
    by: str
    """Who set it last."""
    key: str
    """Id of the key that it is sealed with."""
    services: tuple[str, ...] = ()
    """Declared services that refer to it."""


class SecretsReply(Reply):
    """The secrets of the node, and the keys that seal them."""

    secrets: tuple[SecretReply, ...] = ()
    key_file: str
    key_source: str
    """credential, setting or default."""
    keys: tuple[str, ...] = ()
    """Ids of the keys in the file, the one that seals first; none before the first secret."""
    rotating: bool = False
    """Whether everything is being sealed anew."""
    rows_done: int = 0


class SetSecretRequest(Request):
    """A secret to be kept."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: SecretName
    value: Annotated[SecretStr, Field(min_length=1, max_length=32 * 1024)]
