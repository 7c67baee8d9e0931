"""From a packed folder to `archive/<service>/v<semver>/`: the read-only tree that instances run in.

    archive/<service>/v1.0.0/                           the build
    archive/<service>/v1.0.0/.henslowe-version.json     what it is: build id, version number, stages, digests
    archive/<service>/.7.staged/                        a build whose stages are not all done yet

The archiving runs beside the stages; only the last rename waits for them. The note and the link to `node_modules` are
added after materialising: they are not content, and the build's id does not cover them.

Blocking: call it in a thread.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from henslowe.actors import failpoints
from henslowe.actors.ids import BuildId, VersionKey
from henslowe.config.inference import Runtime
from henslowe.storage import Archive, remove_tree

NOTE = ".henslowe-version.json"


@dataclass(slots=True, frozen=True)
class Staged:
    """A build in the archive, materialised under a name that nobody uses."""

    build: BuildId
    folder: Path


def stage(archive: Archive, pack: Path, service_folder: Path, version: VersionKey) -> Staged:
    """Put a packed folder into the archive and materialise it.

    Raises:
        LimitReached: A file or the tree is too large.
        StorageError: The archive or the workspace cannot be written.
    """
    service_folder.mkdir(parents=True, exist_ok=True)
    build = archive.put(pack)
    folder = _staging(service_folder, version)
    remove_tree(folder)
    archive.materialise(build.build_id, folder)
    failpoints.reach("release.staged")
    return Staged(BuildId(build.build_id), folder)


def discard(service_folder: Path, version: VersionKey) -> None:
    """Remove what `stage` left for a version that failed; nothing there is fine."""
    remove_tree(_staging(service_folder, version))


def release(staged: Staged, semver: str, *, facts: dict[str, Any], modules: Path | None = None) -> Path:
    """Give a staged build its final name `v<semver>`, which is this build's alone; the folder.

    A folder of that name with the same build is kept (instances may run in it); one with another build was left by a
    node that died before it told anybody, and is replaced.

    Args:
        staged: What `stage` gave.
        semver: The name, as the version machine gave it.
        facts: Kept with the folder.
        modules: Becomes its `node_modules`.
    """
    folder = staged.folder.with_name(f"v{semver}")
    if _build_in(folder) == staged.build:
        remove_tree(staged.folder)
        return folder
    remove_tree(folder)
    staged.folder.chmod(0o755)
    if modules is not None:
        (staged.folder / "node_modules").symlink_to(modules)
    note = {"build": staged.build, "semver": semver, **facts}
    (staged.folder / NOTE).write_text(json.dumps(note, indent=2, sort_keys=True) + "\n")
    staged.folder.chmod(0o555)
    failpoints.reach("release.prepared")
    staged.folder.rename(folder)
    failpoints.reach("release.released")
    return folder


def restore(
    version: VersionKey, build: str, folder: Path, facts: Mapping[str, Any], *, archive: Archive, envs: Path
) -> None:
    """Lay a version out again whose folder was deleted: its build, its note and its link, as `release` made them.

    Args:
        version: Whose folder it is.
        build: The build's id.
        folder: `archive/<service>/v<semver>/`.
        facts: What the version machine was told of the build.
        archive: Has the build.
        envs: Where environments are.

    Raises:
        NotFound, Corrupt, StorageError: The archive does not have it, or the workspace cannot be written.
    """
    aside = folder.with_name(f".{version.number}.again")
    remove_tree(aside)
    archive.materialise(build, aside)
    modules = envs / str(facts.get("env_digest", "")) / "node_modules"
    facts = {key: value for key, value in facts.items() if key != "root"}
    release(
        Staged(BuildId(build), aside),
        folder.name.removeprefix("v"),
        facts=facts,
        modules=modules if facts.get("runtime") == Runtime.NODE.value and modules.exists() else None,
    )


def laid_out(archive_folder: Path, build: str) -> list[Path]:
    """The folders below `archive/` that a build is laid out in."""
    return [note.parent for note in sorted(archive_folder.glob(f"*/v*/{NOTE}")) if _build_in(note.parent) == build]


def environments(archive_folder: Path) -> frozenset[str]:
    """Digests of the environments that the laid-out versions of all services need."""
    found = set()
    for note in archive_folder.glob(f"*/v*/{NOTE}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.add(str(json.loads(note.read_bytes())["env_digest"]))
    return frozenset(found)


def sweep(archive_folder: Path) -> None:
    """Remove the staged builds that a crashed node left behind."""
    for leftover in archive_folder.glob("*/.*.staged"):
        remove_tree(leftover)


def sweep_unknown(archive_folder: Path, known: Collection[tuple[str, str]]) -> list[Path]:
    """Removes laid-out builds that no version has: their node ended before it wrote the version down.

    A folder without the note of `release` is not ours, and stays. Blocking.

    Args:
        archive_folder: `archive/` of the workspace.
        known: Service and folder of every version.
    """
    removed = []
    for note in sorted(archive_folder.glob(f"*/v*/{NOTE}")):
        folder = note.parent
        if (folder.parent.name, folder.name) not in known:
            remove_tree(folder)
            removed.append(folder)
    return removed


def _staging(service_folder: Path, version: VersionKey) -> Path:
    return service_folder / f".{version.number}.staged"


def _build_in(folder: Path) -> str:
    """Which build is in a version's folder; "" when it is not known."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((folder / NOTE).read_bytes())["build"])
    return ""
