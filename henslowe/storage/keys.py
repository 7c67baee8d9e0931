"""Order-preserving keys: comparing two packed keys as bytes orders them as the values are ordered.

A key is a str, a bytes, an int or a tuple of keys. Between types the order is bytes < str < tuple < int; within a
type it is Python's. Where one packed key begins another, that goes on with 0xff; a suffix that never begins so (a bag's
counter, below 2^63) never mixes two keys up.

Not a general codec: `bool` and `float` are refused, because `1`, `True` and `1.0` are one key of a dict and three keys
of a file, and a row would change its value after a restart. Values are packed by `henslowe.storage.codec`.
"""

from __future__ import annotations

import struct
from typing import TypeAlias

from henslowe.errors import Corrupt, KeyRefused

Key: TypeAlias = str | bytes | int | tuple["Key", ...]

KEY_BYTES_MAX = 511
"""The longest key of LMDB 0.9 (MDB_MAXKEYSIZE)."""
SEQ = struct.Struct(">Q")
"""A sequence number as a key: big-endian, so that bytes sort as numbers."""

_BYTES, _STR, _TUPLE, _INT_ZERO = 0x01, 0x02, 0x05, 0x14
_END = b"\x00"
_ESCAPED_ZERO = b"\x00\xff"
_INT_BYTES_MAX = 8


def seq_of(packed: bytes) -> int:
    """The sequence number that a key of the log, or an entry of its indexes, is.

    Raises:
        Corrupt: It is none: what it was read from is damaged.
    """
    if len(packed) != SEQ.size:
        raise Corrupt(f"cannot read the log: expected a number of {SEQ.size} bytes, got {len(packed)} bytes")
    return int(SEQ.unpack(packed)[0])


def check(key: object) -> None:
    """Returns only if `key` has a type that can be stored.

    Raises:
        KeyRefused: It is, or contains, something other than str, bytes, int or tuple.
    """
    if isinstance(key, tuple):
        for part in key:
            check(part)
    elif isinstance(key, bool) or not isinstance(key, str | bytes | int):
        raise KeyRefused(
            f"expected a key of str, bytes, int or tuple, got {type(key).__name__}: {key!r:.80}",
            hint="use a str or an int as the key",
        )


def pack(key: Key, *, bytes_max: int = KEY_BYTES_MAX) -> bytes:
    """The key as bytes that sort as the key does.

    Raises:
        KeyRefused: A type that cannot be ordered, an int beyond 64 bits, a lone surrogate, or more than `bytes_max`.
    """
    parts: list[bytes] = []
    _pack_into(key, parts)
    packed = b"".join(parts)
    if len(packed) > bytes_max:
        raise KeyRefused(f"expected a key of at most {bytes_max} bytes, got {len(packed)}: {key!r:.80}")
    return packed


def unpack(packed: bytes) -> Key:
    """The key that `pack` made these bytes of.

    Raises:
        KeyRefused: The bytes are not one packed key.
    """
    try:
        key, end = _unpack_at(packed, 0)
    except (IndexError, ValueError) as error:
        raise KeyRefused(f"cannot unpack key {packed[:40]!r}: {error}") from error
    if end != len(packed):
        raise KeyRefused(f"cannot unpack key {packed[:40]!r}: {len(packed) - end} bytes too many")
    return key


def prefix_bounds(prefix: tuple[Key, ...]) -> tuple[bytes, bytes]:
    """Bounds [low, high) of the packed keys of all tuples that begin with `prefix`."""
    low = pack(prefix)[: -len(_END)]
    return low, low + b"\xff"


def _pack_into(key: Key, parts: list[bytes]) -> None:
    if isinstance(key, str):
        try:
            raw = key.encode()
        except UnicodeEncodeError as error:
            raise KeyRefused(f"expected a key of valid text, got {key!r:.80}: {error.reason}") from error
        parts.extend((bytes((_STR,)), raw.replace(b"\x00", _ESCAPED_ZERO), _END))
    elif isinstance(key, bytes):
        parts.extend((bytes((_BYTES,)), key.replace(b"\x00", _ESCAPED_ZERO), _END))
    elif isinstance(key, tuple):
        parts.append(bytes((_TUPLE,)))
        for part in key:
            _pack_into(part, parts)
        parts.append(_END)
    else:
        check(key)
        parts.append(_pack_int(key))


def _pack_int(number: int) -> bytes:
    size = (abs(number).bit_length() + 7) // 8
    if size > _INT_BYTES_MAX:
        raise KeyRefused(f"expected an int key of at most 64 bits, got {number.bit_length()} bits")
    if number >= 0:
        return bytes((_INT_ZERO + size,)) + number.to_bytes(size, "big")
    # A negative number counts up from the smallest of its size, so that -2 sorts before -1.
    return bytes((_INT_ZERO - size,)) + (number + (1 << 8 * size) - 1).to_bytes(size, "big")


def _unpack_at(packed: bytes, at: int) -> tuple[Key, int]:
    tag = packed[at]
    at += 1
    if tag in (_BYTES, _STR):
        raw, at = _unescape(packed, at)
        return (raw if tag == _BYTES else raw.decode()), at
    if tag == _TUPLE:
        parts: list[Key] = []
        while packed[at : at + 1] != _END:
            part, at = _unpack_at(packed, at)
            parts.append(part)
        return tuple(parts), at + 1
    size = tag - _INT_ZERO
    if abs(size) > _INT_BYTES_MAX or len(packed) < at + abs(size):
        raise ValueError(f"unknown tag {tag:#04x}")
    number = int.from_bytes(packed[at : at + abs(size)], "big")
    if size < 0:
        number -= (1 << 8 * -size) - 1
    return number, at + abs(size)


def _unescape(packed: bytes, at: int) -> tuple[bytes, int]:
    end = packed.index(_END, at)
    while packed[end + 1 : end + 2] == b"\xff":
        end = packed.index(_END, end + 2)
    return packed[at:end].replace(_ESCAPED_ZERO, b"\x00"), end + 1
