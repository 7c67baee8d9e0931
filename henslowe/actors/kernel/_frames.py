"""Frames between a process actor and its child: four bytes of length, then the body.

Towards the child the body is a pickle: the child runs what we tell it anyway. Towards the node it is a pickle only
for code that is trusted like the node's own; `msgpack` carries plain data and cannot make the node run anything.
"""

from __future__ import annotations

import pickle
import struct
import traceback
from typing import Any, BinaryIO, Final, Literal

import msgpack

from henslowe import errors

Wire = Literal["pickle", "msgpack"]
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""Largest message; more belongs in a file."""
HEADER: Final = struct.Struct(">I")


class ChildFailure(Exception):
    """An exception of the child that cannot be carried over as itself: its type, text and traceback."""

    def __init__(self, type_name: str, message: str, traceback_text: str = "") -> None:
        super().__init__(f"{type_name}: {message}")
        self.type_name = type_name
        self.traceback_text = traceback_text


def encode(body: Any, wire: Wire) -> bytes:
    """The frame. Raises `LimitReached` when it is too large."""
    raw: bytes = pickle.dumps(body, protocol=5) if wire == "pickle" else msgpack.packb(body)
    if len(raw) > FRAME_BYTES_MAX:
        raise errors.LimitReached(f"expected a message of at most {FRAME_BYTES_MAX} bytes, got {len(raw)}")
    return HEADER.pack(len(raw)) + raw


def decode(raw: bytes, wire: Wire) -> Any:
    """The body of a frame."""
    return pickle.loads(raw) if wire == "pickle" else msgpack.unpackb(raw, strict_map_key=False)  # noqa: S301


def body_size(header: bytes) -> int:
    """The length that a header announces. Raises `LimitReached` when it is too large."""
    size: int = HEADER.unpack(header)[0]
    if size > FRAME_BYTES_MAX:
        raise errors.LimitReached(f"expected a message of at most {FRAME_BYTES_MAX} bytes, got {size}")
    return size


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next body, or None at the end. Blocks. Runs in: the child."""
    header = stream.read(HEADER.size)
    return stream.read(body_size(header)) if len(header) == HEADER.size else None


def encode_error(error: BaseException, wire: Wire) -> dict[str, Any]:
    """An exception as plain data, with a pickle of itself where that is allowed and possible."""
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }
    if isinstance(error, errors.HensloweError):
        told |= error.as_dict()
    if wire == "pickle":
        try:
            told["pickle"] = pickle.dumps(error)
            pickle.loads(told["pickle"])  # noqa: S301  # some exceptions pickle but cannot be made again
        except Exception:  # noqa: BLE001  # anything may go wrong in a foreign class: its text will do
            told.pop("pickle", None)
    return told


def decode_error(told: dict[str, Any]) -> BaseException:
    """The exception that `encode_error` was given, or a `ChildFailure` that tells of it."""
    error: BaseException
    kind = getattr(errors, str(told["type"]), None)
    if "pickle" in told:
        error = pickle.loads(told["pickle"])  # noqa: S301  # only on the pickle wire
    elif isinstance(kind, type) and issubclass(kind, errors.HensloweError) and "hint" in told:
        error = kind(told["message"], hint=told["hint"], **told["details"])
    else:
        error = ChildFailure(told["type"], told["message"], told["traceback"])
    error.add_note(f"In the child process:\n{told['traceback']}")
    return error
