"""A manifest: the content of a tree as a sorted list, whose SHA-256 is the build's id.

Two trees with the same files, executable bits, links and folders have the same id, whenever and wherever they were
built: times, owners and other permission bits are not content.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any, Final

import orjson

from henslowe.errors import Corrupt, FormatTooNew

FORMAT: Final = 1
DIGEST_CHARS: Final = 64
"""Of a build's id and of an object's name: SHA-256 in hexadecimal."""


class EntryKind(StrEnum):
    """What stands under a path."""

    FILE = "file"
    LINK = "link"
    FOLDER = "folder"


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """One path of a tree, relative with `/`. `digest` and `size_bytes` are a file's, `target` is a link's."""

    path: str
    kind: EntryKind
    digest: str = ""
    size_bytes: int = 0
    executable: bool = False
    target: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """Content in the archive: its id (the manifest's digest) and what it consists of, sorted by path."""

    build_id: str
    entries: tuple[Entry, ...]

    @property
    def files(self) -> tuple[Entry, ...]:
        """The files alone."""
        return tuple(entry for entry in self.entries if entry.kind is EntryKind.FILE)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, uncompressed."""
        return sum(entry.size_bytes for entry in self.entries)


def build_of(entries: Iterable[Entry]) -> tuple[Build, bytes]:
    """The build of a tree's entries, in any order, and its manifest's bytes."""
    # Each path is there once.
    ordered = tuple(sorted(entries, key=attrgetter("path")))
    content = dump(ordered)
    return Build(hashlib.sha256(content).hexdigest(), ordered), content


def dump(entries: Iterable[Entry]) -> bytes:
    """The manifest's one and only form as bytes. Names that are not UTF-8 survive as escaped surrogates."""
    rows = [
        [entry.path, entry.kind, entry.digest, entry.size_bytes, entry.executable, entry.target] for entry in entries
    ]
    document = {"entries": rows, "format": FORMAT}
    with suppress(TypeError):  # a name that is not UTF-8
        content = orjson.dumps(document, option=orjson.OPT_SORT_KEYS)
        if content.isascii():  # the same bytes, twenty times as fast
            return content
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def load(build_id: str, content: bytes) -> Build:
    """The build of a manifest's bytes.

    Raises:
        Corrupt: The bytes are not those that `build_id` names, or a path in them leaves the tree.
        FormatTooNew: A newer Henslowe wrote it.
    """
    if hashlib.sha256(content).hexdigest() != build_id:
        raise Corrupt(f"cannot read build {build_id:.12}: its manifest has another digest")
    try:
        document = json.loads(content)
        if document["format"] > FORMAT:
            raise FormatTooNew(f"cannot read build {build_id:.12}: expected format {FORMAT}, got {document['format']}")
        entries = tuple(_entry(row) for row in document["entries"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt(f"cannot read build {build_id:.12}: {error}") from error
    return Build(build_id, entries)


def inside(path: str, target: str) -> bool:
    """Whether a link at `path` with `target` stays in the tree."""
    if not target or target.startswith("/"):
        return False
    depth = len(PurePosixPath(path).parts) - 1
    for part in target.split("/"):
        depth += -1 if part == ".." else part not in ("", ".")
        if depth < 0:
            return False
    return True


def _entry(row: list[Any]) -> Entry:
    path, kind, digest, size_bytes, executable, target = row
    parts = str(path).split("/")
    if "" in parts or "." in parts or ".." in parts:
        raise ValueError(f"expected a path inside the tree, got {path!r}")
    entry = Entry(str(path), EntryKind(kind), str(digest), int(size_bytes), bool(executable), str(target))
    if entry.kind is EntryKind.LINK and not inside(entry.path, entry.target):
        raise ValueError(f"expected a link inside the tree, got {path!r} -> {target!r}")
    return entry
