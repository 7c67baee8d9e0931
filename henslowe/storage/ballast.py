"""Ballast: space kept for the moment when the disk is full.

Not here: when it is given up and laid again (`writer`, `keeper`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from henslowe.storage import filesystem

BALLAST_BYTES: Final = 1 << 20
"""Enough for the commits that a node writes while it shuts down."""
_ROOM: Final = 16
"""The ballast is laid only where this many times its size is free: it must not fill the disk itself."""


class Ballast:
    """A file that is given up when the disk is full, so that the last commits still fit (deleting rows needs space)."""

    def __init__(self, path: Path, size_bytes: int = BALLAST_BYTES) -> None:
        self.folder = path.parent
        """Where it lies: on the disk that is watched."""
        self._path = path
        self._size_bytes = size_bytes

    @property
    def laid(self) -> bool:
        """Whether the space is kept now."""
        return self._path.exists()

    def lay(self) -> None:
        """Makes the file if it is not there and the disk has ample space."""
        if self._path.exists() or filesystem.free_bytes(self._path.parent) < _ROOM * self._size_bytes:
            return
        with suppress(OSError), self._path.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, self._size_bytes)

    def drop(self) -> bool:
        """Frees its space; whether there was any."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
