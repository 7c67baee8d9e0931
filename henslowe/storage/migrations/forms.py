"""A table's form under one schema: its sub-database, and how a row lies there. Pure.

A table has one form, or two while it is being migrated. Every write goes to all of them; the first is the one that is
read, and what is shown of a row is what that one can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Final, Generic

from henslowe.errors import Conflict, Corrupt, StorageError
from henslowe.storage import codec, keys, sealing
from henslowe.storage.keys import SEQ, Key
from henslowe.storage.migrations.declared import Fields, Migration
from henslowe.storage.sealing import Place, Sealer
from henslowe.storage.tablespec import R, TableSpec

WHOLE: Final = b""
"""In place of a key: everything in the sub-database (an empty key cannot be stored)."""


class Form(Generic[R]):
    """One form of a table.

    Args:
        spec: The table.
        db_name: The sub-database.
        schema: Of the rows that are written to it; rows of older schemas may lie there, too.
        sealer: Seals secrets in the rows; called only if there are any.
    """

    __slots__ = (
        "_backs",
        "_key_bytes_max",
        "_plain",
        "_rekeyed",
        "_sealer",
        "_seals",
        "_suffix",
        "db_name",
        "schema",
        "spec",
    )

    def __init__(self, spec: TableSpec[R], db_name: str, schema: int, sealer: Sealer) -> None:
        self.spec = spec
        self.db_name = db_name
        self._sealer = sealer
        self._seals = sealing.has_secrets(spec.row_type)
        way = spec.way_up(schema)
        backs = [each.backward for each in way if isinstance(each, Migration) and each.backward is not None]
        if len(backs) != len(way):
            # No way back for new rows: they are written as they are. Whoever reads them has the way up.
            self._refuse_stuck(schema)
            schema, way, backs = spec.schema, [], []
        self.schema = schema
        self._backs: list[Callable[[Fields], Fields]] = backs[::-1]
        self._rekeyed = any(isinstance(each, Migration) and each.from_key is not None for each in way)
        self._plain = not self._seals and not backs
        # A bag has a counter behind the key.
        self._suffix = SEQ.size if spec.kind == "bag" else 0
        self._key_bytes_max = keys.KEY_BYTES_MAX - self._suffix

    @property
    def own(self) -> bool:
        """Whether it holds rows as they are now."""
        return not self._backs

    @property
    def rekeyed(self) -> bool:
        """Whether its rows have other keys than the table's."""
        return self._rekeyed

    # -- writing ----------------

    def put(self, row: R, suffix: bytes = b"") -> tuple[bytes, bytes, R]:
        """Key and record of `row` here, and the row as it will be read from here.

        Args:
            row: What is written.
            suffix: Behind the packed key: a bag's counter.

        Raises:
            KeyRefused, StorageError: The row cannot be stored.
            Conflict: This form cannot hold a row under such a key.
        """
        key = self.spec.key_of(row)
        if self._plain:
            packed = keys.pack(key, bytes_max=self._key_bytes_max) + suffix
            body = self.spec.encode(row)
            return packed, codec.seal(packed, self.schema, body), self.spec.decode(body, self.schema)
        fields = self._lowered(row)
        packed = keys.pack(self._key(fields, key), bytes_max=self._key_bytes_max) + suffix
        stored = fields
        if self._seals:
            stored = sealing.seal_fields(fields, self._sealer, Place(self.spec.name, packed, self.schema))
        record = codec.seal(packed, self.schema, codec.encode(stored))
        image = self.spec.row_of(self._plain_data(fields), self.schema, key)
        if self._backs and self.spec.key_of(image) != key:
            raise Conflict(
                f"cannot insert {key!r:.80} into {self.spec.name!r}: its form of schema {self.schema}, which is still "
                f"kept, would have it under {self.spec.key_of(image)!r:.80}",
                hint=f"finish the migration first: henslowe storage migrate {self.spec.name} --to drop",
                table=self.spec.name,
            )
        return packed, record, image

    def pack(self, row: R, suffix: bytes = b"") -> bytes:
        """The key of `row` here."""
        key = self.spec.key_of(row)
        if self._rekeyed:
            key = self._key(self._lowered(row), key)
        return keys.pack(key, bytes_max=self._key_bytes_max) + suffix

    # -- reading ----------------

    def suffix(self, packed: bytes) -> bytes:
        """What stands behind the key."""
        return packed[len(packed) - self._suffix :]

    def read(self, packed: bytes, record: bytes) -> tuple[Key, R, int]:
        """The table's key, the row and the schema of a record that lies here.

        Raises:
            Corrupt: It is damaged, or lies under another key than its own.
            FormatTooNew: A newer Henslowe wrote it.
        """
        schema, fields = self._opened(packed, record)
        row = self.spec.row_of(fields, schema, packed)
        key = self.spec.key_of(row)
        stored = key if schema == self.spec.schema else self._key_at(fields, schema, key)
        if keys.pack(stored) != packed[: len(packed) - self._suffix]:
            raise Corrupt(
                f"cannot read table {self.spec.name!r}: a row is stored under another key than its own",
                table=self.spec.name,
            )
        return key, row, schema

    def undoes(self, packed: bytes, record: bytes) -> bool:
        """Whether writing a row that was read from this record gives the same fields under the same key again."""
        if self.own:
            return True
        schema, fields = self._opened(packed, record)
        row = self.spec.row_of(fields, schema, packed)
        way = self.spec.way_up(schema)
        for step in way[: len(way) - len(self._backs)]:
            fields = step.forward(fields) if isinstance(step, Migration) else step(fields)
        return self._plain_data(self._lowered(row)) == fields and self.pack(row, self.suffix(packed)) == packed

    def _opened(self, packed: bytes, record: bytes) -> tuple[int, Fields]:
        """The schema and the fields of a record, its secrets open."""
        schema, body = codec.unseal(packed, record)
        fields: Fields = codec.decode(body)
        if self._seals:
            fields = sealing.open_fields(fields, self._sealer, Place(self.spec.name, packed, schema))
        return schema, fields

    def _lowered(self, row: R) -> Fields:
        """The row's fields as this form's schema has them; secrets are still open."""
        fields = self.spec.fields_of(row)
        if not self._backs:
            return fields
        try:
            return reduce(lambda each, backward: backward(each), self._backs, self._plain_data(fields))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise StorageError(
                f"cannot write a row of {self.spec.name!r} in its form of schema {self.schema}: "
                f"{type(error).__name__}: {error}",
                hint="the migration's backward must take every row",
                table=self.spec.name,
            ) from error

    def _plain_data(self, fields: Fields) -> Fields:
        """The fields as they come back from the disk: what functions of a migration see."""
        if not self._seals:
            plain: Fields = codec.decode(codec.encode(fields))
            return plain
        hidden = sealing.Aside()
        return sealing.open_fields(
            codec.decode(codec.encode(sealing.seal_fields(fields, hidden, _NOWHERE))), hidden, _NOWHERE
        )

    def _key(self, fields: Fields, key: Key) -> Key:
        return self._key_at(fields, self.schema, key) if self._rekeyed else key

    def _key_at(self, fields: Fields, schema: int, key: Key) -> Key:
        """The key of a row whose fields are of `schema`: that of the first migration from there that changes it."""
        for step in self.spec.way_up(schema):
            if not isinstance(step, Migration):
                fields = step(fields)
            elif step.from_key is not None:
                return step.old_key(fields)
            else:
                fields = step.forward(fields)
        return key

    def _refuse_stuck(self, schema: int) -> None:
        """Returns only if rows without a way back keep their keys."""
        if any(isinstance(each, Migration) and each.from_key is not None for each in self.spec.way_up(schema)):
            raise StorageError(
                f"cannot open table {self.spec.name!r}: it has schema {schema}, and the way to {self.spec.schema} "
                "changes the key and has no way back",
                hint="finish its migration with the Henslowe that brought it",
                table=self.spec.name,
            )


_NOWHERE: Final = Place("", b"", 0)
