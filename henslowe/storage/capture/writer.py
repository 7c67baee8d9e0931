"""The writer of captures: redacts, encodes and stores what the recorder took, in a borrowed thread.

It works in bursts: the first exchange after a pause sets a timer, and what came until then is one commit. Between two
records it lets the loop have the interpreter. Nothing that fails here reaches a call: what cannot be stored is counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from henslowe.actors.kernel import Continue, LoopActor
from henslowe.errors import HensloweError, StorageError
from henslowe.storage.capture.log import CaptureLog
from henslowe.storage.capture.record import EncodedCapture, Waiting, encode
from henslowe.storage.capture.recorder import Recorder
from henslowe.storage.capture.redaction import Redactor

FLUSH_S: Final = 0.25
"""How long exchanges gather before they are stored: what a crash of the process may lose."""
EXPIRE_S: Final = 3_600.0
BATCH_MAX: Final = 256

FLUSH: Final = "store what waits"
"""Call to the writer. Reply: None, when all that waited is stored or was dropped, and what is stored is readable."""

_WORK: Final = "exchanges wait"
_FLUSH: Final = "store them now"
_EXPIRE: Final = "drop what is too old"
_OPEN: Final = "open"

_log = logging.getLogger(__name__)


class Figures:
    """What became of exchanges at the disk. Written by the writer's thread, read by any."""

    def __init__(self) -> None:
        self.stored = 0
        self.failed = 0
        """Could not be encoded or stored."""


class CaptureWriterActor(LoopActor):
    """Stores what is recorded. Restarting it loses the batch that it had taken, nothing else."""

    def __init__(
        self, recorder: Recorder, log: CaptureLog, redactor: Redactor, figures: Figures, *, bytes_max: int
    ) -> None:
        super().__init__()
        self._recorder = recorder
        self._log = log
        self._redactor = redactor
        self._figures = figures
        self._bytes_max = bytes_max

    def init(self) -> Continue:
        """Has itself woken by exchanges. What was recorded before is opened afterwards: the node does not wait."""
        ref = self.ref
        self._recorder.attach(lambda: ref.cast(_WORK))
        self.send_after(EXPIRE_S, _EXPIRE)
        return Continue(_OPEN)

    async def handle_continue(self, _arg: object) -> None:
        """Makes earlier captures readable, and drops those that are too old."""
        if self._log.exists:
            await asyncio.to_thread(self._expire)

    async def handle_call(self, message: object, _sender: object) -> None:
        """Stores what gathered so far."""
        if message == FLUSH:
            await asyncio.to_thread(self._flush)

    def handle_cast(self, message: object) -> None:
        """Lets exchanges gather for a moment."""
        if message is _WORK:
            self.send_after(FLUSH_S, _FLUSH)

    async def handle_info(self, message: object) -> None:
        """Stores what gathered, or drops what is too old."""
        if message is _FLUSH:
            await asyncio.to_thread(self._flush)
        elif message is _EXPIRE:
            self.send_after(EXPIRE_S, _EXPIRE)
            await asyncio.to_thread(self._expire)

    async def terminate(self, reason: object) -> None:  # noqa: ARG002 - whatever it is, what waits is stored
        """Stores what still waits."""
        self._recorder.detach()
        await asyncio.to_thread(self._flush)

    # -- in a thread ----------------

    def _flush(self) -> None:
        while taken := self._recorder.take(BATCH_MAX):
            try:
                self._log.open()
                batch = [each for each in map(self._encoded, taken) if each is not None]
                self._log.append(batch)
            except StorageError as error:
                self._figures.failed += len(taken)
                _log.warning("storage.captures_not_stored", extra={"reason": error.message, "exchanges": len(taken)})
            else:
                self._figures.stored += len(batch)

    def _encoded(self, waiting: Waiting) -> EncodedCapture | None:
        # A burst must not hold up calls: whoever waits for the interpreter gets it between two records.
        time.sleep(0)
        try:
            return encode(waiting, self._redactor, bytes_max=self._bytes_max, salt=self._log.salt)
        except HensloweError as error:
            # Neither what could not be encoded nor where: that may be the secret.
            self._figures.failed += 1
            _log.warning("storage.capture_not_encoded", extra={"service": waiting.exchange.service, "code": error.code})
            return None

    def _expire(self) -> None:
        try:
            self._log.open()
            self._log.expire(time.time_ns())
        except StorageError as error:
            _log.warning("storage.captures_not_expired", extra={"reason": error.message})
