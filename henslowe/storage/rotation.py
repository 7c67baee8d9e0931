"""Renews the key of all secrets: everything sealed with an older key is sealed anew, then the older key goes.

    rotation = Rotation(space, vault)
    await rotation.begin(by="ada")
    while await rotation.step():
        ...                                     # pause here

From the first moment on the new key seals and both open. Pages of rows are sealed anew, each in one commit with the
cursor, so that a killed node goes on where it was. The old key leaves the file when a look at every record found
nothing that still needs it. Runs in: the loop; who calls `step` is the caller's business.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from henslowe.errors import ConfigError, Conflict, NotFound
from henslowe.storage import codec
from henslowe.storage.events import EventDraft
from henslowe.storage.migrations.compare import after
from henslowe.storage.sealing import KEY_BYTES, Keys, has_secrets, key_ids
from henslowe.storage.secrets import SECRETS, SecretRow, place_of
from henslowe.storage.tablespec import TableSpec
from henslowe.storage.vault import Vault

if TYPE_CHECKING:
    from henslowe.storage.tablespace import Tablespace
    from henslowe.storage.transaction import Transaction

PAGE_ROWS: Final = 50
ROTATED: Final = "SECRETS_ROTATED"
"""The event of a completed rotation; `henslowe.actors.vocabulary` describes it."""
_ONLY: Final = "keys"


class RotationRow(BaseModel, frozen=True, extra="forbid"):
    """A rotation that is under way."""

    name: str = _ONLY
    key_id: str
    """Of the new key."""
    table: str = ""
    """The table that is at hand; those before it in the alphabet are done."""
    cursor: bytes = b""
    """Packed key of its last row that was sealed anew."""
    rows: int = 0
    started_s: float
    by: str


ROTATIONS: Final = TableSpec(name="key_rotation", row_type=RotationRow, key="name")


class Rotation:
    """The rotation of one store's keys."""

    def __init__(self, space: Tablespace, vault: Vault) -> None:
        self._space = space
        self._vault = vault
        self._rows = space.table(ROTATIONS)
        self._secrets = space.table(SECRETS)

    @property
    def row(self) -> RotationRow | None:
        """The rotation that is under way, if one is."""
        return self._rows.lookup(_ONLY)

    async def begin(self, *, by: str) -> RotationRow:
        """Makes a new key and begins to seal everything with it; one that is under way goes on.

        Raises:
            NotFound: There is no key yet.
            ConfigError: The keys are a credential with only one key: whoever provides it must add the new one.
            StorageError: The key file cannot be written.
        """
        under_way = self._rows.latest(_ONLY)
        if under_way is not None:
            return under_way
        self._vault.replace(None)
        keys = self._vault.found()
        file = self._vault.file
        if keys is None:
            raise NotFound(f"cannot rotate the keys of the secrets: there are none in {file.path} yet")
        if len(keys.keys) == 1 and not file.ours:
            raise ConfigError(
                f"cannot rotate the keys of the secrets: {file.path} is a credential of the service manager",
                hint="put a line with a new key above the old one there, restart the node, and rotate again",
            )
        if len(keys.keys) == 1:
            # Both are on disk before anything is sealed with the new one.
            keys = file.write((os.urandom(KEY_BYTES), *keys.keys))
        self._vault.replace(keys)
        row = RotationRow(key_id=keys.current, started_s=time.time(), by=by)
        txn = self._space.transaction()
        txn.expect(self._rows, _ONLY, None)
        txn.put(self._rows, row)
        await txn.commit()
        return row

    async def resume(self) -> None:
        """Begins anew what was interrupted between the new key and the first page, if that is so. Raises as `begin`."""
        keys = self._vault.found()
        if self._rows.latest(_ONLY) is None and keys is not None and len(keys.keys) > 1 and self._vault.file.ours:
            await self.begin(by="henslowe")

    async def step(self) -> bool:
        """Seals one page anew, or ends the rotation; whether there is more to do.

        Raises:
            StorageDegraded: The disk refused; the page can be tried again.
            ConfigError, StorageError: The keys cannot be read or written.
        """
        row = self._rows.latest(_ONLY)
        if row is None:
            return False
        table = next((name for name in self.tables() if name >= row.table), None)
        if table is None:
            await self._end(row)
            return self._rows.latest(_ONLY) is not None
        cursor = row.cursor if table == row.table else b""
        page = list(self._page(table, cursor))
        if page:
            moved = row.model_copy(update={"table": table, "cursor": page[-1][0], "rows": row.rows + len(page)})
        else:
            # Behind this name, before any other.
            moved = row.model_copy(update={"table": table + "\0", "cursor": b""})
        txn = self._space.transaction()
        txn.expect(self._rows, _ONLY, row)
        txn.put(self._rows, moved)
        for packed, record in page:
            self._renew(txn, table, packed, record)
        try:
            await txn.commit()
        except Conflict:
            return True
        return True

    def tables(self) -> list[str]:
        """The open tables with something sealed in their rows, sorted."""
        return sorted(
            name for name, each in self._space.places.items() if name == SECRETS.name or has_secrets(each.spec.row_type)
        )

    def in_use(self) -> dict[str, int]:
        """How many records are sealed with each key, by its id: looks at all of them."""
        found: dict[str, int] = {}
        for table in self.tables():
            cursor = b""
            while page := list(self._page(table, cursor)):
                for packed, record in page:
                    for key_id in self._key_ids(table, packed, record):
                        found[key_id] = found.get(key_id, 0) + 1
                cursor = page[-1][0]
        return found

    async def _end(self, row: RotationRow) -> None:
        keys = self._vault.keys()
        if set(await asyncio.to_thread(self.in_use)) - {keys.current}:
            # A row that was written in between with the older key: once more.
            await self._rows.insert(row.model_copy(update={"table": "", "cursor": b""}))
            return
        dropped = keys.ids[1:]
        if dropped and self._vault.file.ours:
            self._vault.replace(self._vault.file.write(keys.keys[:1]))
        txn = self._space.transaction()
        txn.delete(self._rows, _ONLY)
        data = {"key": keys.current, "dropped": list(dropped), "rows": row.rows, "by": row.by}
        txn.append(EventDraft("lifecycle", ROTATED, "SUCCESS", data=data))
        await txn.commit()

    def _renew(self, txn: Transaction, table: str, packed: bytes, record: bytes) -> None:
        found = self._space.opened(table)
        form = found._forms()[0]
        key = form.read(packed, record)[0]
        # What will be there, not what is: a commit in flight may have changed or removed it.
        cell: Any = found._cell(key)
        if cell is None:
            return
        if table == SECRETS.name:
            txn.put(self._secrets, self._sealed_anew(cell))
            return
        for each in found._forms():
            for place, renewed in found._entries(each, key, cell):
                txn.write(each.db_name, place, renewed)

    def _sealed_anew(self, row: SecretRow) -> SecretRow:
        keys: Keys = self._vault.keys()
        if row.key_id == keys.current:
            return row
        place = place_of(row.name)
        return row.model_copy(update={"sealed": keys.seal(keys.open(row.sealed, place), place)})

    def _page(self, table: str, cursor: bytes) -> Iterator[tuple[bytes, bytes]]:
        env = self._space.env
        db = env.db(self._space.opened(table)._forms()[0].db_name)
        with env.read() as txn, txn.cursor(db=db) as records:
            yield from after(records, cursor, PAGE_ROWS)

    def _key_ids(self, table: str, packed: bytes, record: bytes) -> set[str]:
        fields = codec.decode(codec.unseal(packed, record)[1])
        return {SecretRow.model_validate(fields).key_id} if table == SECRETS.name else key_ids(fields)
