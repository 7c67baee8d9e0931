"""The keeper of modules: a subtree for each extension, started again, later each time, when it gave up.

    modules (dynamic) ── NAME (dynamic, at most 5 restarts a minute) ── host
                                                                     └─ the extension's own actor, if it has one

A subtree that gives up is nobody else's crash. The keeper hears of it and starts it anew after a while, so that an
extension whose disk was full or whose peer was away comes back by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.kernel import (
    SHUTDOWN,
    ChildSpec,
    Continue,
    Down,
    LoopActor,
    Ref,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.modules.board import ModuleBoard, ModuleState
from henslowe.errors import HensloweError

log = logging.getLogger("henslowe.modules")

MAX_RESTARTS: Final = 5
MAX_SECONDS: Final = 60.0
AGAIN_FIRST_S: Final = 30.0
AGAIN_MAX_S: Final = 1_800.0
START_S: Final = 30.0

MakeSupervisor = Callable[[str, int, float], ChildSpec]
"""A supervisor of its own: id, most restarts, in how many seconds."""


@dataclass(slots=True, frozen=True)
class ModulePlan:
    """One extension to be run."""

    name: str
    children: Callable[[], Sequence[ChildSpec]]
    """Its actors, for one start of its subtree."""


@dataclass(slots=True, frozen=True)
class _Again:
    name: str


class ModuleKeeper(LoopActor):
    """Starts the subtrees under MODULES, and starts them again.

    Args:
        plans: What to run.
        supervisor: Makes the supervisor of one.
        board: Where they are shown.
    """

    def __init__(self, plans: Sequence[ModulePlan], supervisor: MakeSupervisor, board: ModuleBoard) -> None:
        super().__init__()
        self._plans = {plan.name: plan for plan in plans}
        self._supervisor = supervisor
        self._board = board
        self._refs: dict[Ref, str] = {}
        self._gave_up: dict[str, int] = {}

    def init(self) -> Continue:
        """The rest follows: the node does not wait for its extensions."""
        return Continue(None)

    async def handle_continue(self, _: None) -> None:
        """Ends what an earlier keeper started, then starts all."""
        plane = registry.via(names.MODULES)
        for child in await plane.call(WhichChildren()):
            if child.ref is not None:
                await plane.call(TerminateChild(child.ref))
        for name in self._plans:
            await self._start(name)

    async def handle_info(self, message: Any) -> None:
        """A subtree gave up; it is time to start one again."""
        match message:
            case Down(ref=ref) if ref in self._refs:
                name = self._refs.pop(ref)
                reason = self._board.infos[name].reason
                self._board.set(name, ModuleState.DOWN, reason or "it gave up")
                self._later(name)
            case _Again(name):
                await self._start(name)

    async def _start(self, name: str) -> None:
        own: Ref | None = None
        try:
            own = await registry.via(names.MODULES).call(
                StartChild(self._supervisor(name, MAX_RESTARTS, MAX_SECONDS)), START_S
            )
            assert own is not None, "a supervisor does not ignore its start"
            for child in self._plans[name].children():
                await own.call(StartChild(child), START_S)
        except Exception as error:  # noqa: BLE001 - how to start it is the extension's own code
            said = error.message if isinstance(error, HensloweError) else f"{type(error).__name__}: {error}"
            log.warning("module_not_started module=%s reason=%s", name, said)
            self._board.set(name, ModuleState.DOWN, f"cannot start: {said}")
            self._later(name)
            if own is not None:
                own.exit(SHUTDOWN)
            return
        self._refs[own] = name
        self.monitor(own)

    def _later(self, name: str) -> None:
        times = self._gave_up[name] = self._gave_up.get(name, 0) + 1
        self.send_after(min(AGAIN_MAX_S, AGAIN_FIRST_S * 2.0 ** min(times - 1, 16)), _Again(name))
