"""The replay keeper: owner of the replay table. What the gateway remembers and forgets comes in batches, a commit each.

Nobody waits for it: an event is sent to its client and kept at the same time. A batch that storage refuses is lost, and
with it what a client could have asked for again after a restart of the node; before one, the gateway has it in memory.
"""

from __future__ import annotations

import logging

from henslowe.actors.kernel import LoopActor
from henslowe.actors.messages import ReplayChanged
from henslowe.actors.replay.rows import REPLAY, ReplayRow
from henslowe.errors import LimitReached, StorageError
from henslowe.storage import Store

log = logging.getLogger(__name__)


class ReplayKeeper(LoopActor):
    """Answers `ReplayChanged`.

    Args:
        store: Holds the table `REPLAY`.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._replay = store.table(REPLAY)

    async def handle_cast(self, message: ReplayChanged) -> None:
        """Write one batch."""
        txn = self._store.transaction()
        for session, stream in message.dropped:
            for row in self._replay.range(prefix=(session, stream)):
                txn.delete(self._replay, REPLAY.key_of(row))
        for fields in message.added:
            txn.put(self._replay, ReplayRow(**fields))
        try:
            await txn.commit()
        except (StorageError, LimitReached) as error:
            log.warning("replay_not_written", extra={"reason": str(error), "events": len(message.added)})
