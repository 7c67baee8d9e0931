"""What is put before a command so that it dies with the node and keeps its limits.

`setpriv` (util-linux) where it is installed and nothing else is needed: one millisecond. Otherwise a bare Python
that asks for the signal, sets the limits and becomes the command. Never `preexec_fn`, which runs Python between fork
and exec and can deadlock in a process with threads.

A command also gets a *tag*: a limit of its own on the bytes of POSIX message queues, a little below the node's.
Children inherit it whatever else they shed (session, parent, environment, open files), anybody may read it, and nobody
can raise it again: by it a daemon is known that did all to get away. Nothing that we know of uses these queues to
their limit.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_USUAL_MSGQUEUE: Final = 819_200
"""Linux's default."""
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
def _which(program: str) -> str | None:
    return shutil.which(program)


TAGS: Final = 400_000
"""Different tags before they repeat."""


def tag_of(number: int) -> int:
    """The tag of the process with this running number; 0 where the node's own limit leaves no room for tags."""
    own = resource.getrlimit(resource.RLIMIT_MSGQUEUE)[0]
    highest = _USUAL_MSGQUEUE if own == resource.RLIM_INFINITY else own
    return highest - 1 - number % TAGS if highest > TAGS else 0


def wrap(argv: Sequence[str], limits: ProcessLimits | None, tag: int = 0) -> list[str]:
    """The command that becomes `argv` after arranging for its death, its limits and its tag."""
    setpriv, prlimit = _which("setpriv"), _which("prlimit")
    if limits is None and setpriv is not None and (not tag or prlimit is not None):
        tagged = [str(prlimit), f"--msgqueue={tag}:{tag}", "--"] if tag else []
        return [*tagged, setpriv, "--pdeathsig", "KILL", "--", *argv]
    wanted = limits.as_rlimits() if limits is not None else {}
    rlimits = json.dumps(wanted | ({"RLIMIT_MSGQUEUE": tag} if tag else {}))
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), rlimits, *argv]
