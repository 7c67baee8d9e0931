"""Damaged rows, moved aside: one bad record must not take a whole table with it, and must not vanish either.

When a table is read and a record's checksum is wrong, the record is moved into the sub-database `quarantine` of its
environment, with its table, its key and the reason. The table opens without it. Whoever asks for *that* key gets
`Corrupt` and not "nothing there", until the row is written anew, deleted, rebuilt or dropped; walks over the table
leave it out. Where not even the key can be told, every key that is not found might be the one, and raises.

Only damage is moved. A row of a newer schema, one that does not fit its type, one whose secrets have no key: all whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from henslowe.errors import Corrupt, HensloweError, KeyRefused, NotFound, StorageError
from henslowe.storage import codec, keys
from henslowe.storage.env import Environment
from henslowe.storage.keys import Key

DB_NAME: Final = "quarantine"
_SCHEMA: Final = 1
_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One record that was moved aside.

    Attributes:
        id: Names it to people.
        table: Whose row it is.
        db_name: The sub-database it lay in.
        packed: Its key there.
        record: What lay there.
        keys: The row's key as far as it can be told; () when it cannot, two where key and content disagree.
        why: What is wrong with it.
        found_s: When it was found, Unix time.
    """

    id: str
    table: str
    db_name: str
    packed: bytes
    record: bytes
    keys: tuple[Key, ...]
    why: str
    found_s: float


def id_of(db_name: str, packed: bytes) -> str:
    """The id of what lies, or lay, under a key."""
    return hashlib.sha256(db_name.encode() + b"\x00" + packed).hexdigest()[: 2 * _ID_BYTES]


def problem(packed: bytes, record: bytes) -> str:
    """What is wrong with a record itself, whatever it means; "" for nothing."""
    try:
        codec.decode(codec.unseal(packed, record)[1])
    except Corrupt as error:
        return error.message
    return ""


def possible_keys(
    packed: bytes, record: bytes, key_of: Callable[[Any, int], Key], *, suffix_bytes: int
) -> tuple[Key, ...]:
    """What the key of a damaged record may be: where it lies, and what its content says if that can be read.

    Args:
        packed: Where it lies.
        record: What lies there.
        key_of: The key of a row's fields under a schema; may fail.
        suffix_bytes: How much of `packed` is behind the key.
    """
    found: dict[Key, None] = {}
    with suppress(KeyRefused):
        found[keys.unpack(packed[: len(packed) - suffix_bytes])] = None
    with suppress(HensloweError, LookupError, TypeError, ValueError, AttributeError):
        found[key_of(codec.decode(record[codec.HEADER_BYTES :]), codec.schema_of(record))] = None
    return tuple(found)


@dataclass(slots=True)
class Damage:
    """The quarantined rows of one table, in memory."""

    table: str
    by_key: dict[Key, list[Quarantined]] = field(default_factory=dict)
    unknown: list[Quarantined] = field(default_factory=list)
    """Those of which no key can be told."""

    def __bool__(self) -> bool:
        return bool(self.by_key or self.unknown)

    def add(self, item: Quarantined) -> None:
        """Takes one in."""
        for key in item.keys:
            self.by_key.setdefault(key, []).append(item)
        if not item.keys:
            self.unknown.append(item)

    def refuse(self, key: Key) -> None:
        """Returns only if `key`, which was not found, was never there.

        Raises:
            Corrupt: Its row is in quarantine, or may be.
        """
        for item in (*self.by_key.get(key, ()), *self.unknown):
            raise Corrupt(
                f"cannot read {key!r:.80} in table {self.table!r}: its row is damaged and in quarantine: {item.why}",
                hint=f"henslowe storage quarantine restore {item.id} rebuilds it where that is possible, or takes it "
                "from a backup; drop gives it up",
                table=self.table,
                quarantine=item.id,
            )

    def settled(self, key: Key) -> list[Quarantined]:
        """What is done with once `key` is written or deleted: what can be of no other key."""
        return [item for item in self.by_key.get(key, ()) if item.keys == (key,)]

    def forget(self, key: Key) -> None:
        """`key` was written or deleted."""
        self.by_key.pop(key, None)

    def forget_item(self, item_id: str) -> None:
        """One was decided about."""
        self.unknown = [item for item in self.unknown if item.id != item_id]
        for key in list(self.by_key):
            self.by_key[key] = [item for item in self.by_key[key] if item.id != item_id]
            if not self.by_key[key]:
                del self.by_key[key]

    def items(self) -> list[Quarantined]:
        """All of them, each once."""
        found = {item.id: item for items in self.by_key.values() for item in items}
        return list((found | {item.id: item for item in self.unknown}).values())


def place(item_id: str) -> bytes:
    """The key of a quarantined record."""
    return bytes.fromhex(item_id)


def seal(item: Quarantined) -> bytes:
    """The record of a quarantined record."""
    packed_keys = [keys.pack(key) for key in item.keys]
    body = codec.encode((item.table, item.db_name, item.packed, item.record, packed_keys, item.why, item.found_s))
    return codec.seal(place(item.id), _SCHEMA, body)


def items(env: Environment, table: str = "") -> list[Quarantined]:
    """What is in quarantine in an environment, of `table` alone if given, in the order of finding.

    Raises:
        Corrupt: A record of the quarantine itself is damaged.
    """
    try:
        db = env.db(DB_NAME)
    except StorageError:
        return []  # another process's, and nothing was ever moved
    with env.read() as txn:
        found = [_unsealed(packed, record) for packed, record in txn.cursor(db=db)]
    return sorted((item for item in found if table in ("", item.table)), key=lambda item: item.found_s)


def get(env: Environment, item_id: str) -> Quarantined:
    """One of them, by its id or an unambiguous beginning of it.

    Raises:
        NotFound: There is none, or several.
    """
    found = [item for item in items(env) if item.id.startswith(item_id)]
    if len(found) != 1:
        raise NotFound(
            f"cannot find {item_id!r} in quarantine: expected one row with such an id, got {len(found)}",
            hint="henslowe storage quarantine list",
        )
    return found[0]


def move(env: Environment, found: Iterable[Quarantined]) -> None:
    """Moves damaged records from their tables into quarantine, all in one commit."""
    db = env.db(DB_NAME)
    with env.write() as txn:
        for item in found:
            txn.put(place(item.id), seal(item), db=db)
            txn.delete(item.packed, db=env.db(item.db_name))


def settle(env: Environment, item: Quarantined, record: bytes | None, packed: bytes | None = None) -> None:
    """Ends a quarantine: puts `record` where the damaged one lay (or under `packed`), or with None gives the row up."""
    table, aside = env.db(item.db_name), env.db(DB_NAME)
    with env.write() as txn:
        if record is not None:
            txn.put(item.packed if packed is None else packed, record, db=table)
        txn.delete(place(item.id), db=aside)


def _unsealed(packed: bytes, record: bytes) -> Quarantined:
    body = codec.decode(codec.unseal(packed, record)[1])
    table, db_name, at, content, packed_keys, why, found_s = body
    told = tuple(keys.unpack(key) for key in packed_keys)
    return Quarantined(packed.hex(), table, db_name, at, content, told, why, found_s)
