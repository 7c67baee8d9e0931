"""The C shim between a process and its file system: compiled when asked for, and the log that it writes.

What is in a record is told at the top of `disk_shim.c`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_SOURCE = Path(__file__).with_name("disk_shim.c")
_HEADER = struct.Struct("<cQQI")


class Kinds(IntFlag):
    """What an armed failure hits."""

    WRITES = 1
    FLUSHES = 2


class Mode(IntEnum):
    """How an operation fails."""

    NOTHING_DONE = 0
    CUT_SHORT = 1
    """Half of the bytes are written, and the call says so."""
    ALL_DONE = 2
    """As when the error is of a flush inside the write: the file looks right, and may not be on disk."""


@dataclass(frozen=True, slots=True)
class Record:
    """One operation on the file system, in the order of their returns."""

    op: str
    file: int
    offset: int
    payload: bytes

    @property
    def paths(self) -> list[str]:
        """The one or two paths of an operation on names."""
        return self.payload.decode().split("\0")


def missing() -> str:
    """Why the shim cannot be used here, or ""."""
    if not sys.platform.startswith("linux"):
        return "it needs Linux"
    return "" if shutil.which("cc") else "no C compiler (cc) on PATH"


def build(folder: Path) -> Path:
    """Compiles the shim into `folder`."""
    library = folder / "disk_shim.so"
    if not library.exists():
        aside = folder / f"disk_shim.{os.getpid()}.so"
        command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(aside), str(_SOURCE), "-ldl", "-pthread"]
        subprocess.run(command, check=True)
        aside.replace(library)
    return library


def run_child(library: Path, module: str, *arguments: str, root: Path, log: Path | None = None) -> str:
    """Runs `python -m module` with the shim around `root`; its output.

    Raises:
        SystemExit: It failed; with what it said.
    """
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "DISK_SHIM_ROOT": str(root.resolve()),
        "DISK_SHIM_LOG": str(log or ""),
    }
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} under the shim ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def read_log(log: Path) -> Iterator[Record]:
    """The records of a log."""
    content, at = log.read_bytes(), 0
    while at < len(content):
        op, file, offset, length = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        yield Record(op.decode(), file, offset, content[at : at + length])
        at += length


class Faults:
    """The shim that is loaded into this process, as a switch."""

    def __init__(self) -> None:
        self._shim = ctypes.CDLL(None)

    def arm(self, kinds: Kinds, at: int, mode: Mode, error: int, *, lasting: bool = False) -> None:
        """Makes the `at`-th of these operations from now fail, once, or it and all after it."""
        self._shim.disk_shim_arm(int(kinds), at, int(mode), error, int(lasting))

    def disarm(self) -> bool:
        """Ends the failing; whether anything failed since `arm`."""
        hits = int(self._shim.disk_shim_hits())
        self._shim.disk_shim_arm(0, 0, 0, 0, 0)
        return hits > 0
