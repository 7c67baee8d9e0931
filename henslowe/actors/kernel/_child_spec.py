"""What a supervisor is told: how to start a child, when to restart it, how long it may take to stop.

Plain data, so that any actor may describe a child without knowing supervisors (they live a layer above). The
messages here are understood by every supervisor: `await supervisor.call(StartChild(spec))`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._actor import GenActor
    from ._ref import Ref


class RestartType(StrEnum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"
    """Always."""
    TRANSIENT = "transient"
    """Unless it ended cleanly (`is_clean`)."""
    TEMPORARY = "temporary"
    """Never; its spec goes with it."""


BRUTAL_KILL: Final = 0.0
"""`shutdown_s`: kill at once, without `terminate`."""
INFINITY: Final = math.inf
"""`shutdown_s`: wait as long as it takes. For supervisors, whose children have their own limits."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits before a restart: `first_s * factor ** n` for the n-th in a row, at most `max_s`.

    A child that has lived for `reset_after_s` starts over at `first_s`. Every restart still counts for the
    supervisor's intensity; choose `max_seconds` accordingly.
    """

    first_s: float = 0.1
    factor: float = 2.0
    max_s: float = 30.0
    reset_after_s: float = 60.0

    def __post_init__(self) -> None:
        if not (0 <= self.first_s <= self.max_s and self.factor >= 1 and self.reset_after_s >= 0):
            raise ValueError(f"expected 0 <= first_s <= max_s, factor >= 1 and reset_after_s >= 0, got {self}")


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """How a supervisor runs one child.

    Attributes:
        id: Unique within a supervisor. A dynamic supervisor's children may go without.
        actor: The actor's class; `start_link(*args, **kwargs)` starts it.
        name: Registered before `init`, freed at death; "" for none.
        restart: When it is started again.
        shutdown_s: Seconds from the exit signal to the kill; `BRUTAL_KILL` or `INFINITY`.
        significant: Its own clean exit may end the supervisor (see `AutoShutdown`).
        backoff: Waiting times between restarts; None restarts at once, as OTP does.
    """

    id: str | None
    actor: type[GenActor]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    restart: RestartType = RestartType.PERMANENT
    shutdown_s: float = 5.0
    significant: bool = False
    backoff: Backoff | None = None

    def __post_init__(self) -> None:
        if not self.shutdown_s >= 0:
            raise ValueError(f"expected shutdown_s of child {self.id} to be at least 0, got {self.shutdown_s}")
        if self.significant and self.restart is RestartType.PERMANENT:
            raise ValueError(f"expected child {self.id} to be transient or temporary, as it is significant")


@dataclass(frozen=True, slots=True)
class StartChild:
    """Starts a child and answers its ref (None when it ignored).

    Fails with `Conflict` (`already_started`, `already_present`), `LimitReached` (`max_children`), or
    `StartFailed` with the reason for which its `init` failed.
    """

    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class TerminateChild:
    """Stops a child and answers None once it is dead. Its spec stays, unless temporary or dynamic."""

    child: str | Ref


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Starts a stopped child again and answers its ref. Fails with `Conflict` when `running` or `restarting`."""

    child: str | Ref


@dataclass(frozen=True, slots=True)
class DeleteChild:
    """Forgets a stopped child's spec. Fails with `Conflict` when `running` or `restarting`."""

    child: str | Ref


@dataclass(frozen=True, slots=True)
class WhichChildren:
    """Answers `tuple[ChildInfo, ...]` in start order."""


@dataclass(frozen=True, slots=True)
class CountChildren:
    """Answers a `ChildCount`."""


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One child as its supervisor sees it. `restarts` counts starts after the first one."""

    id: str | None
    ref: Ref | None
    restarting: bool
    restarts: int
    spec: ChildSpec


@dataclass(frozen=True, slots=True)
class ChildCount:
    """Children of a supervisor: specs, living ones, and those that wait for their next start."""

    specs: int
    active: int
    restarting: int
