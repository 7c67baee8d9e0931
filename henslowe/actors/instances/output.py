"""What a server prints, on its way to the log: batched, with limits, and its last lines kept for error messages."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from henslowe.actors import names
from henslowe.actors.endpoints import ByteReader
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.journal import draft
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Publish
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.storage import EventDraft

TAIL_LINES: Final = 50
LINE_CHARS_MAX: Final = 8_192
BATCH_LINES: Final = 100
BATCH_S: Final = 0.2
LINES_PER_S_MAX: Final = 1_000
"""Lines of one instance that are kept per second; the rest is counted and said in one line."""


class Output:
    """The printed lines of one instance.

    Args:
        version: What runs.
        instance: Which process of it.

    Runs in: the node's loop.
    """

    def __init__(self, version: VersionKey, instance: InstanceId) -> None:
        self._version = version
        self._instance = instance
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._batch: list[EventDraft] = []
        self._flush: asyncio.TimerHandle | None = None
        self._second = 0
        self._kept = 0
        self._dropped = 0

    def tail(self) -> str:
        """The last lines, at most 4 kB of them."""
        return "\n".join(self._tail)[-4_096:]

    def last_line(self) -> str:
        """The last line that says something, or ""."""
        return next((line for line in reversed(self._tail) if line.strip()), "")

    async def follow(self, reader: ByteReader, channel: str) -> None:
        """Take lines until the end of the stream. A line that is too long is cut, and its rest is a line again."""
        rest = b""
        while data := await reader.read(65_536):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self.line(channel, line.decode(errors="replace"))
            if len(rest) > LINE_CHARS_MAX:
                self.line(channel, rest.decode(errors="replace"))
                rest = b""
        if rest:
            self.line(channel, rest.decode(errors="replace"))

    def line(self, channel: str, line: str) -> None:
        """Take one line."""
        line = line.rstrip("\r\n")[:LINE_CHARS_MAX]
        self._tail.append(line)
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._kept = second, 0
            if self._dropped:
                self._add(channel, f"({self._dropped} lines were not kept)")
                self._dropped = 0
        if self._kept >= LINES_PER_S_MAX:
            self._dropped += 1
            return
        self._kept += 1
        self._add(channel, line)

    def forget(self) -> None:
        """A new process begins: what the one before printed explains nothing any more."""
        self._tail.clear()

    def flush(self) -> None:
        """Hand what waits to the bus."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._batch:
            batch, self._batch = self._batch, []
            registry.via(names.BUS).cast(Publish(tuple(batch)))

    def _add(self, channel: str, line: str) -> None:
        self._batch.append(
            draft(
                EventType.INSTANCE_OUTPUT,
                Status.INFO,
                key=self._version,
                stream=Stream.OUTPUT,
                source=self._instance,
                line=line,
                channel=channel,
            )
        )
        if len(self._batch) >= BATCH_LINES:
            self.flush()
        elif self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(BATCH_S, self.flush)
