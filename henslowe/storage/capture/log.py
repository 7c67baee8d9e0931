"""The record on disk: an environment of its own, opened by the writer's thread and not by the node's start.

A damaged record is thrown away, never a reason for the node not to start: after an unclean stop the structure is
verified before anything is read from it, since LMDB may take the process with it otherwise.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from henslowe.config.settings import CaptureSettings
from henslowe.errors import Corrupt, FormatTooNew, StorageDegraded
from henslowe.storage import codec, filesystem
from henslowe.storage.capture.reader import CaptureReader
from henslowe.storage.capture.record import RINGS, STREAM, EncodedCapture
from henslowe.storage.env import Environment
from henslowe.storage.env_files import META, Durability, verify_offline
from henslowe.storage.partitions import RING, SCHEMA, Appender, Layout, Retention
from henslowe.storage.writer import Committer

_SALT: Final = b"salt"
_SALT_BYTES: Final = 16
_MAP_ROOM: Final = 4
"""Address space, as a multiple of what is kept: pages of dropped partitions are free only when no reader has them."""
_MAP_BYTES_MIN: Final = 1 << 30
_VERIFY_BYTES_MAX: Final = 256 << 20

_log = logging.getLogger(__name__)


class CaptureLog:
    """Stored captures of one node. `open`, `append` and `expire` run in the writer's thread, `reader` in any.

    Args:
        path: The environment's folder.
        settings: How much is kept.
        clean: Whether the last life of the node ended cleanly.
    """

    def __init__(self, path: Path, settings: CaptureSettings, *, clean: bool) -> None:
        self.path = path
        self._keep = Retention(
            settings.keep_exchanges, age_s_max=settings.keep_days * 86_400, bytes_max=settings.keep_mib << 20
        )
        self._commit_bytes = (settings.keep_mib << 20) // (2 * RING)
        self._map_bytes = max(_MAP_BYTES_MIN, _MAP_ROOM * settings.keep_mib << 20)
        self._clean = clean
        self.salt = b""
        """Of the digests of units; made with the environment, so that they say nothing outside of it."""
        self.lost = ""
        """Why earlier captures were thrown away at opening, "" if they were not."""
        self.env: Environment | None = None
        self.reader: CaptureReader | None = None
        """None until it is open."""
        self._committer: Committer | None = None
        # Its owner may close it while a thread whose actor was killed is still at work.
        self._gate = threading.Lock()
        self._closed = False

    @property
    def exists(self) -> bool:
        """Whether anything was ever recorded here."""
        return self.path.exists()

    def open(self) -> None:
        """Opens or creates it; does nothing if it is open or was closed for good.

        Raises:
            StorageError: It cannot be opened, and not for damage.
        """
        with self._gate:
            if self._committer is None and not self._closed:
                self._open()

    def append(self, batch: Sequence[EncodedCapture]) -> None:
        """Stores `batch`, in one commit or some: they survive the process, power loss may take the last.

        Raises:
            StorageDegraded: The disk refused, or the log is closed; nothing is stored.
            StorageError: It cannot be opened.
        """
        self.open()
        with self._gate:
            if self._committer is None:
                raise StorageDegraded("cannot record: the capture is closed")
            # A partition ends between two commits: a greater one would make it greater than its share.
            for part in _parts(batch, self._commit_bytes):
                self._committer.append(part)

    def expire(self, now_ns: int) -> int:
        """Drops what is older than is kept; returns how many partitions that were. Raises as `append`."""
        with self._gate:
            return 0 if self._committer is None else self._committer.expire(now_ns)

    def close(self) -> None:
        """Ends it for good."""
        with self._gate:
            self._closed = True
            self._committer = None
            if self.env is not None:
                self.env.close()

    def _open(self) -> None:
        try:
            if not self._clean and self.path.exists():
                verify_offline(self.path, bytes_max=_VERIFY_BYTES_MAX)
            self._use(self._environment())
        except (Corrupt, FormatTooNew) as error:
            self.lost = error.message
            _log.warning("storage.captures_lost", extra={"reason": error.message})
            filesystem.remove_tree(self.path)
            self._use(self._environment())
        self._clean = True

    def _environment(self) -> Environment:
        return Environment.open(self.path, map_bytes=self._map_bytes, durability=Durability.PROCESS)

    def _use(self, env: Environment) -> None:
        try:
            self.salt = _salt(env)
            layout = Layout(env, RINGS)
            layout.check()
            appender = Appender(env, layout, {STREAM: self._keep})
            appender.load()
        except BaseException:
            env.close()
            raise
        self.env, self.reader = env, CaptureReader(env, layout)
        self._committer = Committer(env, appender, None)


def _parts(batch: Sequence[EncodedCapture], bytes_max: int) -> Iterator[list[EncodedCapture]]:
    part: list[EncodedCapture] = []
    size_bytes = 0
    for each in batch:
        if part and size_bytes + len(each.body) > bytes_max:
            yield part
            part, size_bytes = [], 0
        part.append(each)
        size_bytes += len(each.body)
    if part:
        yield part


def _salt(env: Environment) -> bytes:
    db = env.db(META)
    with env.read() as txn:
        found: bytes | None = txn.get(_SALT, db=db)
    with suppress(Corrupt):  # digests of before then match no later ones, which is all that a lost salt costs
        if found is not None:
            return codec.unseal(_SALT, found)[1]
    made = secrets.token_bytes(_SALT_BYTES)
    with env.write() as txn:
        txn.put(_SALT, codec.seal(_SALT, SCHEMA, made), db=db)
    return made
