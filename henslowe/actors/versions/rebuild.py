"""Damaged rows of services, versions and the line, put right from their history before anything is decided on them.

Every transition commits its rows with the events that carry them, so replaying the lifecycle gives exactly the rows.
Where a row is in quarantine, what the replay has and the tables lack is written again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from henslowe.actors.ids import ServiceName
from henslowe.actors.journal import draft
from henslowe.actors.versions.line import replay_line
from henslowe.actors.versions.replay import replay
from henslowe.actors.versions.rows import LINE, SERVICES, VERSIONS
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.errors import Corrupt
from henslowe.storage import Store

SOURCE: Final = "history"

log = logging.getLogger("henslowe.versions")


async def rebuild_damaged(store: Store) -> frozenset[ServiceName]:
    """Writes rows of services and versions again that are damaged; the services they are of. Runs in: the loop.

    A history that is damaged itself rebuilds nothing: the rows stay in quarantine, for a person to decide.

    Raises:
        StorageError: The disk refuses.
    """
    damaged = [item for item in store.quarantined() if item.table in (SERVICES.name, VERSIONS.name, LINE.name)]
    if not damaged:
        return frozenset()
    try:
        history = await asyncio.to_thread(lambda: list(store.events.scan(streams=(Stream.LIFECYCLE.value,))))
    except Corrupt as error:
        log.warning("rows_not_rebuilt", extra={"reason": str(error)})
        return frozenset()
    service_rows, version_rows = replay(history)
    services, versions = store.table(SERVICES), store.table(VERSIONS)
    txn = store.transaction()
    healed: set[ServiceName] = set()
    for service in service_rows.values():
        if service.service not in services.keys():  # noqa: SIM118 - a table
            txn.put(services, service)
            healed.add(service.service)
    present = frozenset(versions.keys())
    for version in version_rows.values():
        if version.key not in present:
            txn.put(versions, version)
            healed.add(version.service)
    line = store.table(LINE)
    for row in replay_line(history).values():
        if line.lookup(row.name) is None:
            txn.put(line, row)
    for item in damaged:
        place = f"core/{item.db_name}"
        txn.append(draft(EventType.STORAGE_HEALED, Status.SUCCESS, place=place, problem=item.why, source=SOURCE))
        store.settle(txn, item)
    await txn.commit()
    return frozenset(healed)
