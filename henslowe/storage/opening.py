"""A data directory made ready for its node, in the order of recovery: lock, structure, environments, ballast.

Not here: what is in the environments (`store`), and how one is opened (`env`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.early_check import BYTES_MAX, DATA, RUNNING
from henslowe.errors import Corrupt
from henslowe.storage import filesystem
from henslowe.storage.ballast import Ballast
from henslowe.storage.env import Environment
from henslowe.storage.env_files import Durability, verify_offline
from henslowe.storage.nodelock import NodeLock
from henslowe.storage.tablespec import Space

_BALLAST: Final = "ballast"
_CACHE_MAP_BYTES: Final = 4 << 30
"""What is cached can be fetched again; a full cache refuses."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A data directory that is ready. `clean` is whether its last life ended in order."""

    data_dir: Path
    lock: NodeLock
    core: Environment
    cache: Environment
    ballast: Ballast
    clean: bool


@contextmanager
def ready(
    data_dir: Path,
    *,
    map_bytes: int,
    env_type: type[Environment] = Environment,
    found_sound: Callable[[Path], bool] | None = None,
) -> Iterator[Place]:
    """The data directory, created if missing; closed and free again only if the body raises.

    Args:
        data_dir: The node's own folder.
        map_bytes: Address space for the core.
        env_type: How the core is opened.
        found_sound: Whether its file, as it lies there now, was verified already.

    Raises:
        DataDirBusy, FormatTooNew, Corrupt, StorageError, OSError: It cannot be opened.
    """
    filesystem.refuse_network(data_dir)
    filesystem.make_folder(data_dir, mode=0o700)
    with ExitStack() as opened:
        lock = NodeLock.acquire(data_dir)
        opened.callback(lock.release)
        running, path = data_dir / RUNNING, data_dir / Space.CORE
        clean = not running.exists()
        found = not clean and found_sound is not None and found_sound(data_dir / DATA)
        if not clean and not found and path.exists() and not verify_offline(path, bytes_max=BYTES_MAX):
            _log.warning("storage.verify_skipped", extra={"path": str(path), "bytes_max": BYTES_MAX})
        core = env_type.open(path, map_bytes=map_bytes)
        opened.callback(core.close)
        cache = _open_cache(data_dir / Space.CACHE, clean=clean)
        opened.callback(cache.close)
        filesystem.write_durably(running, str(lock.holder.pid).encode())
        if clean:
            # A start that is refused was no life.
            opened.callback(running.unlink, missing_ok=True)
        ballast = Ballast(data_dir / _BALLAST)
        ballast.lay()
        yield Place(data_dir, lock, core, cache, ballast, clean)
        opened.pop_all()


def _open_cache(path: Path, *, clean: bool) -> Environment:
    """The cache, emptied when the last life did not end cleanly or it cannot be opened: it can all be made again."""
    if not clean:
        filesystem.remove_tree(path)
    try:
        return Environment.open(path, map_bytes=_CACHE_MAP_BYTES, durability=Durability.PROCESS)
    except Corrupt as error:
        _log.warning("storage.cache_emptied", extra={"reason": error.message})
        filesystem.remove_tree(path)
        return Environment.open(path, map_bytes=_CACHE_MAP_BYTES, durability=Durability.PROCESS)
