"""`service@range`: the route of clients that want a contract, not whatever serves now.

A range is resolved against the versions' rows each time somebody calls, and looked at again every second while streams
are open on it, so that listeners hear when it means another version. The version that it means is held (see
`henslowe.actors.holds`): it is started when the first call comes, and let go when the last one is some time ago.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final, Protocol

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.routes import Route
from henslowe.actors.versions import VersionRow, ranges
from henslowe.errors import NotFound

LOOK_S: Final = 1.0
EXACT_S: Final = 10.0
RANGES_MAX: Final = 1_000
"""Ranges that are looked at for listeners; clients of further ones hear of a change when they call."""
SHOWN_MAX: Final = 20
"""Versions named in a refusal."""


class Versions(Protocol):
    """What is read of the versions: their rows by service."""

    def __call__(self, service: str) -> Iterable[VersionRow]:
        """The rows of a service's versions; none for a name that is no service's."""
        ...


class Holds(Protocol):
    """Keeps versions running that are used beside those that serve."""

    def hold(self, version: VersionKey, hold_s: float) -> None:
        """Say that a version is needed for so long from now. Cheap, to be said at each use."""
        ...


class NoHolds:
    """Where every version runs anyway: nothing is held."""

    def hold(self, version: VersionKey, hold_s: float) -> None:
        """Nothing to do."""


class Ranges:
    """Routes of targets with a range. Runs in: the node's loop.

    Args:
        versions: The rows.
        holds: Keeps what is used running.
        idle_s: How long a version is kept after the last use.
    """

    def __init__(self, versions: Versions, holds: Holds, idle_s: float) -> None:
        self._versions = versions
        self._holds = holds
        self._idle_s = idle_s
        self._picked: dict[str, VersionKey | None] = {}
        self._looking: asyncio.TimerHandle | None = None
        self.on_moved: Callable[[set[ServiceName]], None] = lambda _services: None
        """Told of services of which a range means another version now."""
        self.listened: Callable[[], Iterable[str]] = tuple
        """The targets that somebody listens to."""

    def route(self, target: str) -> Route | None:
        """The route of a target; None where no version is in its range."""
        picked = self._pick(target)
        if picked is None:
            return None
        # One that is meant by its number is held by whoever means it; here only for as long as the call may wait.
        self._holds.hold(picked, EXACT_S if "@#" in target else self._idle_s)
        return Route(picked.service, picked)

    def refusal(self, target: str) -> NotFound:
        """Why a target has no route, with the versions that there are."""
        service, _, text = target.partition("@")
        available = [row.semver for row in ranges.startable(self._versions(service))]
        if not available:
            return NotFound(
                f"expected a service of this node, got: {service!r}", hint="see `henslowe status`", service=service
            )
        shown = available[:SHOWN_MAX]
        return NotFound(
            f"expected a range that a version of {service} is in, got: {text!r}; there are {', '.join(shown)}",
            hint=f"see `henslowe versions {service}`",
            service=service,
            available=shown,
        )

    def watch(self) -> None:
        """Look at the ranges that somebody listens to, from now on until nobody does."""
        if self._looking is None:
            self._look()

    def close(self) -> None:
        """Stop looking. Idempotent."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _pick(self, target: str) -> VersionKey | None:
        service, _, text = target.partition("@")
        row = ranges.pick(self._versions(service), text)
        return None if row is None else row.key

    def _look(self) -> None:
        listened = list(self.listened())[:RANGES_MAX]
        before, self._picked = self._picked, {target: self._pick(target) for target in listened}
        for picked in self._picked.values():
            if picked is not None:
                self._holds.hold(picked, self._idle_s)
        moved = {
            ServiceName(target.partition("@")[0])
            for target, picked in self._picked.items()
            if target in before and before[target] != picked
        }
        if moved:
            self.on_moved(moved)
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look) if listened else None
