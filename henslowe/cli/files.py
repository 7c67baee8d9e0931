"""Files that commands write for their user: whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from henslowe.errors import HensloweError


def write_whole(path: Path, chunks: Iterable[bytes]) -> int:
    """Writes a file, whole or not at all; its size.

    Raises:
        HensloweError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            size_bytes = file.tell()
        aside.replace(path)
    except OSError as error:
        raise HensloweError(f"cannot write {path}: {error.strerror}", hint="choose another file with -o") from error
    finally:
        aside.unlink(missing_ok=True)
    return size_bytes
