"""Compares the two forms of a table, a page at a time, each page as of one moment. Runs in: any thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from henslowe.errors import HensloweError
from henslowe.storage.env import Environment
from henslowe.storage.migrations.forms import Form

COMPARED_ROWS: Final = 200
"""Rows compared in one read transaction: some milliseconds."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A page: how many rows, the last one's packed key, and the first thing that is wrong ("" for nothing)."""

    rows: int
    cursor: bytes
    problem: str = ""


def compare(env: Environment, source: Form[Any], target: Form[Any], cursor: bytes) -> Compared:
    """The rows of `source` behind `cursor`, each found in `target` as the migration makes it; 0 rows at the end."""
    old_db, new_db = env.db(source.db_name), env.db(target.db_name)
    count = 0
    try:
        with env.read() as txn:
            old_rows, new_rows = txn.stat(db=old_db)["entries"], txn.stat(db=new_db)["entries"]
            if old_rows != new_rows:
                shared = ": do two rows have one key there?" if new_rows < old_rows else ""
                return Compared(0, cursor, f"expected {old_rows} rows in {target.db_name}, got {new_rows}{shared}")
            with txn.cursor(db=old_db) as records:
                for packed, record in after(records, cursor, COMPARED_ROWS):
                    copied = target.pack(row := source.read(packed, record)[1], source.suffix(packed))
                    if problem := _difference(
                        source, target, row, (packed, record), (copied, txn.get(copied, db=new_db))
                    ):
                        return Compared(count, cursor, f"{packed!r:.80}: {problem}")
                    count, cursor = count + 1, packed
    except HensloweError as error:
        return Compared(count, cursor, error.message)
    return Compared(count, cursor)


def after(cursor: Any, place: bytes, limit: int) -> Iterator[tuple[bytes, bytes]]:
    """At most `limit` records behind `place`; from the first one for an empty place."""
    more = cursor.set_range(place + b"\x00") if place else cursor.first()
    while more and limit:
        yield cursor.item()
        limit -= 1
        more = cursor.next()


def _difference(
    source: Form[Any], target: Form[Any], row: Any, old: tuple[bytes, bytes], new: tuple[bytes, bytes | None]
) -> str:
    """What is wrong with one row; "" for nothing."""
    packed, record = new
    if record is None:
        return f"expected it in {target.db_name} under {packed!r:.80}, got nothing"
    key, copied, _ = target.read(packed, record)
    if key != source.spec.key_of(row) or copied != target.put(row, source.suffix(old[0]))[2]:
        return f"expected the same row in {target.db_name}, got another one"
    if not source.undoes(*old) or not target.undoes(packed, record):
        return "backward does not undo forward: a rollback would change it"
    return ""
