"""What is put before a command so that it dies with the node and keeps its limits.

`setpriv` (util-linux) where it is installed and nothing else is needed: one millisecond. Otherwise a bare Python
that asks for the signal, sets the limits and becomes the command. Never `preexec_fn`, which runs Python between fork
and exec and can deadlock in a process with threads.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

_LAUNCHER = """
import ctypes, json, os, resource, signal, sys
parent, limits, argv = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != parent:
    os._exit(137)  # the parent died before we asked for the signal
for name, value in limits.items():
    hard = resource.getrlimit(getattr(resource, name))[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(getattr(resource, name), (value, value))
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
try:
    os.execvp(argv[0], argv)
except OSError as error:
    os.write(2, f"{argv[0]}: {error.strerror}\\n".encode())
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Resource limits of one process, inherited by its children; None leaves the node's own.

    Attributes:
        cpu_s: Processor seconds, then SIGXCPU/SIGKILL.
        memory_bytes: Address space. Runtimes that reserve much (Node, Go) need gigabytes.
        file_bytes: Longest file it may write.
        open_files: File descriptors.
        processes: Processes and threads of the user, all together.
        core_bytes: Core dump; none by default.
    """

    cpu_s: int | None = None
    memory_bytes: int | None = None
    file_bytes: int | None = None
    open_files: int | None = None
    processes: int | None = None
    core_bytes: int | None = 0

    def as_rlimits(self) -> dict[str, int]:
        """The limits by the names of the `resource` module."""
        named = {
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_CORE": self.core_bytes,
        }
        return {name: value for name, value in named.items() if value is not None}


@functools.cache
def _setpriv() -> str | None:
    return shutil.which("setpriv")


def wrap(argv: Sequence[str], limits: ProcessLimits | None) -> list[str]:
    """The command that becomes `argv` after arranging for its death and its limits."""
    setpriv = _setpriv()
    if limits is None and setpriv is not None:
        return [setpriv, "--pdeathsig", "KILL", "--", *argv]
    rlimits = json.dumps(limits.as_rlimits() if limits is not None else {})
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), rlimits, *argv]
