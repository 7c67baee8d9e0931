"""Heads of HTTP messages that repeat: what was made of one holds for each that differs in its length alone.

Both sides of a connection say the same words again and again. Once a head has been read in full, the next one is only
compared. Pure; who reads heads in full is told apart by their owners (`heads` for requests, `mcp.http1` for responses).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

M_co = TypeVar("M_co", covariant=True)

LENGTH: Final = b"ength: "
"""As it is nearly always written; where it begins with a capital letter or not is the writer's."""
DIGITS_MAX: Final = 15
_FIELD: Final = b"\r\ncontent-length:"
_END: Final = b"\r\n\r\n"


@dataclass(slots=True, frozen=True)
class Pattern(Generic[M_co]):
    """A head that was read in full, without the digits of its length.

    Attributes:
        made: What was made of it.
        before: Its bytes ahead of the digits.
        after: Its bytes behind them, up to where the body begins.
    """

    made: M_co
    before: bytes
    after: bytes

    def match(self, data: bytes) -> tuple[int, int] | None:
        """Where the body begins and how long it is, for bytes that begin with such a head; None for any other."""
        before, after = self.before, self.after
        if not data.startswith(before):
            return None
        start = len(before)
        end = data.find(b"\r", start, start + DIGITS_MAX + 1)
        digits = data[start:end]
        if not digits.isdigit() or not data.startswith(after, end):
            return None
        return end + len(after), int(digits)


def split(head: bytes) -> tuple[bytes, bytes, bytes] | None:
    """What stands ahead of the length, its digits, and what stands behind them; None for what is no one usual head.

    Usual is a head that ends where its bytes do, and has one length, written as `Content-Length: 123`.
    """
    start = head.find(LENGTH) + len(LENGTH)
    end = head.find(b"\r\n", start)
    before, digits = head[:start], head[start:end]
    if (
        head.find(_END) != len(head) - len(_END)
        or not before.lower().endswith(_FIELD + b" ")
        or not digits.isdigit()
        or len(digits) > DIGITS_MAX
        or head.lower().count(_FIELD) != 1
    ):
        return None
    return before, digits, head[end:]
