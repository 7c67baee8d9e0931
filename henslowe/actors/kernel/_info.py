"""What can be seen of an actor from outside, without asking it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ActorState(StrEnum):
    """Where in its life an actor is. `BUSY`: in an async callback that has suspended."""

    STARTING = "starting"
    RUNNING = "running"
    BUSY = "busy"
    STOPPING = "stopping"
    DEAD = "dead"
    SUSPENDED = "suspended"


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """A snapshot of one actor.

    Attributes:
        pid: Number of the actor in this process, never used twice.
        kind: `loop`, `thread` or `process`.
        mailbox_depth: Messages that wait, not counting the one being handled.
        reason: Why it ended; None while it lives.
        os_pid: The operating system's process, for process actors.
    """

    pid: int
    name: str | None
    kind: str
    actor_class: str
    state: ActorState
    mailbox_depth: int
    reason: Any
    os_pid: int | None = None
