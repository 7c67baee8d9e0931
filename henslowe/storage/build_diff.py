"""What differs between two builds: paths by their manifests, and the text of files that changed.

Manifests alone answer which paths differ; contents are read only of those, and only where somebody wants the text.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from henslowe.storage.archive import Archive
from henslowe.storage.manifest import Build, Entry, EntryKind

TEXT_BYTES_MAX: Final = 1 << 20
"""Longer files are compared by their digests alone: a diff of them is for nobody to read, and takes minutes."""
CONTEXT_LINES: Final = 3


class ChangeKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    """Other content, another link, or another executable bit."""


@dataclass(frozen=True, slots=True)
class PathChange:
    """One path that differs: its entries before and after, None where it is not."""

    path: str
    before: Entry | None
    after: Entry | None

    @property
    def kind(self) -> ChangeKind:
        """What happened to it."""
        if self.before is None:
            return ChangeKind.ADDED
        return ChangeKind.REMOVED if self.after is None else ChangeKind.CHANGED


@dataclass(frozen=True, slots=True)
class Text:
    """How a file's text changed: a unified diff, lines added and removed; not `readable` for binary or long files."""

    lines: tuple[str, ...]
    added: int
    removed: int
    readable: bool = True


def changes(before: Build, after: Build) -> list[PathChange]:
    """The paths that differ, sorted; folders only where they came or went by themselves."""
    old = {entry.path: entry for entry in before.entries}
    new = {entry.path: entry for entry in after.entries}
    found = [
        PathChange(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]
    filled = {parent for change in found for parent in _parents(change.path)}
    return [change for change in found if not (_is_folder(change) and change.path in filled)]


def text_of(archive: Archive, change: PathChange) -> Text:
    """How the text under a path changed.

    Raises:
        Corrupt: A content is missing or damaged.
    """
    if any(entry is not None and entry.kind is EntryKind.FOLDER for entry in (change.before, change.after)):
        return Text((), 0, 0)
    contents = [_content(archive, entry) for entry in (change.before, change.after)]
    lines = [_lines(content) for content in contents]
    before, after = lines
    if before is None or after is None:
        return Text((), 0, 0, readable=False)
    diff = list(_mode_lines(change))
    diff += difflib.unified_diff(
        before,
        after,
        "/dev/null" if change.before is None else f"a/{change.path}",
        "/dev/null" if change.after is None else f"b/{change.path}",
        n=CONTEXT_LINES,
        lineterm="",
    )
    body = [line for line in diff if not line.startswith(("+++ ", "--- "))]
    return Text(tuple(diff), sum(line[:1] == "+" for line in body), sum(line[:1] == "-" for line in body))


def _content(archive: Archive, entry: Entry | None) -> bytes | None:
    if entry is None:
        return b""
    if entry.kind is EntryKind.LINK:
        return f"link to {entry.target}\n".encode(errors="surrogateescape")
    return None if entry.size_bytes > TEXT_BYTES_MAX else archive.read(entry)


def _lines(content: bytes | None) -> list[str] | None:
    """The lines of a text, None for what is none."""
    if content is None or b"\x00" in content:
        return None
    try:
        lines = content.decode().split("\n")
    except UnicodeDecodeError:
        return None
    if lines[-1]:
        return [*lines[:-1], f"{lines[-1]}\n\\ no newline at the end"]
    return lines[:-1]


def _mode_lines(change: PathChange) -> Iterator[str]:
    if change.before is not None and change.after is not None and change.before.executable != change.after.executable:
        yield f"{change.path} {'is executable now' if change.after.executable else 'is not executable any more'}"


def _is_folder(change: PathChange) -> bool:
    return all(entry is None or entry.kind is EntryKind.FOLDER for entry in (change.before, change.after))


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
