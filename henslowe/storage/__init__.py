"""Everything durable: tables and events in LMDB with one writer per environment, the archive, the CRDT context.

The only package that imports lmdb. Start at `store`: it composes the rest.

| module | what it is |
|---|---|
| `store`, `readonly` | the facade: open, tables, transactions, info, close; the same for another process |
| `opening`, `lives`, `store_info` | a directory made ready; which life of the node this is; its figures |
| `tablespace` | one environment with its tables, its queue and its writer: core and cache |
| `tablespec`, `cells`, `tables`, `bags` | typed rows under ordered keys, read at the speed of a dict |
| `owners` | who may write a table: claims with an epoch and an heir |
| `transaction`, `commits`, `writer`, `ballast` | several changes in one commit; the queue; the one writer |
| `keeper`, `notices`, `reads` | what is looked after by itself, what is told of it, and who reads |
| `events`, `eventlog`, `partitions`, `windows` | the event log: data, reading, and its ring of partitions |
| `capture/` | recorded traffic without its secrets |
| `archive`, `manifest`, `tree`, `fresh` | builds by content, and how they get there |
| `collection`, `build_diff` | what nobody needs any more; what changed between two builds |
| `migrations` | a table's schema changed while it is in use |
| `secrets`, `sealing`, `vault`, `keyfile`, `rotation` | what nobody may see, and the keys that seal it |
| `context` | CRDT documents by namespace |
| `inspection`, `figures`, `export` | a data directory as it lies on disk, beside its node; events for other programs |
| `checks`, `check_process`, `check_child`, `findings` | whether all is sound, in a process that damage may end |
| `scrubber`, `scrub_pass`, `heal` | the same in the background, slowly and for ever; damage put right |
| `quarantine`, `repair` | damaged rows moved aside; deciding about them |
| `backup`, `backup_files`, `restore`, `compact` | a copy of one moment, the way back, smaller files |
| `env`, `env_files`, `nodelock`, `filesystem` | LMDB opened safely; one node per directory; renames that last |
| `keys`, `codec`, `clock` | ordered keys, checksummed records, hybrid logical time |
"""

from __future__ import annotations

from henslowe.storage.archive import Archive
from henslowe.storage.bags import Bag
from henslowe.storage.collection import Collected
from henslowe.storage.commits import Committed
from henslowe.storage.context import ContextDoc, ContextStore
from henslowe.storage.eventlog import CursorRow, EventLog, EventReader
from henslowe.storage.events import STREAMS, Event, EventDraft
from henslowe.storage.filesystem import remove_tree
from henslowe.storage.keys import Key
from henslowe.storage.laid_out import swap_link
from henslowe.storage.manifest import Build, Entry, EntryKind
from henslowe.storage.migrations.declared import Migration
from henslowe.storage.migrations.progress import Phase
from henslowe.storage.nodelock import Holder, NodeLock, busy, holder
from henslowe.storage.owners import Claim, Owners
from henslowe.storage.readonly import ReadonlyStore, open_readonly
from henslowe.storage.sealing import Secret
from henslowe.storage.store import WRITER_NAME, Store
from henslowe.storage.store_info import StoreInfo
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import Space, TableSpec
from henslowe.storage.transaction import Transaction
from henslowe.storage.tree import Ignore

__all__ = [
    "STREAMS",
    "WRITER_NAME",
    "Archive",
    "Bag",
    "Build",
    "Claim",
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
    "Migration",
    "NodeLock",
    "Owners",
    "Phase",
    "ReadonlyStore",
    "Secret",
    "Space",
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
