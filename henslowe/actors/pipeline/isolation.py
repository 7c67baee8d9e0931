"""Keeps what a stage runs within its run's folders: by bubblewrap, by Landlock, or not at all, and says which.

| level | what it keeps |
|---|---|
| `bwrap` | writes only into the run's folders and a `/tmp` of its own; sees no other processes, nor the node's data |
| `landlock` | writes only into the run's folders; signals only its own processes (from Linux 6.12 on) |
| `none` | nothing: a stage may do what the node may |

Where the node itself lies in `/tmp`, that folder stays as it is, and read-only.
In all of them, the processes of a stage end with it (`henslowe.actors.kernel.OsProcess`).
The network is left alone: tests talk to servers that they start. A stage is code that a person wrote or fetched, and
the node runs it before anybody has looked at it; that an edit, or a dependency's installer, cannot reach the store, the
tokens and other services' builds is what this is for. Running servers are not caged.

Source: landlock(7), bwrap(1). Blocking only while it probes: some milliseconds, once.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from henslowe.errors import ConfigError

PROBE_S: Final = 5.0
_LANDLOCK_CREATE: Final = 444
_VERSION_FLAG: Final = 1

_LANDLOCK: Final = """
import ctypes, json, os, struct, sys
folders, argv = json.loads(sys.argv[1]), sys.argv[2:]
libc = ctypes.CDLL(None, use_errno=True)
abi = libc.syscall(444, None, 0, 1)
# writing, removing and making of any kind; from ABI 2 on moving between folders, from 3 on truncating
rights = 0x2 | 0x10 | 0x20 | 0x1FC0 | (0x2000 if abi >= 2 else 0) | (0x4000 if abi >= 3 else 0)
scoped = 0x3 if abi >= 6 else 0  # abstract sockets and signals stay inside
ruleset = struct.pack("QQQ", rights, 0, scoped)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
def fail(what):
    os.write(2, f"cannot isolate: {what}: {os.strerror(ctypes.get_errno())}\\n".encode())
    os._exit(126)
rules = libc.syscall(444, ruleset, len(ruleset), 0)
if rules < 0:
    fail("landlock")
for folder in folders:
    at = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    allowed = rights if os.path.isdir(folder) else rights & 0x4002
    if libc.syscall(445, rules, 1, struct.pack("=Qi", allowed, at), 0):
        fail(folder)
    os.close(at)
if libc.prctl(38, 1, 0, 0, 0) or libc.syscall(446, rules, 0):
    fail("landlock")
try:
    os.execvp(argv[0], argv)
except OSError as error:
    os.write(2, f"{argv[0]}: {error.strerror}\\n".encode())
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""
"""Becomes the command after giving up what is outside of the folders. A bare interpreter: 15 ms."""

_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/shm", "/dev/pts", "/dev/ptmx")  # noqa: S108


_TMP: Final = "/tmp"  # noqa: S108 (a cage has its own)


class Level(StrEnum):
    """What keeps a stage where it belongs."""

    BWRAP = "bwrap"
    LANDLOCK = "landlock"
    NONE = "none"


@dataclass(slots=True, frozen=True)
class Cage:
    """How the commands of a run are kept.

    `hidden` is the node's data directory; of it, `shown` can be read (environments) and what is writable is there.
    """

    level: Level = Level.NONE
    hidden: Path = Path("/nowhere")
    shown: tuple[Path, ...] = ()
    processes_max: int = 0
    """What a stage may have (`guard` sees to it); the kernel allows a cage twice that. 0 for no limit."""

    def before(self, *, cwd: Path, writable: Sequence[Path], tmp: Path) -> list[str]:
        """What to put before a command so that it writes only into `writable` and `tmp`, which exist."""
        if self.level is Level.LANDLOCK:
            folders = [*map(str, (*writable, tmp)), *filter(os.path.exists, _DEVICES)]
            return [sys.executable, "-I", "-S", "-c", _LANDLOCK, json.dumps(folders)]
        if self.level is Level.BWRAP:
            return [*self._bwrap(cwd, writable, tmp), "--", *_limited(2 * self.processes_max)]
        return []

    def _bwrap(self, cwd: Path, writable: Sequence[Path], tmp: Path) -> list[str]:
        argv = _bwrap_base()
        if not _in_tmp(sys.executable, sys.prefix, sys.base_prefix, str(self.hidden), *sys.path):
            argv += ["--bind", str(tmp), _TMP]
        if self.hidden.exists():
            argv += ["--tmpfs", str(self.hidden)]
        for folder in self.shown:
            argv += ["--ro-bind-try", str(folder), str(folder)]
        for folder in (*writable, tmp):
            argv += ["--bind", str(folder), str(folder)]
        if self.hidden.exists():
            argv += ["--remount-ro", str(self.hidden)]
        return [*argv, "--chdir", str(cwd)]


def achieved(wanted: str) -> Level:
    """The level to use: the wanted one, or with `auto` the best that works here.

    Raises:
        ConfigError: A level was asked for by name, and does not work here.
    """
    if wanted == "auto":
        return Level.BWRAP if _bwrap_works() else Level.LANDLOCK if landlock_abi() > 0 else Level.NONE
    level = Level(wanted)
    if level is Level.BWRAP and not _bwrap_works():
        raise ConfigError(
            "cannot isolate stages by bwrap: it is not installed, or user namespaces are not allowed here",
            hint="install bubblewrap, or set pipeline.isolation to auto",
            key="pipeline.isolation",
        )
    if level is Level.LANDLOCK and landlock_abi() <= 0:
        raise ConfigError(
            "cannot isolate stages by landlock: this kernel does not have it",
            hint="set pipeline.isolation to auto",
            key="pipeline.isolation",
        )
    return level


@functools.cache
def landlock_abi() -> int:
    """The kernel's Landlock version; 0 or less without it."""
    if not sys.platform.startswith("linux"):
        return 0
    return int(ctypes.CDLL(None).syscall(_LANDLOCK_CREATE, None, 0, _VERSION_FLAG))


@functools.cache
def _bwrap_works() -> bool:
    if shutil.which("bwrap") is None:
        return False
    with_limit = [*_bwrap_base(), "--", *_limited(64), "true"]
    try:
        return subprocess.run(with_limit, capture_output=True, timeout=PROBE_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _in_tmp(*paths: str) -> bool:
    """Whether something that is needed would be hidden by another `/tmp`."""
    return any(path.startswith(_TMP + "/") for path in paths)


def _bwrap_base() -> list[str]:
    # A user namespace also for root: without one the limit on processes would not hold for it.
    apart = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    return ["bwrap", *apart, "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]


@functools.cache
def _prlimit() -> str | None:
    return shutil.which("prlimit")


def _limited(processes_max: int) -> list[str]:
    prlimit = _prlimit()
    return [prlimit, f"--nproc={processes_max}", "--"] if prlimit and processes_max else []
