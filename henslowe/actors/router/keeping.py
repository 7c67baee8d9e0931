"""The router's memory across restarts: written without waiting, read back once.

What is lost is learned again, so nobody waits for a write and a row that cannot be understood is left out with a
warning. Evidence is written every few seconds while there is any: of a busy trial that is a megabyte, so it is packed a
piece at a time, and written when all of it is. So is traffic, less often and of a few services at a time: all that
hangs on it is that a busy service is still known to be busy after a restart, that a new version has a past to be
compared with, and that limits in `[health]` look at the minutes before.

Not here: what is kept (`verdict`, `copies`, `counters`, `henslowe.actors.health.windows`), when (`actor`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from typing import Any, Final

from henslowe.actors.health import ServiceWindows
from henslowe.actors.ids import ServiceName
from henslowe.actors.router.copies import Mirrorings
from henslowe.actors.router.counters import ServiceCounter
from henslowe.actors.router.pieces import packed, unpacked, weighed
from henslowe.actors.router.rows import EVIDENCE, TRAFFIC, EvidenceRow, TrafficRow
from henslowe.actors.router.trial import Rules, Trial
from henslowe.actors.router.verdict import Evidence
from henslowe.errors import Corrupt, LimitReached, StorageError
from henslowe.storage import Store, Transaction

log = logging.getLogger("henslowe.router")

SLICE: Final = 50
"""Units of evidence that could be packed while one slice of a window is merged."""
NOT_UNDERSTOOD: Final = (KeyError, TypeError, ValueError, Corrupt)
"""What comes of rows that another Henslowe wrote."""


class Keeping:
    """Owner of the tables `EVIDENCE` and `TRAFFIC`. Runs in: the loop.

    Args:
        store: Has the tables.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._evidence = store.table(EVIDENCE)
        self._traffic = store.table(TRAFFIC)

    # -- evidence ----------------

    def evidence(self, trial: Trial, rules: Rules) -> Evidence | None:
        """What was learned of this trial before a restart; None where there is nothing to go on with."""
        row = self._row_of(trial)
        if row is None:
            return None
        try:
            return Evidence.load(trial, rules, row.learned)
        except NOT_UNDERSTOOD as error:
            log.warning("evidence_not_understood service=%s reason=%s", trial.service, error)
            return None

    def copies(self, trial: Trial, copies: Mirrorings) -> Mirrorings | None:
        """The copies given, gone on with what those of this trial had shown; None where there were none."""
        row = self._row_of(trial)
        if row is None or not row.copies:
            return None
        try:
            copies.load(row.copies)
        except NOT_UNDERSTOOD as error:
            log.warning("copies_not_understood service=%s reason=%s", trial.service, error)
            return None
        return copies

    def save_evidence(self, evidence: Evidence, copies: Mirrorings | None, now_s: float) -> Generator[int, None, None]:
        """Packs what was learned when this is begun, a piece at a time, and begins to write it with the last step.

        Yields what `Evidence.dump` does. Whoever does not go on to the end has written nothing.
        """
        trial, copied = evidence.trial, copies.dump() if copies is not None else {}
        learned = yield from evidence.dump()
        row = EvidenceRow(
            service=trial.service,
            epoch=trial.since,
            new=trial.new.number,
            learned=learned,
            copies=copied,
            saved_s=now_s,
        )
        txn = self._store.transaction()
        txn.put(self._evidence, row)
        _submit(txn, "evidence", trial.service)

    def forget_evidence(self, service: ServiceName) -> None:
        """Begins to delete what was learned of a trial that is over, if anything was."""
        if self._evidence.lookup(service) is None:
            return
        txn = self._store.transaction()
        txn.delete(self._evidence, service)
        _submit(txn, "evidence", service)

    def _row_of(self, trial: Trial) -> EvidenceRow | None:
        row = self._evidence.lookup(trial.service)
        same = row is not None and (row.epoch, row.new) == (trial.since, trial.new.number)
        return row if same else None

    # -- traffic ----------------

    @property
    def services(self) -> tuple[ServiceName, ...]:
        """Those whose traffic is known from before."""
        return tuple(row.service for row in self._traffic.rows())

    def recall_traffic(self, service: ServiceName, counter: ServiceCounter, windows: ServiceWindows) -> None:
        """Fills both with what is known from before, if anything is."""
        row = self._traffic.lookup(service)
        if row is None:
            return
        try:
            counter.load({part: unpacked(pieces) for part, pieces in row.counted.items()})
            windows.load(service, row.windows)
        except NOT_UNDERSTOOD as error:
            log.warning("traffic_not_understood service=%s reason=%s", service, error)

    def save_traffic(
        self, service: ServiceName, counter: ServiceCounter, windows: ServiceWindows, now_s: float
    ) -> Generator[int, None, None]:
        """Packs what is known of a service's traffic, in short, and begins to write it, as `save_evidence` does."""
        counted = counter.dump()
        for part, entries in counted.items():
            counted[part] = yield from packed(entries)
        kept = yield from weighed(windows.dump(now_s), SLICE)
        txn = self._store.transaction()
        row = TrafficRow(service=service, counted=counted, windows=kept, saved_s=now_s)
        txn.put(self._traffic, row)
        _submit(txn, "traffic", service)

    def forget_traffic(self, service: ServiceName) -> None:
        """Begins to delete what is known of a service that nobody calls any more."""
        txn = self._store.transaction()
        txn.delete(self._traffic, service)
        _submit(txn, "traffic", service)


def _submit(txn: Transaction, what: str, service: ServiceName) -> None:
    def noticed(saved: asyncio.Future[Any]) -> None:
        if not saved.cancelled() and saved.exception() is not None:
            log.warning("%s_not_saved service=%s reason=%s", what, service, saved.exception())

    try:
        txn.submit().add_done_callback(noticed)
    except (StorageError, LimitReached) as error:
        log.warning("%s_not_saved service=%s reason=%s", what, service, error)
