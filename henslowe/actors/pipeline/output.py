"""What a stage prints: bounded lines, in batches, to the OUTPUT stream; and the tail that explains a failure.

Limits: lines and bytes per stage, bytes per line, lines per batch. Beyond them lines are counted, not kept.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from henslowe.actors.endpoints import ByteReader

BATCH_LINES: Final = 200
BATCH_S: Final = 0.1
"""A person who watches sees lines at most this late."""
KEPT_LINES: Final = 200
"""Lines in memory, for the excerpt and for the cache's replay."""
EXCERPT_BYTES: Final = 4_000
EXCERPT_LINES: Final = 40
_CHUNK_BYTES: Final = 64 * 1024

Line = tuple[str, str]
"""(channel, text)"""


class StageOutput:
    """Collects the lines of one stage and hands them on in batches.

    Runs in: the loop.

    Args:
        publish: Takes a batch.
        lines_max: Lines handed on; a last line says how many more there were.
        bytes_max: The same in bytes.
        line_bytes_max: Longest line; the rest of it is cut.
    """

    def __init__(
        self, publish: Callable[[list[Line]], None], *, lines_max: int, bytes_max: int, line_bytes_max: int
    ) -> None:
        self._publish = publish
        self._lines_left = lines_max
        self._bytes_left = bytes_max
        self._line_bytes_max = line_bytes_max
        self._batch: list[Line] = []
        self._timer: asyncio.TimerHandle | None = None
        self.kept: deque[Line] = deque(maxlen=KEPT_LINES)
        self._left_out = 0

    def add(self, channel: str, text: str) -> None:
        """One line, without its end."""
        self.kept.append((channel, text))
        size = len(text) if text.isascii() else len(text.encode())
        if not self._lines_left or size > self._bytes_left:
            self._lines_left = 0  # what is handed on ends here, also if a shorter line would fit
            self._left_out += 1
            return
        self._lines_left -= 1
        self._bytes_left -= size
        self._batch.append((channel, text))
        if len(self._batch) >= BATCH_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_S, self.flush)

    def flush(self) -> None:
        """Hand on what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._batch = self._batch, []
        if batch:
            self._publish(batch)

    def close(self) -> None:
        """The last batch, and how much was left out."""
        if self._left_out:
            self._batch.append(("note", f"{self._left_out} more lines were not kept"))
        self.flush()

    async def read(self, channel: str, reader: ByteReader) -> None:
        """Everything from `reader` until its end."""
        cutter = LineReader(self._line_bytes_max)
        while chunk := await reader.read(_CHUNK_BYTES):
            for line in cutter.feed(chunk):
                self.add(channel, line)
        for line in cutter.end():
            self.add(channel, line)

    def forget(self) -> None:
        """A new process begins: what the one before printed explains nothing any more."""
        self.kept.clear()

    def excerpt(self) -> str:
        """The last lines, as a failure shows them; standard output last, since that is where tests say what failed."""
        lines = sorted(((name == "stdout", text) for name, text in self.kept if text.strip()), key=lambda line: line[0])
        text = "\n".join(text for _, text in lines[-EXCERPT_LINES:])
        return text if len(text) <= EXCERPT_BYTES else "…" + text[-EXCERPT_BYTES:]


class LineReader:
    """Cuts bytes into lines of text; what is longer than `bytes_max` is cut short."""

    def __init__(self, bytes_max: int) -> None:
        self._max = bytes_max
        self._held = b""
        self._cut = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The lines that this chunk completes."""
        *ended, rest = (self._held + chunk).split(b"\n")
        lines = []
        for line in ended:
            lines.append(self._text(line))
            self._cut = 0
        if len(rest) > self._max:
            self._cut += len(rest) - self._max
            rest = rest[: self._max]
        self._held = rest
        return lines

    def end(self) -> list[str]:
        """The last line, when it had no end."""
        held, self._held = self._held, b""
        return [self._text(held)] if held else []

    def _text(self, line: bytes) -> str:
        cut = self._cut + max(0, len(line) - self._max)
        text = line[: self._max].decode(errors="replace").rstrip("\r")
        return f"{text}… ({cut} bytes more)" if cut else text
