"""`ControlBlock`: what the kernel keeps of one actor, and what pykka sees of it.

It outlives its actor and lets go of the actor object at death, so holding one is cheap. How a life begins and ends is
in `_lifecycle`; how one talks to an actor in `_ref`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from typing import Any, Final

import pykka

from ._exits import NOPROC, ActorExit
from ._messages import MonitorRef

STARTING, RUNNING, BUSY, STOPPING, DEAD = range(5)
AWAITED: Final[Any] = object()
"""`_started` while `start_link` is starting the actor and has not come to wait for it yet."""

_pids = itertools.count(1)


class ControlBlock(pykka.ActorRef[Any]):
    """The state of one incarnation of an actor, as the kernel sees it."""

    kind = "actor"
    __slots__ = (
        "_actor",
        "_deferred",
        "_farewell",
        "_held",
        "_links",
        "_monitors",
        "_on",
        "_on_death",
        "_on_ready",
        "_os_pid",
        "_parent",
        "_q",
        "_reply",
        "_sched",
        "_started",
        "_state",
        "_suspended",
        "_task",
        "_timers",
        "_up",
        "_urn",
        "_watchers",
        "_why",
        "actor_class",
        "name",
        "pid",
        "reason",
    )

    def __init__(self, actor: Any) -> None:
        # pykka's constructor is not called: it wants an inbox, a uuid and a threading.Event per actor.
        self.actor_class: type[Any] = actor.__class__
        self.pid = next(_pids)
        self.name: str | None = None
        self.reason: Any = None
        self._actor: Any = actor
        self._state = STARTING
        self._on = False  # queued, being run, or waiting for its task
        self._suspended = False
        self._up = False  # has passed init()
        self._q: Any = None
        self._held: Any = None  # what waits while it is suspended
        self._sched: Any = None
        self._task: Any = None
        self._reply: Any = None  # of the call whose async callback is suspended, or that stops the actor
        # What `_reply` gets once terminate() has run: the value of a Stop(), or the error that ends the actor.
        self._farewell: tuple[Any, BaseException | None] | None = None
        self._why: Any = None
        self._parent: Any = None
        self._started: Any = None  # a Reply while somebody waits for the start
        self._links: set[Any] | None = None
        self._watchers: dict[object, Callable[[Any, Any], Any]] | None = None
        self._monitors: set[MonitorRef] | None = None
        self._timers: set[Any] | None = None
        self._deferred: set[Any] | None = None
        self._on_death: list[Callable[[], Any]] | None = None
        self._on_ready: list[Callable[[], Any]] | None = None
        self._urn: str | None = None
        self._os_pid: int | None = None

    # -- pykka's face ----------------------------------------------------------------------------
    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """Pykka's unique name. Made on first use: most actors never need the 2 us and 150 bytes."""
        if self._urn is None:
            self._urn = uuid.uuid4().urn
        return self._urn

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]
        """The ref itself, which has `put`."""
        return self

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """The ref itself, which has `is_set` and `wait`."""
        return self

    @property
    def _actor_weakref(self) -> Callable[[], Any]:  # type: ignore[override]
        return lambda: self._actor

    def is_set(self) -> bool:
        """Pykka's `actor_stopped.is_set()`."""
        return self._state == DEAD

    def is_alive(self) -> bool:
        """False once the actor is dead, before anybody is told."""
        return self._state != DEAD

    def __str__(self) -> str:
        if self._is_pykkas():
            return f"{self.actor_class.__name__} ({self.actor_urn})"
        return f"{self.actor_class.__name__}<{self.pid}{f' {self.name}' if self.name else ''}>"

    def __repr__(self) -> str:
        return f"<ActorRef for {self}>" if self._is_pykkas() else str(self)

    def _is_pykkas(self) -> bool:
        """Whether it shows itself as pykka's refs do, to those that find it in pykka's registry."""
        return getattr(self.actor_class, "in_pykkas_registry", False)

    def _noproc(self) -> ActorExit:
        return ActorExit(NOPROC, f"{self} not found" if self._is_pykkas() else f"{self} not found: {self.reason!r}")
