"""Everything durable: tables and events in one LMDB environment with one writer, the archive, the CRDT context.

The only package that imports lmdb. Start at `store`: it composes the rest.

| module | what it is |
|---|---|
| `store` | the facade: open, tables, transactions, info, close |
| `tables`, `bags` | typed rows under ordered keys, read at the speed of a dict |
| `transaction`, `commits`, `writer` | several changes in one commit; the queue; the one writer with group commit |
| `events`, `eventlog`, `partitions` | the event log: data, reading, and its ring of partitions |
| `archive`, `manifest` | builds by content |
| `context` | CRDT documents by namespace |
| `env`, `nodelock`, `filesystem` | LMDB opened safely; one node per directory; renames that last |
| `keys`, `codec`, `clock` | ordered keys, checksummed records, hybrid logical time |
"""

from __future__ import annotations

from henslowe.storage.archive import Archive, Collected, Ignore, swap_link
from henslowe.storage.bags import Bag
from henslowe.storage.commits import Committed
from henslowe.storage.context import ContextDoc, ContextStore
from henslowe.storage.eventlog import CursorRow, EventLog, EventReader
from henslowe.storage.events import STREAMS, Event, EventDraft
from henslowe.storage.filesystem import remove_tree
from henslowe.storage.keys import Key
from henslowe.storage.manifest import Build, Entry, EntryKind
from henslowe.storage.nodelock import Holder, NodeLock, busy, holder
from henslowe.storage.store import WRITER_NAME, ReadonlyStore, Store, StoreInfo, open_readonly
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec
from henslowe.storage.transaction import Transaction

__all__ = [
    "STREAMS",
    "WRITER_NAME",
    "Archive",
    "Bag",
    "Build",
    "Collected",
    "Committed",
    "ContextDoc",
    "ContextStore",
    "CursorRow",
    "Entry",
    "EntryKind",
    "Event",
    "EventDraft",
    "EventLog",
    "EventReader",
    "Holder",
    "Ignore",
    "Key",
    "NodeLock",
    "ReadonlyStore",
    "Store",
    "StoreInfo",
    "Table",
    "TableSpec",
    "Transaction",
    "busy",
    "holder",
    "open_readonly",
    "remove_tree",
    "swap_link",
]
