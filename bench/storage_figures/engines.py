"""Three engines behind the store's own queue: what differs between the sides is the engine alone.

All get the same batches of the same encoded events, seal each record with the same checksum, keep the same two indexes
(type and service) and acknowledge only what is on disk. SQLite runs in WAL mode with synchronous=FULL, Redis with its
append-only file flushed always. Events without words are not indexed.
"""

from __future__ import annotations

import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from henslowe.storage import codec, keys
from henslowe.storage.commits import Commit
from henslowe.storage.env import Environment
from henslowe.storage.partitions import Appender, Layout, Ring
from henslowe.storage.writer import Committer

MAP_BYTES = 8 << 30
START_S_MAX = 5.0


class Engine(Protocol):
    """What the writer needs of an engine."""

    def commit(self, batch: Sequence[Commit]) -> None:
        """Makes the batch durable."""

    def recover(self) -> None:
        """Called once, by the writer."""

    def stored(self, batch: Sequence[Commit]) -> bool:
        """Whether the last batch is on disk."""

    def close(self) -> None:
        """Ends it."""


class Ours(Committer):
    """LMDB as a node runs it, with the store's own log and nothing else."""

    def __init__(self, folder: Path, *, indexed: bool = True) -> None:
        self._env = Environment.open(folder, map_bytes=MAP_BYTES)
        ring = Ring(1, ("type", "service") if indexed else ())
        super().__init__(self._env, Appender(self._env, Layout(self._env, {"activity": ring}), {}), None)
        self.recover()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()


class Sqlite:
    """SQLite in WAL mode, flushed with every commit."""

    def __init__(self, folder: Path, *, indexed: bool = True) -> None:
        folder.mkdir(parents=True)
        self._base = sqlite3.connect(folder / "log.db", isolation_level=None, check_same_thread=False)
        self._base.execute("pragma journal_mode=wal")
        self._base.execute("pragma synchronous=full")
        columns = ("seq integer primary key", "record blob", *(("type blob", "service blob") if indexed else ()))
        self._base.execute(f"create table log({', '.join(columns)})")
        self._insert = f"insert into log values({', '.join('?' * len(columns))})"
        if indexed:
            self._base.execute("create index by_type on log(type, seq)")
            self._base.execute("create index by_service on log(service, seq)")
        self._seq = 0

    def recover(self) -> None:
        """The table is new."""

    def stored(self, batch: Sequence[Commit]) -> bool:  # noqa: ARG002 - asked after a crash only
        """No writer is restarted here."""
        return False

    def commit(self, batch: Sequence[Commit]) -> None:
        """One transaction for the batch."""
        rows = []
        for commit in batch:
            commit.first_seq = self._seq + 1
            for _, words, _, body in commit.events:
                self._seq += 1
                rows.append((self._seq, codec.seal(keys.SEQ.pack(self._seq), 1, body), *words))
        self._base.execute("begin immediate")
        self._base.executemany(self._insert, rows)
        self._base.execute("commit")

    def close(self) -> None:
        """Ends the connection."""
        self._base.close()


class Redis:
    """Redis with its append-only file flushed always: a stream entry and two index entries per event, in pipelines."""

    def __init__(self, folder: Path, *, indexed: bool = True) -> None:  # noqa: ARG002 - needs to know nothing before
        folder.mkdir(parents=True)
        path = folder / "redis"
        settings = ["--port", "0", "--unixsocket", str(path), "--dir", str(folder), "--save", ""]
        settings += ["--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "no"]
        self._server = subprocess.Popen(["redis-server", *settings], stdout=subprocess.DEVNULL)
        self._socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + START_S_MAX
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
        self._seq = 0

    @staticmethod
    def available() -> bool:
        """Whether this machine has it."""
        return shutil.which("redis-server") is not None

    def recover(self) -> None:
        """The server is new."""

    def stored(self, batch: Sequence[Commit]) -> bool:  # noqa: ARG002 - asked after a crash only
        """No writer is restarted here."""
        return False

    def commit(self, batch: Sequence[Commit]) -> None:
        """One transaction for the batch."""
        told = [_command(b"MULTI")]
        for commit in batch:
            commit.first_seq = self._seq + 1
            for _, words, _, body in commit.events:
                self._seq += 1
                seq = keys.SEQ.pack(self._seq)
                told.append(_command(b"HSET", b"log", seq, codec.seal(seq, 1, body)))
                for index, word in zip((b"type:", b"service:"), words, strict=False):
                    told.append(_command(b"RPUSH", index + word, seq))
        told.append(_command(b"EXEC"))
        self._socket.sendall(b"".join(told))
        self._read_replies(len(told))

    def _read_replies(self, expected: int) -> None:
        # The one array, of EXEC, is of integers: every line is a reply or an element, and none is an error.
        lines, tail = 0, b""
        elements = expected - 2
        while lines < expected + elements:
            received = self._socket.recv(1 << 20)
            if not received:
                raise ConnectionError("redis-server ended")
            *whole, tail = (tail + received).split(b"\r\n")
            if error := next((one for one in whole if one.startswith(b"-")), b""):
                raise ConnectionError(f"redis-server refused: {error.decode()}")
            lines += len(whole)

    def close(self) -> None:
        """Ends the server."""
        self._socket.close()
        self._server.terminate()
        self._server.wait()


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def rivals() -> dict[str, type[Ours | Sqlite | Redis]]:
    """The engines that this machine has, ours first."""
    found: dict[str, type[Ours | Sqlite | Redis]] = {"ours": Ours, "sqlite": Sqlite}
    return found | {"redis": Redis} if Redis.available() else found
