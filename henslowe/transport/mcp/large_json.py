"""Answers with very large texts: what is large about them is passed through as it came, without being read at once.

To read a text of 8 MB and to write it again keeps the loop for 9 ms, for nothing: nobody on the way looks into it. So a
long line is looked through piece by piece as it arrives (`StringScanner`); strings in it beyond `CUT_BYTES` are left
out when it is parsed (`decode`), stand in the message as `LargeText`, and are put between the rest when it is written
(`dumps`, `split`). Every byte is checked as the parser would, by the parser; what is not as it should be is left to it
altogether, and so is refused as ever.

Large texts stand only where results have them (`text`, `data` and `blob` of their contents), and only in answers to
the gateway (`McpEndpoint.pass_on`); `plain` gives everybody else the strings.
"""

from __future__ import annotations

import mmap
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from henslowe.actors.endpoints import JsonObject

CUT_BYTES: Final = 1024 * 1024
"""Strings from this size on are cut out: shorter ones take a millisecond, and may be kept (`gateway.results`)."""
EXCERPT_BYTES: Final = 1024 * 1024 + 16 * 1024
"""What an excerpt is made of: more than `capture.record_bytes_max` may be."""
_AT_ONCE_BYTES: Final = 96 * 1024
"""Looked at when a piece comes: more than a piece, so that what came before it is caught up with."""
_ESCAPE_BYTES: Final = 12
"""The longest escape: two halves of a character, `\\ud83d\\ude00`."""
_ROOM_BYTES: Final = 16 * 1024 * 1024
"""That a long line may fill, and takes as it does; as `instances.message_bytes_max` is by default."""
_GROWTH: Final = 4
_TRIES_MAX: Final = 8
_QUOTE: Final = 0x22
_STRINGS: Final = re.compile(rb'(?:[^"]*+"[^"\\]*+(?:\\.[^"\\]*+)*+")*+', re.DOTALL)
"""All that ends before a string that does not."""
_TEXT: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_LISTS: Final = ("content", "contents")
_TEXTS: Final = ("text", "data", "blob")
_TOKEN: Final = f"large-text-{secrets.token_hex(16)}-"
"""Stands for a large text in JSON that is not whole. Never leaves the process, so that nobody else can write it."""


Text = bytearray | mmap.mmap


class LargeText:
    """A string of JSON as it was written, with its quotes. No dataclass: orjson would write its fields."""

    __slots__ = ("raw",)

    def __init__(self, raw: memoryview) -> None:
        self.raw = raw

    def read(self) -> str:
        """The string."""
        text: str = orjson.loads(self.raw)
        return text

    def excerpt(self) -> Excerpt:
        """As much of it as anybody records."""
        raw = bytearray(self.raw[: EXCERPT_BYTES + 1])
        text = orjson.loads(raw[: _border(raw, 1, len(raw))] + b'"') if len(raw) < len(self.raw) else self.read()
        return Excerpt(text, len(self.raw) - 2)


class Excerpt(str):
    """The beginning of a text, which says how long all of it is: that is what whoever cuts it off tells of it."""

    __slots__ = ("_length",)
    _length: int

    def __new__(cls, text: str, length: int) -> Self:
        """A beginning of a text that is so long, as it was written in JSON."""
        made = super().__new__(cls, text)
        made._length = length
        return made

    def __len__(self) -> int:
        return self._length


