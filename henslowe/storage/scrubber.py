"""The scrubber: reads all that is stored, record by record and object by object, slowly and for ever.

Disks forget without saying so, and a damaged record is noticed when it is read, which may be in a year. So once in
`storage.scrub_interval_s` a child process of lowest priority reads everything, at most `storage.scrub_mib_per_s` a
second; and at once when the disk is well again after an error that was not for want of space. How far it came is a row,
so that it goes on after a restart. What it finds is healed where that is possible (`heal`), told (`notices`) and kept
until another pass does not find it.

Not here: one pass (`scrub_pass`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from henslowe.actors.kernel import NOREPLY, LoopActor, Reply
from henslowe.errors import HensloweError
from henslowe.storage.findings import Finding
from henslowe.storage.notices import Notice, NoticeKind
from henslowe.storage.scrub_pass import Scrubbed, Scrubbing, ScrubPass

SCRUB: Final = "scrub now"
"""Call to the scrubber. Reply: a `Scrubbed`, when everything was read once. A cast begins, unless it is off."""
_BEGIN: Final = "time to look at the clock"
_LOOK_S_MAX: Final = 3_600.0
"""The clock may be set meanwhile, or the machine sleep."""
FIRST_LOOK_S: Final = 5.0
_FAILED_S: Final = 600.0

_log = logging.getLogger(__name__)


class ScrubberActor(LoopActor):
    """Waits for its time; a pass is a task beside its mailbox."""

    def __init__(self, work: Scrubbing, *, now_s: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._work = work
        self._now_s = now_s
        self._pass: asyncio.Task[Scrubbed] | None = None
        self._not_before_s = 0.0
        self._told: set[str] = set()
        """Rows in quarantine that were told."""

    async def init(self) -> None:
        """Knows what earlier lives found, and looks at the clock from now on."""
        work = self._work
        row = work.row
        if not row.finished_s:
            try:
                await work.table.insert(row.model_copy(update={"finished_s": self._now_s()}))
            except HensloweError as error:
                _log.warning("storage.scrub_not_scheduled", extra={"reason": str(error)})
        work.integrity.findings = tuple(Finding.from_dict(each) for each in row.findings)
        work.integrity.finished_s = row.finished_s
        cancel = work.notices.listen(self._hear)
        # Also after a kill, when `terminate` does not run.
        self.ref.watch(lambda *_: cancel())
        # Not at once: tables are still being opened, and nobody may listen yet.
        self.send_after(FIRST_LOOK_S, _BEGIN)

    def handle_call(self, message: object, sender: Reply) -> object:
        """Scrubs now, or joins the pass under way."""
        if message != SCRUB:
            return None
        self._tell_quarantined()
        self._begin().add_done_callback(functools.partial(_answer, sender))
        return NOREPLY

    def handle_cast(self, message: object) -> None:
        """Scrubs now."""
        if message == SCRUB and self._work.interval_s > 0:
            self._begin()

    def handle_info(self, message: object) -> None:
        """Begins if it is time."""
        if message != _BEGIN:
            return
        self._tell_quarantined()
        if self._work.interval_s > 0 and self._due_in_s() <= 0:
            self._begin()
        self.send_after(min(_LOOK_S_MAX, max(1.0, self._due_in_s())), _BEGIN)

    def terminate(self, _reason: object) -> None:
        """Ends the pass; the next life goes on from where it is written down."""
        if self._pass is not None:
            self._pass.cancel()

    def _hear(self, notice: Notice) -> None:
        # A disk that refused one write may have taken another one wrongly.
        if notice.kind is NoticeKind.RECOVERED and not notice.data["full"]:
            self.ref.cast(SCRUB)

    def _tell_quarantined(self) -> None:
        for item in self._work.quarantined():
            if item.id not in self._told:
                self._told.add(item.id)
                key = " or ".join(map(repr, item.keys)) or "unknown"
                self._work.notices.tell(NoticeKind.QUARANTINED, table=item.table, row=key, problem=item.why, id=item.id)

    def _due_in_s(self) -> float:
        row, now_s = self._work.row, self._now_s()
        due_s = 0.0 if any(row.position) else (row.finished_s or now_s) + self._work.interval_s
        return max(due_s, self._not_before_s) - now_s

    def _begin(self) -> asyncio.Task[Scrubbed]:
        if self._pass is None or self._pass.done():
            self._pass = asyncio.get_running_loop().create_task(self._run())
            self._pass.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._pass

    async def _run(self) -> Scrubbed:
        # Also one that fails is not tried again at once.
        self._not_before_s = self._now_s() + _FAILED_S
        try:
            return await ScrubPass(self._work, self.ref, self._now_s).run()
        except HensloweError as error:
            _log.warning("storage.scrub_failed", extra={"reason": str(error)})
            raise


def _answer(sender: Reply, done: asyncio.Task[Any]) -> None:
    if done.cancelled():
        return  # with the actor, whose end the caller learns
    error = done.exception()
    if error is not None:
        sender.set_exception(error)
    else:
        sender.set(done.result())
