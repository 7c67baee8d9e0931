"""Replacing a configuration file: under lock, atomically, with a backup of what was there."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from henslowe.errors import ConfigError, HensloweError

BACKUPS_MAX: Final = 5
"""Of one file; the oldest goes first."""
LOCK_WAIT_S: Final = 10.0
BYTES_MAX: Final = 64 * 1024 * 1024


def change_file(path: Path, change: Callable[[str], str]) -> Path | None:
    """Replace the text of a file by what `change` makes of it; the backup, or None where there was no file.

    A link is followed. Where nothing changes, nothing is written.

    Raises:
        ConfigError: It cannot be read as text, or `change` refuses it; the message names the file.
        HensloweError: It may not be or cannot be written, or another command holds it.
    """
    path = path.resolve()
    with _locked(path):
        before = _read(path)
        try:
            after = change(before or "")
        except ConfigError as error:
            raise ConfigError(f"cannot change {path}: {error.message}", hint=error.hint) from error
        if after == before:
            return None
        if before is not None and not _writable(path):
            raise HensloweError(
                f"cannot write {path}: it is read-only", hint="henslowe client add --print prints the entry to paste"
            )
        try:
            backup = _back_up(path, before) if before is not None else None
            _replace(path, after)
        except OSError as error:
            raise HensloweError(f"cannot write {path}: {error.strerror or error}") from error
        return backup


def read_text(path: Path) -> str | None:
    """The text of a file; None where there is none. Raises as `change_file`."""
    return _read(path.resolve())


def _read(path: Path) -> str | None:
    try:
        if path.stat().st_size > BYTES_MAX:
            raise ConfigError(f"cannot read {path}: expected at most {BYTES_MAX} bytes")
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise ConfigError(f"cannot read {path}: expected UTF-8, got: {error.reason}") from error
    except OSError as error:
        raise HensloweError(f"cannot read {path}: {error.strerror or error}") from error


def _writable(path: Path) -> bool:
    """Whether its owner means it to be written: a replacement would not ask, and nothing stops root."""
    return os.access(path, os.W_OK) and bool(path.stat().st_mode & 0o222)


def _back_up(path: Path, text: str) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    number = 0
    while (backup := path.with_name(f"{path.name}.henslowe-{stamp}{f'-{number}' if number else ''}.bak")).exists():
        number += 1
    _replace(backup, text, mode=path.stat().st_mode & 0o777)
    older = sorted(path.parent.glob(f"{path.name}.henslowe-*.bak"))
    for old in older[:-BACKUPS_MAX]:
        old.unlink(missing_ok=True)
    return backup


def _replace(path: Path, text: str, *, mode: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if mode is None:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file: one beside it would be litter among another program's files."""
    import fcntl
    import hashlib

    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "henslowe"
    lock = folder / f"client-{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = lock.open("w")
    except OSError as error:
        raise HensloweError(
            f"cannot lock {path} with {lock}: {error.strerror or error}", hint="set XDG_CACHE_HOME to a writable folder"
        ) from error
    give_up_s = time.monotonic() + LOCK_WAIT_S
    with held:
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > give_up_s:
                    raise HensloweError(f"cannot change {path}: another command holds it", hint="try again") from None
                time.sleep(0.05)
        yield