class StringScanner:
    """Finds the large strings of a JSON text that grows, and makes sure that they are strings.

    Attributes:
        found: Where they are, from quote to quote.
    """

    def __init__(self) -> None:
        self.found: list[tuple[int, int]] = []
        self._at = 0
        """Up to here all is known."""
        self._began = -1
        """Where the string began that has not ended."""
        self._broken = False

    def feed(self, text: Text, size: int, *, whole: bool = False) -> None:
        """Look at what was added to the text since the last time, or at some of it.

        Args:
            text: It, with room at its end.
            size: How many bytes of it there are.
            whole: Whether these are all.
        """
        limit = size if whole else min(size, self._at + _AT_ONCE_BYTES)
        while not self._broken:
            if self._began < 0:
                found = _STRINGS.match(text, self._at, limit)
                quote = text.find(b'"', found.end() if found is not None else self._at, limit)
                if quote < 0:
                    self._at = limit
                    return
                self._began, self._at = quote, quote + 1
            if not self._through(text, limit if whole else _border(text, self._at, limit)):
                return

    def _through(self, text: Text, end: int) -> bool:
        """Whether the string that has begun ends before `end`."""
        if end <= self._at:
            return False
        if _is_text(text, self._at, end):
            self._at = end
            return False
        found = _TEXT.match(text, self._at, end)
        quote = end if found is None else found.end()
        if quote >= end or text[quote] != _QUOTE or not _is_text(text, self._at, quote):
            self._broken = True
            self.found.clear()
            return False
        if quote + 1 - self._began >= CUT_BYTES:
            self.found.append((self._began, quote + 1))
        self._began, self._at = -1, quote + 1
        return True


def _is_text(text: Text, start: int, end: int) -> bool:
    """Whether so much of a text may stand in a string."""
    try:
        orjson.loads(b'"%b"' % bytes(text[start:end]))
    except orjson.JSONDecodeError:
        return False
    return True


def _border(text: Text, start: int, limit: int) -> int:
    """The last place, or nearly, at which neither an escape nor a character is under way; `start` if nothing is whole.

    Where there is no other one near the end, it is one up to which the parser takes all.
    """
    end = limit - 1
    while end > start and text[end] & 0xC0 == 0x80:  # in the middle of a character
        end -= 1
    for _ in range(_TRIES_MAX):
        if end <= start:
            break
        escape = text.rfind(b"\\", max(start, end - _ESCAPE_BYTES), end)
        if escape < 0:
            return end
        end = escape
    ends = range(limit, max(start, limit - _ESCAPE_BYTES), -1)
    return next((end for end in ends if _is_text(text, start, end)), max(start, limit - 1))


class GrowingLine:
    """A long line of which more may come, in memory of its own: what the allocator gives is copied now and then."""

    __slots__ = ("_memory", "_scanner", "_size")

    def __init__(self) -> None:
        self._memory = _memory(_ROOM_BYTES)
        self._scanner = StringScanner()
        self._size = 0

    def add(self, piece: bytes) -> None:
        """More of it came."""
        size = self._size + len(piece)
        while size > len(self._memory):
            larger = _memory(_GROWTH * len(self._memory))
            larger[: self._size] = self._memory[: self._size]
            self._memory = larger
        self._memory[self._size : size] = piece
        self._size = size
        self._scanner.feed(self._memory, size)

    def ends(self, count: int) -> bytes:
        """So many bytes of its beginning and of its end."""
        return self._memory[:count] + self._memory[max(count, self._size - count) : self._size]

    def whole(self) -> LongLine:
        """There is no more of it."""
        self._scanner.feed(self._memory, self._size, whole=True)
        return LongLine(memoryview(self._memory)[: self._size], self._scanner.found)


def _memory(size: int) -> mmap.mmap:
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


@dataclass(slots=True, frozen=True)
class LongLine:
    """A line that was looked through."""

    data: memoryview
    large: list[tuple[int, int]] = field(default_factory=list)
    """Where its large strings are."""

    def __len__(self) -> int:
        return len(self.data)


