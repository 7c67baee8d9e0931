"""One node per data directory: an exclusive lock on `node.lock`, with the holder's description written in it.

The lock is the kernel's (`lockf`): it ends with the process, however that ends, and is not inherited by children.
The text in the file informs people and the CLI; it is never trusted as the lock.

POSIX drops a process's locks on a file when it closes *any* descriptor of that file, so this process never opens a
lock file that it holds a second time; `holder` answers from memory there.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from henslowe.errors import DataDirBusy, StorageError

LOCK_FILE: Final = "node.lock"
_HOLDER_BYTES_MAX: Final = 4096
_BUSY: Final = (errno.EACCES, errno.EAGAIN)

_held: dict[Path, NodeLock] = {}
_held_guard = threading.Lock()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a data directory: process id, boot of the machine, and the admin URL once it listens ("" before)."""

    pid: int
    boot_id: str
    url: str = ""


class NodeLock:
    """The held lock of one data directory; made by `acquire`, ended by `release` or by the process's end."""

    def __init__(self, path: Path, fd: int, holder: Holder) -> None:
        self.path = path
        self.holder = holder
        self._fd = fd

    @classmethod
    def acquire(cls, data_dir: Path) -> NodeLock:
        """The lock of `data_dir`, held until `release`.

        Raises:
            DataDirBusy: Another node, or another store of this process, holds it; names the process id.
            StorageError: The file cannot be opened.
        """
        path = _lock_path(data_dir)
        with _held_guard:
            if path in _held:
                raise busy(path.parent, _held[path].holder)
            try:
                fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StorageError(f"cannot open {path}: {error.strerror}") from error
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = _read(fd)
                os.close(fd)
                if error.errno in _BUSY:
                    raise busy(path.parent, holder) from error
                raise StorageError(f"cannot lock {path}: {error.strerror}") from error
            lock = _held[path] = cls(path, fd, Holder(os.getpid(), boot_id()))
        lock._write()
        return lock

    def announce(self, url: str) -> None:
        """Makes `url` what `holder` tells other processes from now on."""
        self.holder = replace(self.holder, url=url)
        self._write()

    def release(self) -> None:
        """Gives the directory free; a second call does nothing."""
        with _held_guard:
            if _held.get(self.path) is not self:
                return
            del _held[self.path]
            os.ftruncate(self._fd, 0)
            os.close(self._fd)

    def _write(self) -> None:
        text = json.dumps(asdict(self.holder)).encode()
        # Longer first, cut after: a reader in between sees the old or the new text with trailing bytes, never none.
        os.pwrite(self._fd, text, 0)
        os.ftruncate(self._fd, len(text))


def holder(data_dir: Path) -> Holder | None:
    """Who holds `data_dir` now, or None when nobody does."""
    path = _lock_path(data_dir)
    with _held_guard:
        if path in _held:
            return _held[path].holder
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            described = _read(fd)
            return described if described is not None and _is_running(described) else None
        finally:
            os.close(fd)


def boot_id() -> str:
    """The id of this boot of the machine, or "" where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _is_running(described: Holder) -> bool:
    if described.boot_id != boot_id():
        return False
    try:
        os.kill(described.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _lock_path(data_dir: Path) -> Path:
    return data_dir.resolve() / LOCK_FILE


def _read(fd: int) -> Holder | None:
    try:
        described, _ = json.JSONDecoder().raw_decode(os.pread(fd, _HOLDER_BYTES_MAX, 0).decode())
        return Holder(int(described["pid"]), str(described["boot_id"]), str(described["url"]))
    except (ValueError, KeyError, TypeError):
        return None


def busy(data_dir: Path, described: Holder | None) -> DataDirBusy:
    """The error for a data directory that a running node has."""
    who = f"process {described.pid}" if described else "another process"
    return DataDirBusy(
        f"cannot open {data_dir}: a node is running on it, {who} holds it",
        hint="henslowe status shows it, henslowe stop ends it; or choose another data directory with --data",
        pid=described.pid if described else None,
        url=described.url if described else "",
    )
