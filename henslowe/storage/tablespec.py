"""What a table is, as data: its rows' type, their key, their schema over time, and where it lives.

Not here: reading and writing (`tables`, `bags`).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from henslowe.errors import Corrupt, FormatTooNew, StorageError
from henslowe.storage import codec
from henslowe.storage.keys import Key

R = TypeVar("R", bound=BaseModel)

Kind = Literal["set", "ordered_set", "bag"]
Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

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

    def __post_init__(self) -> None:
        if not self.row_type.model_config.get("frozen"):
            raise TypeError(f"expected table {self.name!r} to have a frozen row type, got {self.row_type.__name__}")
        missing = [number for number in range(1, self.schema) if number not in self.upcast]
        if missing:
            raise TypeError(f"expected table {self.name!r} to have an upcast from schema {missing[0]}, got none")

    def key_of(self, row: R) -> Key:
        """The row's key."""
        if isinstance(self.key, str):
            return getattr(row, self.key)  # type: ignore[no-any-return]
        if isinstance(self.key, tuple):
            return tuple(getattr(row, name) for name in self.key)
        return self.key(row)

    def encode(self, row: R) -> bytes:
        """The row's body on disk.

        Raises:
            StorageError: Another type than the table's, or a field that cannot be encoded.
        """
        if type(row) is not self.row_type:
            raise StorageError(
                f"expected a row of {self.row_type.__name__} for {self.name!r}, got {type(row).__name__}"
            )
        return codec.encode(row.model_dump(round_trip=True, by_alias=False))

    def decode(self, body: bytes, schema: int) -> R:
        """The row of a body, brought to the current schema.

        Raises:
            FormatTooNew: A newer Henslowe wrote the row.
            Corrupt: The body does not fit the row's type.
        """
        if schema > self.schema:
            raise FormatTooNew(
                f"cannot read table {self.name!r}: expected schema {self.schema} or older, got {schema}",
                hint="start the newer Henslowe, or restore a backup made by this one",
            )
        fields = codec.decode(body)
        for number in range(schema, self.schema):
            fields = self.upcast[number](fields)
        try:
            return self.row_type.model_validate(fields, by_name=True, by_alias=False)
        except ValidationError as error:
            raise Corrupt(f"cannot read table {self.name!r}: {error}") from error
