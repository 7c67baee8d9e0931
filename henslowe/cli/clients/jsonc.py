"""One member of an object in JSON text with comments, changed in place: all other bytes stay as they are.

The reading is the standard library's. Comments and commas before a closing bracket are blanked out for it, each by as
many spaces, so that where something is in the blanked text is where it is in the original.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from henslowe.errors import ConfigError

_TOKENS: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMA: Final = re.compile(r",(?=\s*[}\]])")
_SPACE: Final = re.compile(r"\s*")
_INDENT: Final = re.compile(r"\n([ \t]+)\S")
_REST_OF_LINE: Final = re.compile(r"(?:[ \t]|/\*[^\n]*?\*/)*(?://[^\n]*)?(?=\r?\n)")
"""Comments that stand behind something in its line: they speak of it."""


@dataclass(slots=True, frozen=True)
class _Member:
    key: str
    start: int
    value_start: int
    end: int


def parse(text: str) -> dict[str, Any]:
    """The object that the text says.

    Raises:
        ConfigError: It is not one object in JSON, comments and last commas apart.
    """
    try:
        value = json.loads(_blank(text))
    except ValueError as error:
        raise ConfigError(f"expected JSON, got: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"expected a JSON object, got: {type(value).__name__}")
    return value


def put(text: str, table: str, name: str, value: Any) -> str:
    """The text with `value` as member `name` of the object `table`, both made where they are missing."""
    if not text.strip():
        text = "{}\n"
    blanked, unit = _blank(text), _unit(text)
    top = list(_members(blanked, _begin(blanked, 0)))
    found = next((member for member in top if member.key == table), None)
    if found is None:
        return _insert(text, blanked, _begin(blanked, 0), top, table, {name: value}, unit, 1)
    members = list(_members(blanked, found.value_start))
    mine = next((member for member in members if member.key == name), None)
    if mine is None:
        return _insert(text, blanked, found.value_start, members, name, value, unit, 2)
    return text[: mine.value_start] + _dump(value, unit, 2) + text[mine.end :]


def drop(text: str, table: str, name: str) -> str:
    """The text without member `name` of the object `table`; the same text if there is none. Comments stay."""
    blanked, plain = _blank(text), _plain(text)
    found = next((member for member in _members(blanked, _begin(blanked, 0)) if member.key == table), None)
    members = [] if found is None else list(_members(blanked, found.value_start))
    at = next((number for number, member in enumerate(members) if member.key == name), None)
    if at is None:
        return text
    start, end = members[at].start, members[at].end
    if plain[_begin(plain, end)] == ",":
        end = _begin(plain, end) + 1
    if at + 1 < len(members):  # what follows takes its place
        return text[:start] + text[_begin(text, end) :]
    if at:  # the one before is the last one now, and needs no comma
        before = members[at - 1].end
        comma = _begin(plain, before)
        kept = (text[before:comma] + text[comma + 1 : start]).rstrip()
        line_ends = _REST_OF_LINE.match(text, end) is not None
        return text[:before] + kept + ("" if line_ends or not kept else "\n") + text[end:]
    return text[:start] + text[end:]


def _insert(  # noqa: PLR0917 - one place in a text
    text: str, blanked: str, start: int, members: list[_Member], key: str, value: Any, unit: str, depth: int
) -> str:
    """The text with one more member at the end of the object that begins at `start`."""
    member = f"\n{unit * depth}{json.dumps(key)}: {_dump(value, unit, depth)}"
    if not members:
        inside = start + 1
        close = blanked.index("}", inside)
        rest = text[inside:close].rstrip()  # a comment may be all that is in it
        return f"{text[:inside]}{rest}{member}\n{unit * (depth - 1)}{text[close:]}"
    end, plain = members[-1].end, _plain(text)
    comma = _begin(plain, end)
    if plain[comma] == ",":
        at = _line_end(text, comma + 1)
        return f"{text[:at]}{member}{text[at:]}"
    at = _line_end(text, end)
    return f"{text[:end]},{text[end:at]}{member}{text[at:]}"


def _line_end(text: str, at: int) -> int:
    """Where a line ends of which only comments are left; else the same place."""
    rest = _REST_OF_LINE.match(text, at)
    return at if rest is None else rest.end()


def _members(blanked: str, start: int) -> Iterator[_Member]:
    """The members of the object that begins at `start`.

    Raises:
        ConfigError: There is no object.
    """
    if blanked[start] != "{":
        raise ConfigError("expected an object where the servers are")
    decoder = json.JSONDecoder()
    at = _begin(blanked, start + 1)
    while blanked[at] != "}":
        key, end = decoder.raw_decode(blanked, at)
        value_start = _begin(blanked, blanked.index(":", end) + 1)
        _, value_end = decoder.raw_decode(blanked, value_start)
        yield _Member(key, at, value_start, value_end)
        at = _begin(blanked, value_end)
        if blanked[at] == ",":
            at = _begin(blanked, at + 1)


def _begin(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None
    return found.end()


def _plain(text: str) -> str:
    """The text with spaces for its comments."""
    return _TOKENS.sub(lambda token: token[0] if token[0][0] == '"' else _spaces(token[0]), text)


def _blank(text: str) -> str:
    """The text with spaces for its comments and last commas, but not within strings."""
    plain = _plain(text)
    strings = [found.span() for found in _TOKENS.finditer(plain)]
    masked = plain
    for start, end in strings:
        masked = masked[:start] + "x" * (end - start) + masked[end:]
    for comma in _LAST_COMMA.finditer(masked):
        plain = plain[: comma.start()] + " " + plain[comma.end() :]
    return plain


def _spaces(text: str) -> str:
    return "".join("\n" if character == "\n" else " " for character in text)


def _unit(text: str) -> str:
    """What one level is indented by."""
    found = _INDENT.search(text)
    return found[1] if found is not None else "  "


def _dump(value: Any, unit: str, depth: int) -> str:
    lines = json.dumps(value, indent=unit, ensure_ascii=False).split("\n")
    return f"\n{unit * depth}".join(lines)
