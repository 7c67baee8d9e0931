"""The version machine: which versions a service has, and which of them serve.

`rows` are the tables, `machine` the pure transitions: `births`, `rollout`, `rollback`, `reports`, `commands`, `repairs`
and `contracts` on the `change` they work on, `waiting` for what they wait for, `line` for what holds for all services.
`gates`, `gatekeeper` and `pending` are about hooks: who has to agree before, and what waits for it. `replay` is the
way back from events to rows, `actor` the shell that commits them (`ledger`) and has their `effects` performed
(`driving`, with `chores` beside it), `starting` makes the order to run a version, and `tries` says when it is tried
again. Who judges a version is the canary router (`henslowe.actors.router`); who runs it is the instance manager.
"""

from henslowe.actors.versions.actor import VersionMachine
from henslowe.actors.versions.change import Facts, Halts, Policy, State, Transition
from henslowe.actors.versions.machine import Boot, TimeUp, TryAgain, transition
from henslowe.actors.versions.pending import PENDING, PendingRow
from henslowe.actors.versions.replay import replay
from henslowe.actors.versions.rows import (
    LINE,
    OUTBOX,
    SERVICES,
    VERSIONS,
    EffectKind,
    Halt,
    Kind,
    LineRow,
    OutboxRow,
    ServiceRow,
    VersionRow,
    VersionState,
)
from henslowe.actors.versions.starting import LayOut, Starting

__all__ = [
    "LINE",
    "OUTBOX",
    "PENDING",
    "SERVICES",
    "VERSIONS",
    "Boot",
    "EffectKind",
    "Facts",
    "Halt",
    "Halts",
    "Kind",
    "LayOut",
    "LineRow",
    "OutboxRow",
    "PendingRow",
    "Policy",
    "ServiceRow",
    "Starting",
    "State",
    "TimeUp",
    "Transition",
    "TryAgain",
    "VersionMachine",
    "VersionRow",
    "VersionState",
    "replay",
    "transition",
]
