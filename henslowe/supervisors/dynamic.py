"""`DynamicSupervisor`: any number of children of any kind, started on demand, stopped all at once.

    services = await DynamicSupervisor.start_link(max_restarts=3, max_seconds=5.0, name="services")
    ref = await services.call(StartChild(ChildSpec("billing", Service, args=(spec,), restart=RestartType.TRANSIENT)))

Each child is restarted alone. `StartChild` waits for the child's `init` inside the supervisor, so slow starts queue:
use one supervisor per kind of slowness. A child that ended for good is forgotten. Ids are optional; where given they
are unique.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from henslowe.actors.kernel import SHUTDOWN, ChildSpec, Exit, Ref, StartChild, Stop, TerminateChild, is_clean
from henslowe.errors import Conflict, LimitReached, NotFound

from ._base import BaseSupervisor, Child, TryAgain
from .policy import restarts_after
from .reports import Context, NextAction


class DynamicSupervisor(BaseSupervisor):
    """Runs children that come and go. See the module for the idea.

    Args:
        max_restarts: Restarts that are tolerated within `max_seconds`, of all children together.
        max_seconds: For how long a restart counts.
        max_children: Largest number of children, waiting ones included; None: no limit.

    Answers `StartChild`, `TerminateChild`, `WhichChildren`, `CountChildren`.
    """

    def __init__(self, *, max_restarts: int = 3, max_seconds: float = 5.0, max_children: int | None = None) -> None:
        super().__init__(max_restarts, max_seconds)
        self.max_children = max_children
        self._children: dict[Child, None] = {}  # in start order
        self._by_id: dict[str, Child] = {}
        self._by_ref: dict[Ref, Child] = {}

    def children_now(self) -> Iterable[Child]:
        """The children in start order."""
        return self._children

    async def terminate(self, _reason: Any) -> None:
        """Stops all children at the same time, each with its own limit."""
        await asyncio.gather(*(self.stop_ref(child) for child in list(self._children)))

    # -- exits -----------------------------------------------------------------------------------------
    def handle_info(self, message: Any) -> Any:
        """Takes the exits of children, and its own reminders."""
        if isinstance(message, Exit) and message.ref is not None:
            child = self._by_ref.pop(message.ref, None)
            return self._ended(child, message.reason) if child is not None else None
        if isinstance(message, TryAgain) and message.child.restarting and message.child in self._children:
            return self._retry(message.child, counted=message.counted)
        return None

    def _ended(self, child: Child, reason: Any) -> Any:
        """A child ended by itself."""
        if not restarts_after(child.spec.restart, reason):
            if not is_clean(reason):
                self.report(child, Context.CHILD_TERMINATED, reason, NextAction.LEAVE_STOPPED)
            self._forget(child)
            return None
        exceeded = self.count_restart()
        delay_s = 0.0 if exceeded else self.backoff_s(child)
        action = NextAction.GIVE_UP if exceeded else NextAction.RESTART
        self.report(child, Context.CHILD_TERMINATED, reason, action, delay_s)
        child.ref = None
        if exceeded:
            return self._give_up(child)
        if delay_s > 0:
            self.try_again(child, delay_s, counted=True)
            return None
        return self.begin_restart(child)

    def _retry(self, child: Child, *, counted: bool) -> Any:
        if not counted and self.count_restart():
            return self._give_up(child)
        return self.begin_restart(child)

    def _give_up(self, child: Child) -> Stop:
        self.report(child, Context.REACHED_MAX_RESTART_INTENSITY, SHUTDOWN, NextAction.GIVE_UP)
        return Stop(SHUTDOWN)

    def started(self, child: Child, ref: Ref | None) -> Ref | None:
        """As in the base. A child that ignored is forgotten."""
        if super().started(child, ref) is None:
            self._forget(child)
        elif ref is not None:
            self._by_ref[ref] = child
        return ref

    def _forget(self, child: Child) -> None:
        self._children.pop(child, None)
        if child.spec.id is not None:
            self._by_id.pop(child.spec.id, None)

    # -- messages ----------------------------------------------------------------------------------------
    async def answer(self, message: Any) -> Any:
        """Answers one of the supervisors' messages."""
        if isinstance(message, StartChild):
            return await self._start_child(message.spec)
        if isinstance(message, TerminateChild):
            child = self._find(message.child)
            if child.ref is not None:
                self._by_ref.pop(child.ref, None)
            await self.stop_ref(child)
            self._forget(child)
            return None
        return self.answer_about_children(message)

    async def _start_child(self, spec: ChildSpec) -> Ref | None:
        if self.max_children is not None and len(self._children) >= self.max_children:
            raise LimitReached(
                f"cannot start child {spec.id} in {self.ref}: it has {len(self._children)} children",
                hint="stop one, or raise max_children",
                reason="max_children",
                limit=self.max_children,
            )
        if spec.id is not None and spec.id in self._by_id:
            raise Conflict(f"cannot start child {spec.id}: already_started", reason="already_started", child=spec.id)
        child = Child(spec)
        self._children[child] = None
        if spec.id is not None:
            self._by_id[spec.id] = child
        try:
            return await self.start_ref(child)
        except BaseException:
            self._forget(child)
            raise

    def _find(self, wanted: str | Ref) -> Child:
        child = self._by_ref.get(wanted) if isinstance(wanted, Ref) else self._by_id.get(wanted)
        if child is None:
            raise NotFound(f"no child {wanted} in {self.ref}", hint="ask WhichChildren()", child=str(wanted))
        return child
