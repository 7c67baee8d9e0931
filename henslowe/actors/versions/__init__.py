"""The version machine: which versions a service has, and which of them serve.

`rows` are the tables, `machine` the pure transitions (with `births`, `rollout`, `commands`, `contracts` and the
`change` they work on), `replay` the way back from events to rows, `actor` the shell that commits them and performs
their effects (`effects`), `starting` makes the order to run a version. Who judges a version is the canary router
(`henslowe.actors.router`); who runs it is the instance manager.
"""

from henslowe.actors.versions.actor import VersionMachine
from henslowe.actors.versions.change import Facts, Policy, State, Transition
from henslowe.actors.versions.machine import Boot, TimeUp, TryAgain, transition
from henslowe.actors.versions.replay import replay
from henslowe.actors.versions.rows import (
    OUTBOX,
    SERVICES,
    VERSIONS,
    EffectKind,
    Kind,
    OutboxRow,
    ServiceRow,
    VersionRow,
    VersionState,
)
from henslowe.actors.versions.starting import LayOut, Starting

__all__ = [
    "OUTBOX",
    "SERVICES",
    "VERSIONS",
    "Boot",
    "EffectKind",
    "Facts",
    "Kind",
    "LayOut",
    "OutboxRow",
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
