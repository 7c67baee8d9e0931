"""Captured traffic: exchanges of MCP, redacted, bounded, recorded beside the calls and never in their way.

    store.captures.recorder          # the gateway's: wants, record
    store.captures.read(service="hello", method="tools/call", name="add")

| module | what it is |
|---|---|
| `record` | one exchange: handed over, stored, read |
| `detectors`, `redaction` | what a secret looks like, and a value without secrets |
| `recorder`, `writer` | the loop's side: share, sample, queue; the disk's side: redact, encode, commit |
| `log`, `reader` | the environment of its own; finding captures |

Recording is evidence, not truth: it samples, cuts and drops. What must not be lost is an event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.actors.kernel import ChildSpec, RestartType
from henslowe.config.settings import CaptureSettings
from henslowe.storage.capture.log import CaptureLog
from henslowe.storage.capture.reader import CaptureReader
from henslowe.storage.capture.record import Capture, Exchange
from henslowe.storage.capture.recorder import CaptureCounts, Recorder
from henslowe.storage.capture.redaction import Redacted, Redactor
from henslowe.storage.capture.writer import FLUSH, CaptureWriterActor, Figures
from henslowe.storage.env import EnvironmentInfo

WRITER_NAME: Final = "storage.capture_writer"
_SHUTDOWN_S: Final = 5.0

__all__ = [
    "FLUSH",
    "WRITER_NAME",
    "Capture",
    "CaptureCounts",
    "CaptureInfo",
    "CaptureReader",
    "Captures",
    "Exchange",
    "Recorder",
    "Redacted",
    "Redactor",
]


@dataclass(frozen=True, slots=True)
class CaptureInfo:
    """Figures of the capture: what is stored, what became of exchanges since the start, sizes (None until open)."""

    enabled: bool
    exchanges: int
    stored: int
    failed: int
    counts: CaptureCounts
    env: EnvironmentInfo | None
    lost: str
    """Why captures of earlier lives were thrown away, "" if they were not."""


class Captures:
    """The capture of one node: recorder, record and writer together. Made by `Store.open`.

    Args:
        path: The environment's folder.
        settings: What is recorded and kept.
        tick: The node's clock.
        clean: Whether the last life of the node ended cleanly.
    """

    def __init__(
        self, path: Path, settings: CaptureSettings, tick: Callable[[], tuple[int, int]], *, clean: bool
    ) -> None:
        self.settings = settings
        self.recorder = Recorder(settings, tick)
        self.redactor = Redactor(settings)
        self.log = CaptureLog(path, settings, clean=clean)
        self._figures = Figures()

    def child_spec(self) -> ChildSpec:
        """The writer, for a supervisor."""
        return ChildSpec(
            id="capture writer",
            actor=CaptureWriterActor,
            args=(self.recorder, self.log, self.redactor, self._figures),
            kwargs={"bytes_max": self.settings.record_bytes_max},
            name=WRITER_NAME,
            restart=RestartType.PERMANENT,
            shutdown_s=_SHUTDOWN_S,
        )

    def read(self, **filters: Any) -> list[Capture]:
        """As `CaptureReader.read`; nothing before the first capture, or while earlier ones are being opened."""
        reader = self.log.reader
        return [] if reader is None else reader.read(**filters)

    def get(self, seq: int) -> Capture | None:
        """As `CaptureReader.get`."""
        reader = self.log.reader
        return None if reader is None else reader.get(seq)

    def info(self) -> CaptureInfo:
        """Figures now."""
        log = self.log
        return CaptureInfo(
            enabled=self.settings.enabled,
            exchanges=0 if log.reader is None or log.env is None or log.env.closed else log.reader.count(),
            stored=self._figures.stored,
            failed=self._figures.failed,
            counts=self.recorder.counts(),
            env=None if log.env is None else log.env.info_if_open(),
            lost=log.lost,
        )

    def close(self) -> None:
        """Ends the record; stop the writer first."""
        self.log.close()
