"""How the extensions of a node do: what was found, what runs, what was refused and why. Published.

Written by the hosts and the keeper, read by whoever uses or shows an extension. Runs in: the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from henslowe.actors.journal import say
from henslowe.actors.vocabulary import EventType, Status
from henslowe.extensions.finding import Found, Kind

REASON_CHARS_MAX = 1_000


class ModuleState(StrEnum):
    """How one extension does."""

    REFUSED = "refused"
    """It was found and is not used."""
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    """It runs, and its last call failed."""
    DOWN = "down"
    """It ended by a failure, and is started again."""
    SERVED = "served"
    """It is a tool: a service of its name runs it, and says how it does."""


_STATUS = {
    ModuleState.REFUSED: Status.FAILED,
    ModuleState.STARTING: Status.PENDING,
    ModuleState.RUNNING: Status.HEALTHY,
    ModuleState.DEGRADED: Status.DEGRADED,
    ModuleState.DOWN: Status.UNHEALTHY,
    ModuleState.SERVED: Status.HEALTHY,
}


@dataclass(slots=True)
class ModuleInfo:
    """One extension."""

    found: Found
    state: ModuleState = ModuleState.STARTING
    reason: str = ""
    calls: int = 0
    failures: int = 0
    starts: int = 0
    module: Any = None
    """The extension itself, while it runs."""


@dataclass(slots=True)
class ModuleBoard:
    """All extensions of a node, by name; of several with one name the last."""

    infos: dict[str, ModuleInfo] = field(default_factory=dict)

    def enter(self, found: Found) -> ModuleInfo:
        """An extension that was found."""
        info = self.infos[found.name] = ModuleInfo(found)
        if found.refused:
            info.state, info.reason = ModuleState.REFUSED, found.refused
        return info

    def running(self, kind: Kind) -> Iterator[ModuleInfo]:
        """Those of a kind that can be used now."""
        return (each for each in self.infos.values() if each.found.kind is kind and each.module is not None)

    def troubled(self) -> list[ModuleInfo]:
        """Those that an operator should look at; what a person disabled is not among them."""
        bad = (ModuleState.REFUSED, ModuleState.DEGRADED, ModuleState.DOWN)
        return [
            each
            for each in self.infos.values()
            if (each.state in bad or (each.state is ModuleState.STARTING and each.reason))
            and "modules.disabled" not in each.reason
        ]

    def set(self, name: str, state: ModuleState, reason: str = "", module: Any = None) -> None:
        """Note how an extension does, and say so where that is news."""
        info = self.infos[name]
        news = (info.state, info.reason) != (state, reason)
        info.state, info.reason, info.module = state, reason[:REASON_CHARS_MAX], module
        if state is ModuleState.RUNNING and news:
            info.starts += 1
        if news:
            self._say(info)

    def called(self, name: str, failure: str = "") -> None:
        """Note one call, and what was wrong with it."""
        info = self.infos[name]
        info.calls += 1
        info.failures += bool(failure)
        state = ModuleState.DEGRADED if failure else ModuleState.RUNNING
        if info.module is not None and (info.state, info.reason) != (state, failure[:REASON_CHARS_MAX]):
            info.state, info.reason = state, failure[:REASON_CHARS_MAX]
            self._say(info)

    @staticmethod
    def _say(info: ModuleInfo) -> None:
        found = info.found
        say(
            EventType.MODULE_STATE,
            _STATUS[info.state],
            module=found.name,
            kind=found.kind.value,
            package=f"{found.package} {found.package_version}".strip(),
            state=info.state.value,
            reason=info.reason,
        )
