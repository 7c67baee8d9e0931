"""What storage needs of the file system: refusals before damage, and renames that survive power loss.

LMDB maps a file into memory and locks through it: on a network file system neither is coherent between machines.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from henslowe.errors import StorageError

_MOUNTS: Final = Path("/proc/self/mountinfo")
_NETWORK_TYPES: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "coda", "glusterfs", "lustre", "gpfs", "beegfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "davfs", "ncpfs"}
)


def refuse_network(path: Path) -> None:
    """Returns only if `path` (or its nearest existing parent) lies on a local file system, as far as can be known.

    Raises:
        StorageError: It is on a network file system.
    """
    kind = filesystem_type(path)
    if kind in _NETWORK_TYPES:
        raise StorageError(
            f"cannot use {path}: expected a local file system, got {kind}",
            hint="choose a data directory on a local disk",
        )


def filesystem_type(path: Path, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that holds `path`, as the kernel calls it, or "" where the kernel does not tell."""
    resolved = path.resolve()
    best, kind = -1, ""
    with suppress(OSError):
        for line in mounts.read_text(errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            mount_point = Path(_unescape(before.split()[4]))
            # A later line covers an earlier one on the same mount point.
            if resolved.is_relative_to(mount_point) and len(mount_point.parts) >= best:
                best, kind = len(mount_point.parts), after.split()[0]
    return kind


def sync_dir(path: Path) -> None:
    """Makes the names in the folder `path` survive power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path, *, mode: int = 0o777) -> None:
    """Makes the folder `path` and the missing ones above it, whose names survive power loss; there already is fine."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=mode, exist_ok=True)
    sync_dir(path.parent)


def sync_file(path: Path) -> None:
    """Makes the content of the file `path` survive power loss."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Puts `content` at `path` whole or not at all, durable on return."""
    aside = path.with_name(f".{path.name}.tmp")
    with suppress(FileNotFoundError):
        aside.unlink()
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)
    aside.replace(path)
    sync_dir(path.parent)


def remove_tree(path: Path) -> None:
    """Removes a tree, also a read-only one; nothing there is fine. Links are removed, never followed."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    if not path.exists():
        return
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o700)
    shutil.rmtree(path)


def own_name(folder: Path, name: str) -> Path:
    """`<folder>/<name><process id>`, where nothing is; what processes that died left under `name` is removed.

    Raises:
        OSError: The folder cannot be read or changed.
    """
    for leftover in folder.iterdir():
        owner = leftover.name.removeprefix(name)
        dead = owner.isdigit() and not Path(f"/proc/{owner}").exists()
        if leftover.name.startswith(name) and (dead or owner == str(os.getpid())):
            remove_tree(leftover)
    return folder / f"{name}{os.getpid()}"


@contextmanager
def scratch(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder `<folder>/<name><process id>` for as long; what processes that died left there is removed.

    Raises:
        StorageError: It cannot be made.
    """
    try:
        path = own_name(folder, name)
        path.mkdir(mode=0o700)
    except OSError as error:
        raise StorageError(f"cannot make a folder in {folder}: {error.strerror}", hint="make it writable") from error
    try:
        yield path
    finally:
        remove_tree(path)


def free_bytes(path: Path) -> int:
    """Bytes that this process may still write on the file system of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def close_to_children(*paths: Path) -> None:
    """Keeps this process's descriptors of `paths` out of the processes that it starts.

    LMDB 0.9 opens its data file inheritable: a developed MCP server could otherwise write to it.
    """
    wanted = {(status.st_dev, status.st_ino) for status in (path.stat() for path in paths if path.exists())}
    for name in os.listdir("/dev/fd"):  # noqa: PTH208 - the names are what is wanted
        # The listing's own descriptor is already closed.
        with suppress(OSError):
            status = os.fstat(int(name))
            if (status.st_dev, status.st_ino) in wanted:
                os.set_inheritable(int(name), False)


def _unescape(mount_point: str) -> str:
    """Undo mountinfo's octal escapes of space, tab, newline and backslash."""
    for code in ("040", "011", "012", "134"):
        mount_point = mount_point.replace(f"\\{code}", chr(int(code, 8)))
    return mount_point
