"""All tables of a node: opened before anything else, so that one that cannot be read is a reason not to start.

Whoever adds a table adds it here; a test says when one is missing. Storage's own tables are storage's own business.
"""

from __future__ import annotations

from typing import Any, Final

from henslowe.actors.access.rows import TOKENS
from henslowe.actors.hooks.rows import HOOKS
from henslowe.actors.replay.rows import REPLAY
from henslowe.actors.results.rows import RESULTS
from henslowe.actors.router.rows import EVIDENCE, TRAFFIC
from henslowe.actors.sessions.rows import SESSIONS
from henslowe.actors.tasks.rows import TASKS
from henslowe.actors.versions.contracts import CONTRACTS
from henslowe.actors.versions.pending import PENDING
from henslowe.actors.versions.rows import LINE, OUTBOX, SERVICES, VERSIONS
from henslowe.storage import TableSpec

TABLES: Final[tuple[TableSpec[Any], ...]] = (
    CONTRACTS,
    EVIDENCE,
    HOOKS,
    LINE,
    OUTBOX,
    PENDING,
    REPLAY,
    RESULTS,
    SERVICES,
    SESSIONS,
    TASKS,
    TOKENS,
    TRAFFIC,
    VERSIONS,
)
