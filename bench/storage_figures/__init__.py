"""Figures of storage beside its rivals: one module per question, run together by `bench/storage.py`.

| module | asks |
|---|---|
| `engines` | (the engines behind one queue: ours, SQLite, Redis) |
| `appends` | how many events a second are durable, and how long an appender waits |
| `bulk` | the same for a thousand events per transaction, with and without indexes |
| `reads` | what a lookup costs, beside a decoded read from LMDB |
| `retention` | what dropping old events costs, beside deleting them |
| `versions` | what archiving a new version costs, beside a commit of git |
| `rollback` | how long a rollback takes, and whether a reader ever misses |

Each has `measure(folder, quick) -> Figures` for one round; rounds take turns, and medians are compared.
"""
