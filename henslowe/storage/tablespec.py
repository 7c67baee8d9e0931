"""What a table is, as data: its rows' type, their key, their schema over time, and where it lives.

Not here: reading and writing (`tables`, `bags`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from henslowe.errors import Corrupt, FormatTooNew, StorageError
from henslowe.storage import codec
from henslowe.storage.keys import Key
from henslowe.storage.migrations.declared import Fields, Migration
from henslowe.storage.sealing import has_secrets

R = TypeVar("R", bound=BaseModel)

Kind = Literal["set", "ordered_set", "bag"]
Upcast: TypeAlias = Callable[[Fields], Fields]

ROWS_MAX: Final = 1_000_000


class Space(StrEnum):
    """Which environment something lives in; also its folder in the data directory."""

    CORE = "core"
    """Acknowledged means that it survives power loss. Tables and events."""
    CAPTURE = "capture"
    """Survives the process; power loss may take the last commit. Recorded traffic, no tables."""
    CACHE = "cache"
    """Thrown away when the node did not stop cleanly: only what can be fetched again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec(Generic[R]):
    """What a table is. Data: declare it once, beside the actor that owns the table.

    Attributes:
        name: Unique in the store.
        row_type: A frozen pydantic model.
        key: The key of a row: a field's name, several names for a tuple, or a function.
        kind: `set`, `ordered_set` (keys can be walked in order) or `bag` (several rows under one key).
        schema: Number of the row's shape, counted up with every change that old rows do not fit.
        upcast: For every older schema, a function from its fields to those of the next one; applied on reading.
        migrations: In place of an upcast, for a change after which the rows are to be stored anew: because the key
            changes, an older Henslowe must be able to take over again, or the upcast is too slow for every start.
        durable: False keeps the table in memory only, with the same API.
        indexes: Named functions from a row to the value under which `by` finds it.
        rows_max: Inserting more is refused.
        space: The environment it lives in: `CORE`, or `CACHE` for what may be lost.
    """

    name: str
    row_type: type[R]
    key: str | tuple[str, ...] | Callable[[R], Key]
    kind: Kind = "set"
    schema: int = 1
    upcast: Mapping[int, Upcast] = field(default_factory=dict)
    durable: bool = True
    indexes: Mapping[str, Callable[[R], Hashable]] = field(default_factory=dict)
    rows_max: int = ROWS_MAX
    space: Space = Space.CORE
    migrations: tuple[Migration, ...] = ()

    def __post_init__(self) -> None:
        if not self.row_type.model_config.get("frozen"):
            raise TypeError(f"expected table {self.name!r} to have a frozen row type, got {self.row_type.__name__}")
        for number in range(1, self.schema):
            ways = (number in self.upcast) + sum(each.from_schema == number for each in self.migrations)
            skipped = any(each.from_schema < number < each.to_schema for each in self.migrations)
            if ways != 1 and not (skipped and not ways):
                found = "none" if not ways else "several"
                raise TypeError(f"expected table {self.name!r} to have an upcast from schema {number}, got {found}")
        for each in self.migrations:
            if each.table != self.name or each.to_schema > self.schema:
                raise TypeError(f"expected migrations of table {self.name!r} to schema {self.schema}, got {each}")
        if self.migrations and (self.space is not Space.CORE or not self.durable):
            raise TypeError(f"expected no migrations of table {self.name!r}: it is not kept")
        if self.space is not Space.CORE and self.durable and has_secrets(self.row_type):
            raise TypeError(f"expected no secrets in the rows of {self.name!r}: only the core has keys")

    def key_of(self, row: R) -> Key:
        """The row's key."""
        if isinstance(self.key, str):
            return getattr(row, self.key)  # type: ignore[no-any-return]
        if isinstance(self.key, tuple):
            return tuple(getattr(row, name) for name in self.key)
        return self.key(row)

    def fields_of(self, row: R) -> Fields:
        """The row's fields, as they are stored.

        Raises:
            StorageError: Another type than the table's.
        """
        if type(row) is not self.row_type:
            raise StorageError(
                f"expected a row of {self.row_type.__name__} for {self.name!r}, got {type(row).__name__}"
            )
        return row.model_dump(round_trip=True, by_alias=False)

    def row_of(self, fields: Fields, schema: int, place: object = "") -> R:
        """The row of stored fields, brought to the current schema.

        Args:
            fields: As `schema` had them.
            schema: The record's.
            place: The record's key, for the error.

        Raises:
            FormatTooNew: A newer Henslowe wrote the row.
            Corrupt: The fields do not fit the row's type.
        """
        if schema != self.schema:
            fields = self._lifted(fields, schema, place)
        try:
            return self.row_type.model_validate(fields, by_name=True, by_alias=False)
        except ValidationError as error:
            raise Corrupt(
                f"cannot read table {self.name!r}, {place!r:.80}: {_without_values(error)}", table=self.name
            ) from error

    def encode(self, row: R) -> bytes:
        """The row's body on disk. Raises what `fields_of` raises; StorageError for a field that has no form as data."""
        return codec.encode(self.fields_of(row))

    def decode(self, body: bytes, schema: int) -> R:
        """The row of a body, brought to the current schema. Raises what `row_of` raises."""
        return self.row_of(codec.decode(body), schema)

    def level_of(self, schema: int) -> int:
        """The schema under which a table is kept that has records of `schema`: where the next migration begins."""
        return min((each.from_schema for each in self.migrations if each.from_schema >= schema), default=self.schema)

    def way_up(self, schema: int) -> list[Migration | Upcast]:
        """What leads from the fields of `schema` to the current ones, in order."""
        way: list[Migration | Upcast] = []
        while schema < self.schema:
            migration = next((each for each in self.migrations if each.from_schema == schema), None)
            if migration is not None:
                way.append(migration)
                schema = migration.to_schema
            else:
                way.append(self.upcast[schema])
                schema += 1
        return way

    def _lifted(self, fields: Fields, schema: int, place: object) -> Fields:
        if schema > self.schema:
            raise FormatTooNew(
                f"cannot read table {self.name!r}, {place!r:.80}: expected schema {self.schema} or older, got {schema}",
                hint="start the newer Henslowe, or restore a backup made by this one",
                table=self.name,
                found=schema,
                supported=self.schema,
            )
        try:
            for step in self.way_up(schema):
                fields = step.forward(fields) if isinstance(step, Migration) else step(fields)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Corrupt(
                f"cannot read table {self.name!r}, {place!r:.80}: its fields of schema {schema} cannot be brought to "
                f"schema {self.schema}: {type(error).__name__}: {error}",
                table=self.name,
            ) from error
        return fields


def _without_values(error: ValidationError) -> str:
    """What is wrong with a row, by field; not what the fields hold, which may be secret."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found[:3])
