"""Reads `henslowe.toml` and remembers on which line each key stands.

`tomllib` parses; the lines come from a scan that only has to be right where an error is shown. A key inside an inline
table is found at its table's line.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from henslowe.errors import ConfigError

_KEY = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]\]?\s*(?:#.*)?$")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=\s*(.*)$")
FILE_BYTES_MAX = 1024 * 1024


def read_toml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    """The file's tree, and the line of each key and table header (counted from 1).

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: It cannot be read, is larger than 1 MiB, or is not TOML (the message names line and column).
    """
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint=f"check the owner and mode of {path.name}"
        ) from error
    if len(content) > FILE_BYTES_MAX:
        raise ConfigError(f"expected {path.name} to be at most {FILE_BYTES_MAX} bytes, got: more", file=str(path))
    try:
        text = content.decode()
        return tomllib.loads(text), key_lines(text)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"cannot read {path.name}:{line}: expected UTF-8 text, got: byte 0x{content[error.start]:02x}",
            hint=f"save {path} as UTF-8",
            file=str(path),
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"cannot read {path.name}: {error}", hint=f"correct that line of {path}", file=str(path)
        ) from error


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """The line of each key and table header of a valid document."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    closing = ""  # what ends the multi-line value we are in: a triple quote, or "]" at depth 0
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if closing:
            if closing == "]":
                depth += _depth(line)
                closing = "]" if depth > 0 else ""
            elif closing in line:
                closing = ""
            continue
        if header := _HEADER.match(line):
            table = _split(header[1])
            lines.setdefault(table, number)
        elif assignment := _ASSIGNMENT.match(line):
            lines.setdefault((*table, *_split(assignment[1])), number)
            value = assignment[2]
            triple = next((quote for quote in ('"""', "'''") if value.startswith(quote)), "")
            if triple and triple not in value[3:]:
                closing = triple
            elif value.startswith("[") and (depth := _depth(value)) > 0:
                closing = "]"
    return lines


def _split(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted key; TOML's own parser knows the quoting."""
    node: Any = tomllib.loads(f"{dotted} = 0")
    parts = []
    while isinstance(node, dict):
        ((name, node),) = node.items()
        parts.append(name)
    return tuple(parts)


def _depth(text: str) -> int:
    unquoted = re.sub(r"""("(?:[^"\\]|\\.)*"|'[^']*')|#.*""", "", text)
    return unquoted.count("[") - unquoted.count("]")
