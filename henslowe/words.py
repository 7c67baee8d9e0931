"""Numbers in the texts that people read."""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """`1 call`, `2 calls`; `many` is the plural where it is not made with an s."""
    return f"{count} {one}" if count == 1 else f"{count} {many or one + 's'}"


def fail(count: int) -> str:
    """`1 fails`, `2 fail`."""
    return f"{count} {'fails' if count == 1 else 'fail'}"


def differ(count: int) -> str:
    """`1 differs`, `2 differ`."""
    return f"{count} {'differs' if count == 1 else 'differ'}"