def decode(line: LongLine) -> Any:
    """What a line says, with `LargeText` for the large strings in the contents of a result.

    Raises:
        ValueError: It is not JSON.
    """
    if not line.large:
        return orjson.loads(line.data)
    view, at = line.data, 0
    parts: list[bytes | memoryview] = []
    cut: dict[object, LargeText] = {}
    for start, end in line.large:
        token = f"{_TOKEN}{len(cut)}"
        cut[token] = LargeText(view[start:end])
        parts += (view[at:start], b'"%b"' % token.encode())
        at = end
    message = orjson.loads(b"".join([*parts, view[at:]]))
    places = [(holder, name) for holder, name in _places(message) if _is_token(holder[name], cut)]
    if len(places) != len(cut):
        return orjson.loads(line.data)
    for holder, name in places:
        holder[name] = cut[holder[name]]
    return message


def _is_token(value: object, cut: dict[object, LargeText]) -> bool:
    return type(value) is str and value in cut


def _places(message: object) -> Iterator[tuple[JsonObject, str]]:
    """Where large texts may stand in an answer."""
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict):
        return
    for key in _LISTS:
        items = result.get(key)
        for item in items if isinstance(items, list) else ():
            for holder in (item, item.get("resource")) if isinstance(item, dict) else ():
                if isinstance(holder, dict):
                    yield from ((holder, name) for name in _TEXTS if name in holder)


def holds_large(answer: JsonObject) -> bool:
    """Whether there is a large text in an answer."""
    return any(isinstance(holder[name], LargeText) for holder, name in _places(answer))


def plain(answer: JsonObject) -> JsonObject:
    """The answer with strings for its large texts; itself if it has none."""
    return _mapped(answer, LargeText.read) if holds_large(answer) else answer


def excerpts(answer: JsonObject) -> JsonObject:
    """The answer with the beginnings of its large texts; itself if it has none."""
    return _mapped(answer, LargeText.excerpt) if holds_large(answer) else answer


def _mapped(answer: JsonObject, mapped: Callable[[LargeText], str]) -> JsonObject:
    def of_fields(fields: JsonObject) -> JsonObject:
        return {name: mapped(each) if isinstance(each, LargeText) else each for name, each in fields.items()}

    def of_item(item: Any) -> Any:
        if not isinstance(item, dict):
            return item
        resource = item.get("resource")
        return of_fields({**item, "resource": of_fields(resource)} if isinstance(resource, dict) else item)

    result = answer["result"]
    lists = {key: list(map(of_item, result[key])) for key in _LISTS if isinstance(result.get(key), list)}
    return {**answer, "result": {**result, **lists}}


def dumps(value: Any) -> bytes:
    """JSON, large texts included."""
    return orjson.dumps(value, default=_fragment)


class Pieces:
    """Bytes in pieces.

    Args:
        pieces: They, in order.
    """

    __slots__ = ("_pieces", "_size")

    def __init__(self, pieces: Sequence[bytes | memoryview]) -> None:
        self._pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size

    def joined(self) -> bytes:
        """All of them in one."""
        first = self._pieces[0]
        return first if len(self._pieces) == 1 and isinstance(first, bytes) else b"".join(self._pieces)

    def slices(self, size: int) -> Iterator[memoryview]:
        """All of them, cut up into at most so many bytes each."""
        for piece in self._pieces:
            view = memoryview(piece)
            yield from (view[at : at + size] for at in range(0, len(view), size))


def split(value: Any) -> list[bytes | memoryview]:
    """The same in pieces, in which large texts are not copied."""
    larges: list[LargeText] = []

    def stand_in(value: object) -> str:
        if not isinstance(value, LargeText):
            raise TypeError(f"expected JSON, got: {type(value).__name__}")
        larges.append(value)
        return _TOKEN

    between = orjson.dumps(value, default=stand_in).split(b'"%b"' % _TOKEN.encode())
    pieces: list[bytes | memoryview] = [between[0]]
    for large, after in zip(larges, between[1:], strict=True):
        pieces += [large.raw, after]
    return pieces


def _fragment(value: object) -> orjson.Fragment:
    if not isinstance(value, LargeText):
        raise TypeError(f"expected JSON, got: {type(value).__name__}")
    return orjson.Fragment(bytes(value.raw))
