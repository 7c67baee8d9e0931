"""The result keeper: owner of the results table. What the gateway keeps and forgets comes in batches, a commit each.

Nobody waits for it, and a batch that storage refuses is lost: the server is asked again then.
"""

from __future__ import annotations

import logging

from henslowe.actors.kernel import LoopActor
from henslowe.actors.messages import ResultsChanged
from henslowe.actors.results.rows import RESULTS, ResultRow
from henslowe.errors import LimitReached, StorageError
from henslowe.storage import Store

log = logging.getLogger(__name__)


class ResultKeeper(LoopActor):
    """Answers `ResultsChanged`.

    Args:
        store: Holds the table `RESULTS`.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._results = store.table(RESULTS)

    async def handle_cast(self, message: ResultsChanged) -> None:
        """Write one batch."""
        txn = self._store.transaction()
        for key in message.dropped:
            txn.delete(self._results, key)
        for fields in message.added:
            txn.put(self._results, ResultRow(**fields))
        try:
            await txn.commit()
        except (StorageError, LimitReached) as error:
            log.warning("results_not_written", extra={"reason": str(error), "results": len(message.added)})
