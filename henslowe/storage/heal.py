"""Puts damaged content back from where it is still whole: rows from memory, archived files from laid-out builds.

Only what has exactly the right digest is taken. What cannot be healed stays as it is: a finding, not a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Final, TypeAlias

from henslowe.errors import Corrupt, HensloweError, NotFound
from henslowe.storage.archive import Archive
from henslowe.storage.findings import Finding, FindingKind

Folders: TypeAlias = Callable[[str], Iterable[Path]]
"""Folders where a build is laid out, by its id."""
OBJECTS: Final = "archive/objects/"


def nowhere(_build: str) -> Iterable[Path]:
    """`Folders` for a store whose builds are laid out nowhere."""
    return ()


def heal_object(archive: Archive, finding: Finding, folders: Folders) -> Path | None:
    """Writes a damaged or missing object anew; the file that it was taken from, None when nobody has it.

    Blocking: reads every manifest.
    """
    if finding.kind is not FindingKind.OBJECT or not finding.place.startswith(OBJECTS):
        return None
    digest = PurePosixPath(finding.place).name
    for build_id in archive.builds():
        try:
            build = archive.build(build_id)
        except (Corrupt, NotFound):
            continue
        names = [entry.path for entry in build.files if entry.digest == digest]
        for folder in folders(build_id) if names else ():
            for name in names:
                try:
                    if archive.put_object(digest, folder / name):
                        return folder / name
                except (OSError, HensloweError):
                    continue
    return None
