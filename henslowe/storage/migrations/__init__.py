"""Changes of a table's schema that are too big for an upcast on reading, made while the table is in use.

A migration copies a table into a second sub-database in its new form, keeps both the same for a while, and then lets
the first one go:

| phase | what is so from then on | what is read | what is written |
|---|---|---|---|
| (none) | nothing has begun | the old one | the old one |
| `expand` | the new one exists, empty | the old one | both, in one commit |
| `backfill` | every row was copied, page by page, the cursor in the page's own commit | the old one | both |
| `verify` | every row was compared | the old one | both |
| `flip` | the new one is the table; the rollback window is open | the new one | both |
| `drop` | the old one is empty | the new one | the new one |

Before the flip the table holds what the old schema can hold, after it what the new one can. `rollback` leads back to
the old one from any phase: at once before `drop`, and by the same phases the other way round after it. Each phase is a
commit, so that a killed node goes on where it was.

| module | what it is |
|---|---|
| `declared` | a migration as data, beside the table that it is for |
| `progress` | the phases, the durable row of one migration, and what comes next: pure |
| `forms`, `places` | a table's form under one schema; which forms it has now |
| `engine`, `compare` | carries migrations out, a page at a time |
| `planning` | what would be migrated, without changing anything |
| `runner` | the actor that does so in a node |

Imports nothing here: tables know of `declared` and `places`, the engine knows of tables.
"""
