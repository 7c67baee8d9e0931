"""What a disk may hold after the power was cut: a model of files and names with what was flushed and what was not.

A file's flushed bytes are there; of each write since, any pieces of 4 KiB or 512 bytes may be there, in any order (a
piece of an earlier write without one of a later, a whole write not at all). A name that was made, changed or removed
lasts only once its folder was flushed; before, any of these changes may have happened, a rename always whole. After a
flush that failed, its bytes may be there or not for ever: the kernel takes them for clean, a later flush does not
write them.

This is harsher than file systems with a journal, which keep names in order and a file's name with its content.
Source: Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014).
"""

from __future__ import annotations

import copy
import random
import shutil
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from bench.storage_proof.shim import Record

PAGE = 4096
SECTOR = 512
_LENGTH = struct.Struct("<Q")
_CHANCES = (0.0, 0.1, 0.5, 0.9, 0.97, 1.0)


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Not flushed, in order: bytes at an offset, or None for a new size."""
    doubtful: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Written before a flush that failed."""


@dataclass(slots=True)
class _Names:
    """A change of names: all entries of it together."""

    folders: set[int]
    entries: list[tuple[int, str, int | None]]


class Disk:
    """The files and names under `root`; `apply` records, then make any number of `state`s."""

    def __init__(self, root: Path, *, flushes: bool = True) -> None:
        """`flushes=False` forgets all flushes: what a disk without them would do, which a proof must be able to see."""
        self._root = PurePosixPath(root)
        self._flushes = flushes
        self._files: dict[int, _File] = {}
        self._links: dict[int, str] = {}
        self._folders: dict[int, dict[str, int]] = {0: {}}
        """Names as the running process sees them; 0 is the root."""
        self._durable: dict[int, dict[str, int]] = {0: {}}
        self._changes: list[_Names] = []

    # -- what happened ----------------

    def apply(self, record: Record) -> None:
        """Goes one operation on."""
        if record.op in "CMLRU":
            self._rename(record)
        elif record.op == "Y":
            folder = self._find(record.paths[0])
            if self._flushes and folder is not None:
                self._flush_names(folder)
        else:
            self._write(record)

    def _write(self, record: Record) -> None:
        file = self._files.setdefault(record.file, _File())
        match record.op:
            case "W":
                file.pending.append((record.offset, record.payload))
            case "T":
                file.pending.append((record.offset, None))
            case "S" if self._flushes:
                self._flush(file)
            case "P" if self._flushes:
                # The whole pages of the range are flushed, what was written into them before included.
                first, last = record.offset // PAGE, (record.offset + _LENGTH.unpack(record.payload)[0] - 1) // PAGE
                inside = [one for one in _pieces(file.pending, PAGE) if first <= one[0] // PAGE <= last]
                rest = [one for one in _pieces(file.pending, PAGE) if not first <= one[0] // PAGE <= last]
                _apply_all(file.durable, inside)
                file.pending = rest
            case "F":
                file.doubtful += file.pending
                file.pending = []

    @staticmethod
    def _flush(file: _File) -> None:
        # Whole pages go to disk: where one was written again, what was doubtful in it is on disk now.
        pages = {offset // PAGE for offset, _ in _pieces(file.pending, PAGE)}
        doubtful = list(_pieces(file.doubtful, PAGE))
        _apply_all(file.durable, (one for one in doubtful if one[0] // PAGE in pages))
        file.doubtful = [one for one in doubtful if one[0] // PAGE not in pages]
        _apply_all(file.durable, file.pending)
        file.pending = []

    def _rename(self, record: Record) -> None:
        match record.op:
            case "C":
                self._files[record.file] = _File()
                self._enter([(record.paths[0], record.file)])
            case "M":
                self._folders[record.file] = {}
                self._durable[record.file] = {}
                self._enter([(record.paths[0], record.file)])
            case "L":
                self._links[record.file] = record.paths[1]
                self._enter([(record.paths[0], record.file)])
            case "R":
                before, after = record.paths
                self._enter([(before, None), (after, self._find(before))])
            case "U":
                self._enter([(record.paths[0], None)])

    def _enter(self, entries: list[tuple[str, int | None]]) -> None:
        change = _Names(set(), [])
        for path, target in entries:
            place = PurePosixPath(path)
            folder = self._find(str(place.parent))
            if folder is None:
                raise ValueError(f"expected a folder that the log made, got {place.parent}")
            if target is None:
                self._folders[folder].pop(place.name, None)
            else:
                self._folders[folder][place.name] = target
            change.folders.add(folder)
            change.entries.append((folder, place.name, target))
        self._changes.append(change)

    def _find(self, path: str) -> int | None:
        at = 0
        for part in PurePosixPath(path).relative_to(self._root).parts:
            found = self._folders[at].get(part)
            if found is None:
                return None
            at = found
        return at

    def _flush_names(self, folder: int) -> None:
        flushed = [change for change in self._changes if folder in change.folders]
        for change in flushed:
            _change(self._durable, change)
        self._changes = [change for change in self._changes if folder not in change.folders]

    # -- what may be there ----------------

    def state(self, dice: random.Random, folder: Path, *, only: str = "") -> None:
        """Makes `folder` one of the possible disks, replaced whole; of the root's names `only` this one."""
        names = copy.deepcopy(self._durable)
        chance = dice.choice(_CHANCES)
        for change in self._changes:
            if dice.random() < chance:
                _change(names, change)
        if only:
            names[0] = {name: target for name, target in names[0].items() if name == only}
        shutil.rmtree(folder, ignore_errors=True)
        self._lay(names, 0, folder, dice)

    def _lay(self, names: dict[int, dict[str, int]], at: int, folder: Path, dice: random.Random) -> None:
        folder.mkdir()
        for name, target in names[at].items():
            if target in names:
                self._lay(names, target, folder / name, dice)
            elif target in self._links:
                (folder / name).symlink_to(self._links[target])
            else:
                (folder / name).write_bytes(self._content(self._files[target], dice))

    @staticmethod
    def _content(file: _File, dice: random.Random) -> bytes | bytearray:
        if not file.pending and not file.doubtful:
            return file.durable
        image = bytearray(file.durable)
        piece_bytes, chance = dice.choice((PAGE, SECTOR)), dice.choice(_CHANCES)
        for one in _pieces(file.doubtful + file.pending, piece_bytes):
            if dice.random() < chance:
                _apply_all(image, (one,))
        return image


def _change(names: dict[int, dict[str, int]], change: _Names) -> None:
    for folder, name, target in change.entries:
        if target is None:
            names[folder].pop(name, None)
        else:
            names[folder][name] = target


def _apply_all(image: bytearray, changes: Iterable[tuple[int, bytes | None]]) -> None:
    for offset, content in changes:
        end = offset if content is None else offset + len(content)
        if content is None:
            del image[offset:]
        if len(image) < end:
            image.extend(bytes(end - len(image)))
        if content is not None:
            image[offset:end] = content


def _pieces(changes: Iterable[tuple[int, bytes | None]], piece_bytes: int) -> Iterator[tuple[int, bytes | None]]:
    for offset, content in changes:
        if content is None:
            yield offset, None
            continue
        at = 0
        while at < len(content):
            length = piece_bytes - (offset + at) % piece_bytes
            yield offset + at, content[at : at + length]
            at += length
