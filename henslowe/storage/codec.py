"""Records: what LMDB stores as a value, with the checksum that LMDB itself does not have.

    record = crc32c u32 | schema u16 | msgpack body

The checksum covers the key, so that a record found under another key is damage too. A reader either gets the value
that was written or `Corrupt`, never something else: LMDB noticed 1 of 300 flipped bits in a trial, the checksum all
that hit a record.

Not here: which rows exist (`tables`) and how keys sort (`keys`).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import msgpack
from google_crc32c import value as crc32c
from pydantic_core import PydanticSerializationError, to_jsonable_python

from henslowe.errors import Corrupt, StorageError

_CRC = struct.Struct(">I")
_SCHEMA = struct.Struct(">H")
HEADER_BYTES = _CRC.size + _SCHEMA.size
"""What is before the body of a record."""


def seal(key: bytes, schema: int, body: bytes) -> bytes:
    """The record of `body` under `key`."""
    tag = _SCHEMA.pack(schema)
    return _CRC.pack(crc32c(key + tag + body)) + tag + body


def seal_all(items: Iterable[tuple[bytes, bytes]], schema: int) -> list[tuple[bytes, bytes]]:
    """The keys with the records of their bodies: `seal` for many, at two thirds of its cost."""
    tag, pack = _SCHEMA.pack(schema), _CRC.pack
    return [(key, pack(crc32c(key + (rest := tag + body))) + rest) for key, body in items]


def unseal(key: bytes, record: bytes) -> tuple[int, bytes]:
    """The schema number and the body that were sealed under `key`.

    Raises:
        Corrupt: The record is too short, or its checksum is not that of its content.
    """
    if len(record) < HEADER_BYTES:
        raise Corrupt(f"cannot read record {key!r:.60}: expected {HEADER_BYTES} bytes or more, got {len(record)}")
    if crc32c(key + record[_CRC.size :]) != _CRC.unpack_from(record)[0]:
        raise Corrupt(
            f"cannot read record {key!r:.60}: its checksum does not match its content",
            hint="restore the data directory from a backup",
        )
    return _SCHEMA.unpack_from(record, _CRC.size)[0], record[HEADER_BYTES:]


def schema_of(record: bytes) -> int:
    """The schema number that a record says it has, unchecked; 0 if it is too short to say."""
    return int(_SCHEMA.unpack_from(record, _CRC.size)[0]) if len(record) >= HEADER_BYTES else 0


def encode(value: Any) -> bytes:
    """`value` as msgpack; tuples become lists, and what JSON knows only as text (dates, paths, UUIDs) becomes text.

    Raises:
        StorageError: Something in it has no form as data.
    """
    try:
        packed: bytes = msgpack.packb(value, default=_as_data, unicode_errors="surrogatepass")
    except (TypeError, ValueError, OverflowError, PydanticSerializationError) as error:
        raise StorageError(f"cannot encode a value of {type(value).__name__}: {error}") from error
    return packed


def decode(body: bytes) -> Any:
    """The value that `encode` packed.

    Raises:
        Corrupt: The bytes are not one msgpack value.
    """
    try:
        return msgpack.unpackb(body, strict_map_key=False, unicode_errors="surrogatepass")
    except (ValueError, TypeError, msgpack.UnpackException) as error:  # a TypeError: a list as a key
        raise Corrupt(f"cannot decode {len(body)} bytes of a record: {error or type(error).__name__}") from error


def _as_data(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return list(value)
    return to_jsonable_python(value)
