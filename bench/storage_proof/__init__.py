"""What breaks the store, one way per module, and the one ledger that all of them check against.

| module | breaks by |
|---|---|
| `kills` | ending the node's process at any moment |
| `power` | cutting the power: what was not flushed is on disk in any part and order; `first_boot` while it is created |
| `io_errors` | failing every write and flush in turn |
| `disk_full` | a small file system that fills up, and is freed again |
| `flips` | single bits, and zeroed sectors |
| `migrations`, `rotations` | kills in the middle of a migration, and of a renewal of keys |
| `backups` | writes in the middle of a backup |

`ledger` writes and checks, `shim` stands between a process and its file system (`disk_shim.c`), `crash_states` is what
a disk may hold after a cut, `cuts` has every such disk looked at, `workers` survives checks that die. Each module has
`run(...) -> dict` whose "problems" are empty when the promise held. `bench/prove_storage.py` runs them all.
"""
