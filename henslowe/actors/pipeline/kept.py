"""What a run keeps beside its build: the reports of its stages. In the archive, with the version, and never served.

    <run>/kept/<stage>/<path>      before they are put into the archive, as a build of their own

Blocking: call it in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from henslowe.actors.pipeline.reports import BYTES_MAX, Coverage, Findings, TestTotals, read_coverage, read_junit
from henslowe.actors.pipeline.workdir import Workdir, matching, read_within, regular_files
from henslowe.config.manifest import Reports
from henslowe.errors import HensloweError, StageFailed
from henslowe.storage import Archive

TMP: Final = "{tmp}/"
FILES_MAX: Final = 1_000
"""Per stage."""
STAGE_BYTES_MAX: Final = 64 << 20
"""The same in bytes; what is beyond either is left out, and said."""


def collect(work: Workdir, stage: str, reports: Reports) -> tuple[Findings, list[str]]:
    """Read a stage's reports and lay them beside the build: what they say, and what could not be read.

    A report that is missing or broken never fails a stage: what the stage itself said, counts.
    """
    found = _matching(work, reports.globs)
    notes: list[str] = []
    left, room = FILES_MAX, STAGE_BYTES_MAX
    contents: dict[str, bytes] = {}
    for name, path in sorted(found.items()):
        data = _read(path, work.root, room)
        if data is None or not left:
            notes.append(f"{name} is not kept: expected at most {FILES_MAX} files and {room >> 20} MiB")
            continue
        left, room = left - 1, room - len(data)
        contents[name] = data
        target = work.kept / stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    tests: TestTotals | None = None
    for name in _named(work, reports.junit, "junit", contents, notes):
        try:
            tests = (tests or TestTotals()) + read_junit(contents[name])
        except StageFailed as error:
            notes.append(f"cannot use {name} as JUnit XML: {error.message}")
    coverage: Coverage | None = None
    for name in _named(work, reports.coverage, "coverage", contents, notes):
        try:
            coverage = (coverage or Coverage()) + read_coverage(contents[name])
        except StageFailed as error:
            notes.append(f"cannot use {name} as a report of coverage: {error.message}")
    return Findings(tests, coverage), notes


def put(archive: Archive, folder: Path) -> str:
    """Put kept files into the archive: the build's id, "" where there are none or the disk refuses."""
    if not folder.is_dir():
        return ""
    try:
        return archive.put(folder).build_id
    except HensloweError:
        return ""


def restore(archive: Archive, build: str, folder: Path) -> None:
    """Lay out again what `put` stored.

    Raises:
        NotFound, Corrupt: The archive does not have it.
    """
    for entry in archive.build(build).files:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(archive.read(entry))


def _named(
    work: Workdir, globs: tuple[str, ...], kind: str, contents: dict[str, bytes], notes: list[str]
) -> Iterator[str]:
    names = [name for name in sorted(_matching(work, globs)) if name in contents]
    if globs and not names:
        notes.append(f"no report: expected {kind} at {', '.join(globs)}, got no such file")
    yield from names


def _matching(work: Workdir, globs: tuple[str, ...]) -> dict[str, Path]:
    """The files that any glob matches, by the name under which they are kept."""
    found: dict[str, Path] = {}
    for root, wanted in (
        (work.src, tuple(glob for glob in globs if not glob.startswith(TMP))),
        (work.tmp, tuple(glob.removeprefix(TMP) for glob in globs if glob.startswith(TMP))),
    ):
        if wanted:
            found.update({name: root / name for name in matching(regular_files(root), wanted)})
    return found


def _read(path: Path, root: Path, room: int) -> bytes | None:
    """A report's content; None where it is too long, gone, or no file."""
    try:
        if os.stat(path).st_size > min(room, BYTES_MAX * 2):  # noqa: PTH116 (follows links, as reading does)
            return None
    except OSError:
        return None
    content = read_within(path, root)
    return None if content is None or len(content[0]) > room else content[0]
