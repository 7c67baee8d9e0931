"""A store that was not closed, read beside the imports of the start that will open it.

After an unclean end the structure of the whole store is verified before it is opened, in Python: a second and a half
for a million events. The imports of a node take nearly as long, and there is a second core; so the reading begins
before them, in a process of its own. Only its good news is believed, and only while the file is still the one that it
began with: else `storage.opening` verifies for itself, under the node's lock, and says what is wrong.

Imports nothing of Henslowe and nothing heavy: this is what runs while those wait.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

RUNNING: Final = "running"
"""The file in a data directory that is there while a node runs, and after one that did not end in order."""
DATA: Final = Path("core", "data.mdb")
"""Where tables and events lie in a data directory."""
BYTES_MAX: Final = 2 << 30
"""Some 25 s of verification; a greater file is opened unverified, and records are checked as they are read."""
WAIT_S: Final = 60.0
_SOUND: Final = b"sound"
_CHILD: Final = f"""
import gc, sys
from lmdb.verify import verify
gc.disable()
if not verify(sys.argv[1]):
    sys.stdout.buffer.write({_SOUND!r})
"""


class EarlyCheck:
    """Verifies the store of a data directory from now on, if it was not closed. Ends with its context."""

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir / DATA
        self._process: subprocess.Popen[bytes] | None = None
        self._began = _state(self._data)
        if (data_dir / RUNNING).exists() and self._began is not None and self._began[1] <= BYTES_MAX:
            # Not the folder that this happens to run in: there may be a module of that name.
            command = [sys.executable, "-P", "-c", _CHILD, str(self._data)]
            with contextlib.suppress(OSError):
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            with self._process:  # closes its pipe, and waits for its end
                pass

    def found_sound(self, data: Path) -> bool:
        """Whether this file was read and is sound, and is still as it was then. Blocking: until it was read."""
        if self._process is None or data.resolve() != self._data.resolve():
            return False
        try:
            said, _ = self._process.communicate(timeout=WAIT_S)  # an exit status may be lost where SIGCHLD is ignored
        except subprocess.TimeoutExpired:
            return False
        return said == _SOUND and _state(data) == self._began


def _state(file: Path) -> tuple[int, int, int] | None:
    """What tells one content of a file from another; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
