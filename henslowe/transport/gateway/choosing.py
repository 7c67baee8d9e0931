"""An endpoint for a call, waiting for one where that is worth it: for an instance, for room, for a server to recover.

A canary that cannot take its share is evidence, and the stable version takes the call. How an endpoint is chosen when
there are some is `selection`'s business; how calls wait is `waiting`'s.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from henslowe.actors.endpoints import Endpoint
from henslowe.actors.routes import Arm, Outcome, Route
from henslowe.errors import LimitReached, NotFound, Unavailable
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.recording import Ended, Recording
from henslowe.transport.gateway.selection import Choice, Selection, Target, service_of
from henslowe.transport.gateway.spreading import Absence, Why
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.waiting import Waiting

OPEN_WAIT_S: Final = 2.0
"""Longest wait for a server that is left alone; a caller is told sooner if that takes longer."""
OPEN_LOOK_S: Final = 0.05
PAUSE_FIRST_S: Final = 0.02


@dataclass(slots=True)
class Progress:
    """How far one call has come."""

    deadline_s: float
    wait_until_s: float
    stable_only: bool = False
    repeats: int = 0
    pause_s: float = PAUSE_FIRST_S


class Choosing:
    """Finds endpoints. Runs in: the node's loop.

    Args:
        selection: Chooses among those that are up.
        waiting: Holds the calls that cannot be made now.
        recording: Told of versions that were waited for in vain.
        wait_s: Longest wait for an instance.
        explain: Why a service without a route has none, in a sentence; "" for a name that is no service's.
        refused: Why a target with a range has no route.
    """

    def __init__(
        self,
        selection: Selection,
        waiting: Waiting,
        recording: Recording,
        *,
        wait_s: float,
        explain: Callable[[str], str],
        refused: Callable[[Target], NotFound] | None = None,
    ) -> None:
        self._selection = selection
        self._waiting = waiting
        self._recording = recording
        self._wait_s = wait_s
        self._explain = explain
        self._refused = refused

    def unrouted(self, target: Target) -> NotFound | Unavailable:
        """The error for a target without a route: none of that name, none in its range, or no version that serves."""
        if "@" in target and self._refused is not None:
            return self._refused(target)
        why = self._explain(target)
        if why:
            return Unavailable(why, hint=f"see `henslowe status {target}`", service=target)
        return NotFound(
            f"expected a service of this node, got: {target!r}", hint="see `henslowe status`", service=target
        )

    async def endpoint(self, target: Target, unit: Unit) -> Endpoint:
        """The same, waiting for an instance.

        Raises:
            NotFound: No such service.
            Unavailable: No instance came up in time.
            LimitReached: Too many calls wait.
        """
        deadline_s = time.monotonic() + self._wait_s
        while (endpoint := self._selection.peek(target, unit)) is None:
            if self._selection.route(target) is None:
                raise self.unrouted(target)
            await self._change(target, deadline_s)
        return endpoint

    async def choose(self, target: Target, ask: Ask, progress: Progress) -> Choice:
        """An endpoint for the call, waiting for one. A canary that is down is evidence, and stable serves instead.

        Raises:
            NotFound: No such service.
            Unavailable: No instance came up in time; the version that was waited for in vain gets the blame once.
            LimitReached: Too many calls wait.
        """
        while True:
            route = self._selection.route(target)
            if route is None:
                raise self.unrouted(target)
            choice = self._selection.choose(target, route, ask.unit, stable_only=progress.stable_only)
            if isinstance(choice, Absence) and choice.version != route.stable and choice.why is not Why.FULL:
                if choice.why is Why.DOWN:
                    ended = Ended(Outcome.CRASH, 0.0, "no instance is up")
                    self._recording.observe(ask, route, Arm.CANARY, choice.version, ended)
                progress.stable_only = True
                choice = self._selection.choose(target, route, ask.unit, stable_only=True)
            if isinstance(choice, Choice):
                return choice
            await self._wait_for(target, route, choice, ask, progress)

    async def _wait_for(self, target: Target, route: Route, absence: Absence, ask: Ask, progress: Progress) -> None:
        """Return when it is worth looking again.

        Raises:
            Unavailable, LimitReached: As `choose`.
        """
        if absence.why is Why.OPEN:
            if absence.retry_s > OPEN_WAIT_S or time.monotonic() + absence.retry_s > progress.wait_until_s:
                raise Unavailable(
                    f"cannot call {target}: its server failed too often, and is left alone for {absence.retry_s:.1f} s",
                    hint=f"see `henslowe status {service_of(target)}`",
                    reason=absence.why.value,
                    retry_after_s=max(1, math.ceil(absence.retry_s)),
                )
            await self._waiting.changed(target, max(absence.retry_s, OPEN_LOOK_S), ask.size)
            return
        try:
            await self._change(target, progress.wait_until_s, ask.size)
        except Unavailable:
            if absence.why is Why.FULL:
                raise LimitReached(
                    f"cannot call {target}: its server has as many calls as it can do",
                    hint=f"see `henslowe status {service_of(target)}`; waited gateway.wait_for_instance_s",
                    retry_after_s=1,
                ) from None
            if "@" not in target:
                ended = Ended(Outcome.CRASH, self._wait_s, "no instance came up")
                self._recording.observe(ask, route, Arm.STABLE, route.stable, ended)
            raise

    async def _change(self, target: Target, deadline_s: float, size: int = 0) -> None:
        """Return after the next change of the directory or the routes.

        Raises:
            Unavailable: None before the deadline.
            LimitReached: Too many calls wait.
        """
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not await self._waiting.changed(target, left_s, size):
            raise Unavailable(
                f"cannot call {target}: no instance is up",
                hint=f"see `henslowe status {service_of(target)}`; waited gateway.wait_for_instance_s",
            )
