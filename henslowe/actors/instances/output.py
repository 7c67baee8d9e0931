"""What a server prints, on its way to the log: batched, with limits, and its last lines kept for error messages."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from henslowe.actors import names
from henslowe.actors.endpoints import ByteReader
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.journal import draft
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Publish
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.storage import EventDraft
from henslowe.words import counted

TAIL_LINES: Final = 50
LINE_CHARS_MAX: Final = 8_192
BATCH_LINES: Final = 100
BATCH_S: Final = 0.2
BURST_S: Final = 10.0
"""So much of its allowance a server may use at once: what it says at start, or a traceback, is kept whole."""
LINES_AT_ONCE: Final = 50
"""Taken of what was read before others have their turn."""
FLOOD_PAUSE_S: Final = 0.01
"""After a read of which lines were left out: a flood is read at some 6 MB/s, and then waits at its full pipe."""
LEFT_OUT_S: Final = 5.0
"""How often it is said how many lines were left out."""


@dataclass(slots=True, frozen=True)
class OutputRate:
    """How much of what one instance prints is kept, on average."""

    lines_per_s: float = 200.0
    bytes_per_s: float = 64.0 * 1024


class Output:
    """The printed lines of one instance; of a flood as much as the rate allows, and how many lines it left out.

    Args:
        version: What runs.
        instance: Which process of it.
        rate: How much is kept, with a burst of ten seconds.
        clock: Monotonic seconds.

    Runs in: the node's loop.
    """

    def __init__(
        self,
        version: VersionKey,
        instance: InstanceId,
        rate: OutputRate = OutputRate(),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._version = version
        self._instance = instance
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._batch: list[EventDraft] = []
        self._flush: asyncio.TimerHandle | None = None
        self._rate = rate
        self._clock = clock
        self._lines_left = rate.lines_per_s * BURST_S
        self._bytes_left = rate.bytes_per_s * BURST_S
        self._filled_at_s = clock()
        self._left_out = 0
        self._report: asyncio.TimerHandle | None = None

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
            await self._take(channel, lines)
            if len(rest) > LINE_CHARS_MAX:
                self.line(channel, rest.decode(errors="replace"))
                rest = b""
        if rest:
            self.line(channel, rest.decode(errors="replace"))

    async def _take(self, channel: str, lines: list[bytes]) -> None:
        """Take the lines of one read, a few at a time; of a flood's only the last ones, since nobody will read more."""
        while lines:
            if self._left_out and len(lines) > TAIL_LINES:
                self._left_out += len(lines) - TAIL_LINES
                lines = lines[-TAIL_LINES:]
            for line in lines[:LINES_AT_ONCE]:
                self.line(channel, line.decode(errors="replace"))
            lines = lines[LINES_AT_ONCE:]
            if self._left_out:
                await asyncio.sleep(FLOOD_PAUSE_S)
            elif lines:
                await asyncio.sleep(0)

    def line(self, channel: str, line: str) -> None:
        """Take one line."""
        line = line.rstrip("\r\n")[:LINE_CHARS_MAX]
        self._tail.append(line)
        if self._allowed(line):
            self._add(channel, line)
            return
        self._left_out += 1
        if self._report is None:
            self._report = asyncio.get_running_loop().call_later(LEFT_OUT_S, self.say_left_out)

    def say_left_out(self) -> None:
        """Say how many lines were left out since this was last said."""
        if self._report is not None:
            self._report.cancel()
            self._report = None
        if self._left_out:
            self._add(
                "note",
                f"{counted(self._left_out, 'line')} left out: more than instances.output_lines_per_s or _bytes_per_s",
            )
            self._left_out = 0

    def forget(self) -> None:
        """A new process begins: what the one before printed explains nothing any more."""
        self._tail.clear()

    def close(self) -> None:
        """The last batch, and how much was left out."""
        self.say_left_out()
        self.flush()

    def flush(self) -> None:
        """Hand what waits to the bus."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._batch:
            batch, self._batch = self._batch, []
            registry.via(names.BUS).cast(Publish(tuple(batch)))

    def _allowed(self, line: str) -> bool:
        """Whether the line is within the rate; then it is charged, and otherwise nothing is."""
        now_s, rate = self._clock(), self._rate
        passed_s = min(BURST_S, now_s - self._filled_at_s)
        self._filled_at_s = now_s
        self._lines_left = min(rate.lines_per_s * BURST_S, self._lines_left + passed_s * rate.lines_per_s)
        self._bytes_left = min(rate.bytes_per_s * BURST_S, self._bytes_left + passed_s * rate.bytes_per_s)
        size = len(line) if line.isascii() else len(line.encode())
        if self._lines_left < 1 or self._bytes_left < size:
            return False
        self._lines_left -= 1
        self._bytes_left -= size
        return True

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
