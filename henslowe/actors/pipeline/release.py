"""From a packed folder to `archive/<service>/v<semver>/`: the read-only tree that instances run in.

    archive/<service>/v1.0.0/          the build, read-only
    archive/<service>/v1.0.0.json      what it is: build id, version number, stages, digests
    archive/<service>/.7.staged/       a build whose stages are not all done yet

The semantic version comes from the manifest, and few people raise it at each edit: another build of the same version
gets the version's number as build metadata (`v1.0.0+7`). The same build again is the same folder. The small JSON files
outlive their folders, so that a name is never given to another build.

Blocking: call it in a thread.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from henslowe.actors.ids import BuildId, VersionKey
from henslowe.storage import Archive, remove_tree


@dataclass(slots=True, frozen=True)
class Staged:
    """A build in the archive, materialised under a name that nobody uses."""

    build: BuildId
    folder: Path


@dataclass(slots=True, frozen=True)
class Release:
    """A build under its final name."""

    build: BuildId
    semver: str
    folder: Path


def stage(archive: Archive, pack: Path, service_folder: Path, version: VersionKey) -> Staged:
    """Put a packed folder into the archive and materialise it, while other stages may still be running.

    Raises:
        LimitReached: A file or the tree is too large.
        StorageError: The archive or the workspace cannot be written.
    """
    build = archive.put(pack)
    folder = service_folder / f".{version.number}.staged"
    remove_tree(folder)
    archive.materialise(build.build_id, folder)
    return Staged(BuildId(build.build_id), folder)


def discard(service_folder: Path, version: VersionKey) -> None:
    """Remove what `stage` left for a version that failed; nothing there is fine."""
    remove_tree(service_folder / f".{version.number}.staged")


def release(
    staged: Staged, version: VersionKey, semver: str, *, facts: dict[str, Any], modules: Path | None = None
) -> Release:
    """Give a staged build its final name, and note what it is. `modules` becomes its `node_modules`."""
    service_folder = staged.folder.parent
    taken = _taken(service_folder)
    for name, known in taken.items():
        folder = service_folder / f"v{name}"
        if known == staged.build and folder.is_dir() and name.partition("+")[0] == semver.partition("+")[0]:
            remove_tree(staged.folder)
            return Release(staged.build, name, folder)
    name = semver if semver not in taken else f"{semver}{'.' if '+' in semver else '+'}{version.number}"
    folder = service_folder / f"v{name}"
    if modules is not None:
        staged.folder.chmod(0o755)
        (staged.folder / "node_modules").symlink_to(modules)
        staged.folder.chmod(0o555)
    note = service_folder / f"v{name}.json"
    aside = note.with_name(f".{note.name}.tmp")
    aside.write_text(json.dumps({"build": staged.build, "semver": name, "version": version.number, **facts}, indent=2))
    staged.folder.rename(folder)
    aside.replace(note)
    return Release(staged.build, name, folder)


def _taken(service_folder: Path) -> dict[str, str]:
    """Build ids by semantic version; "" for a folder of which nothing is known."""
    taken: dict[str, str] = {}
    for entry in os.scandir(service_folder):
        if not entry.name.startswith("v"):
            continue
        if entry.name.endswith(".json"):
            try:
                taken[entry.name[1:-5]] = str(json.loads(Path(entry.path).read_bytes())["build"])
            except (OSError, ValueError, KeyError, TypeError):
                taken[entry.name[1:-5]] = ""
        elif entry.is_dir():
            taken.setdefault(entry.name[1:], "")
    return taken
