"""A migration as data: declared beside the table that it is for, registered with its `TableSpec`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from henslowe.storage.keys import Key

Fields: TypeAlias = dict[str, Any]
"""A row's fields as plain data: what msgpack gives back, with secrets as `Secret`."""


@dataclass(frozen=True, slots=True)
class Migration:
    """How rows of one schema become rows of a later one, and back. Both functions are pure, and may not fail.

    Attributes:
        table: Name of the table.
        from_schema: The schema that it begins with.
        to_schema: The schema that it leads to, later than `from_schema`.
        forward: The fields of an old row as those of the new one. No two old rows may become the same new one.
        backward: The reverse: the fields of a new row as the old schema had them. It may leave out what the old schema
            has no room for, but `backward(forward(fields))` gives `fields` again; `verify` checks that for every row.
            None: there is no way back for what is written from now on. Then old readers stop at the first new row, a
            rollback keeps the new rows, and the key must stay the same.
        from_key: The key of the old rows, where it is another one than the table's: a field's name, several names for
            a tuple, or a function of the fields.
    """

    table: str
    from_schema: int
    to_schema: int
    forward: Callable[[Fields], Fields]
    backward: Callable[[Fields], Fields] | None = None
    from_key: str | tuple[str, ...] | Callable[[Fields], Key] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.from_schema < self.to_schema:
            raise TypeError(
                f"expected a migration of {self.table!r} to a later schema, got {self.from_schema} to {self.to_schema}"
            )
        if self.from_key is not None and self.backward is None:
            raise TypeError(
                f"expected the migration of {self.table!r} from schema {self.from_schema} to have a way back: "
                "it changes the key"
            )

    def old_key(self, fields: Fields) -> Key:
        """The key of an old row, where the migration changes it."""
        assert self.from_key is not None
        if isinstance(self.from_key, str):
            return fields[self.from_key]  # type: ignore[no-any-return]
        if isinstance(self.from_key, tuple):
            return tuple(fields[name] for name in self.from_key)
        return self.from_key(fields)
