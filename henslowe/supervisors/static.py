"""`Supervisor`: children known by id, started in order, stopped in reverse, restarted together or alone.

    planes = await Supervisor.start_link(
        [ChildSpec("bus", EventBus, name="bus"), ChildSpec("watcher", Watcher)],
        strategy=Strategy.REST_FOR_ONE, max_restarts=3, max_seconds=5.0, name="planes",
    )

When `bus` crashes, `watcher` is stopped, then both are started again, in order. After the fourth crash within five
seconds the supervisor itself gives up and exits with `SHUTDOWN`, which is its own supervisor's turn. When the first
start of a child fails, those started before it are stopped and `start_link` raises. The decisions are in `policy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from henslowe.actors.kernel import (
    SHUTDOWN,
    ChildSpec,
    DeleteChild,
    Exit,
    Ref,
    RestartChild,
    RestartType,
    StartChild,
    Stop,
    TerminateChild,
    is_clean,
)
from henslowe.errors import Conflict, NotFound

from ._base import BaseSupervisor, Child, TryAgain, reason_of
from .policy import AutoShutdown, Strategy, ends_supervisor, restart_group, restarts_after
from .reports import Context, NextAction

FAILED_TO_START_CHILD = "failed_to_start_child"


class Supervisor(BaseSupervisor):
    """Runs a fixed set of children, which may be changed by messages. See the module for the idea.

    Args:
        specs: Children in start order; ids must be unique.
        strategy: Who is restarted with a child that crashed.
        max_restarts: Restarts that are tolerated within `max_seconds`.
        max_seconds: For how long a restart counts, in seconds, fractions allowed.
        auto_shutdown: Whether the exit of significant children ends the supervisor.

    Answers `StartChild`, `TerminateChild`, `RestartChild`, `DeleteChild`, `WhichChildren`, `CountChildren`.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec] = (),
        *,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    ) -> None:
        super().__init__(max_restarts, max_seconds)
        self.strategy = strategy
        self.auto_shutdown = auto_shutdown
        self.children = {_id_of(spec): Child(spec) for spec in specs}  # in start order
        if len(self.children) != len(specs):
            raise ValueError(f"expected unique child ids, got {[spec.id for spec in specs]}")

    def children_now(self) -> Iterable[Child]:
        """The children in start order."""
        return self.children.values()

    async def init(self) -> Any:
        """Starts the children in order; gives up when one fails."""
        for child in list(self.children.values()):
            try:
                await self.start_ref(child)
            except Exception as error:  # noqa: BLE001  # whatever a child's start raises is the reason to give up
                reason = reason_of(error)
                self.report(child, Context.START_ERROR, reason, NextAction.GIVE_UP)
                await self._stop_children(list(self.children.values()))
                return Stop((SHUTDOWN, (FAILED_TO_START_CHILD, child.spec.id, reason)))
        return None

    async def terminate(self, _reason: Any) -> None:
        """Stops the children in reverse order."""
        await self._stop_children(list(self.children.values()))

    def started(self, child: Child, ref: Ref | None) -> Ref | None:
        """As in the base. A temporary child that ignored is forgotten."""
        if super().started(child, ref) is None:
            self._drop_if_temporary(child)
        return ref

    async def _stop_children(self, children: Sequence[Child]) -> None:
        for child in reversed(children):
            await self.stop_ref(child)
            self._drop_if_temporary(child)

    def _drop_if_temporary(self, child: Child) -> None:
        if child.spec.restart is RestartType.TEMPORARY:
            self.children.pop(_id_of(child.spec), None)

    # -- exits -----------------------------------------------------------------------------------------
    def handle_info(self, message: Any) -> Any:
        """Takes the exits of children, and its own reminders."""
        if isinstance(message, Exit):
            for child in self.children.values():
                if child.ref is not None and child.ref is message.ref:
                    return self._ended(child, message.reason)
        elif isinstance(message, TryAgain):
            child = message.child
            if child.restarting and self.children.get(_id_of(child.spec)) is child:
                return self._retry(child, counted=message.counted)
        return None

    def _ended(self, child: Child, reason: Any) -> Any:
        """A child ended by itself."""
        if restarts_after(child.spec.restart, reason):
            return self._must_run(child, reason)
        siblings = [other.spec for other in self.children.values() if other.ref is not None and other is not child]
        over = ends_supervisor(self.auto_shutdown, child.spec, siblings)
        if not is_clean(reason):
            action = NextAction.SHUT_DOWN if over else NextAction.LEAVE_STOPPED
            self.report(child, Context.CHILD_TERMINATED, reason, action)
        child.ref = None
        self._drop_if_temporary(child)
        return Stop(SHUTDOWN) if over else None

    def _must_run(self, child: Child, reason: Any) -> Any:
        """A child ended that must run: restart it and its group, now or after its backoff."""
        exceeded = self.count_restart()
        delay_s = 0.0 if exceeded else self.backoff_s(child)
        self.report(child, Context.CHILD_TERMINATED, reason, self._restart_action(exceeded), delay_s)
        child.ref = None
        if exceeded:
            return self._give_up(child)
        return self._restart(child) if delay_s == 0 else self._restart_later(child, delay_s)

    async def _restart_later(self, child: Child, delay_s: float) -> None:
        await self._stop_children([other for other in self._group(child) if other is not child])
        self.try_again(child, delay_s, counted=True)

    def _retry(self, child: Child, *, counted: bool) -> Any:
        """Comes back to a child that is down. A try after a failed start counts like a crash."""
        if not counted and self.count_restart():
            return self._give_up(child)
        return self._restart(child)

    def _restart(self, child: Child) -> Any:
        return self.begin_restart(child) if self.strategy is Strategy.ONE_FOR_ONE else self._restart_group(child)

    def _give_up(self, child: Child) -> Stop:
        self.report(child, Context.REACHED_MAX_RESTART_INTENSITY, SHUTDOWN, NextAction.GIVE_UP)
        return Stop(SHUTDOWN)

    def _restart_action(self, exceeded: bool) -> NextAction:
        if exceeded:
            return NextAction.GIVE_UP
        return NextAction.RESTART if self.strategy is Strategy.ONE_FOR_ONE else NextAction.RESTART_GROUP

    def _group(self, child: Child) -> list[Child]:
        ids = restart_group(self.strategy, list(self.children), _id_of(child.spec))
        return [self.children[id_] for id_ in ids]

    async def _restart_group(self, failed: Child) -> None:
        """Stops the group in reverse, starts it in order until one cannot be started; that one is tried again."""
        group = self._group(failed)
        await self._stop_children(group)
        for child in group:
            if _id_of(child.spec) in self.children:
                restarting = self.begin_restart(child)
                if restarting is not None:
                    await restarting
                if child.restarting:
                    return

    # -- messages ----------------------------------------------------------------------------------------
    async def answer(self, message: Any) -> Any:
        """Answers one of the supervisors' messages."""
        if isinstance(message, StartChild):
            return await self._start_child(message.spec)
        if isinstance(message, TerminateChild):
            await self._stop_children([self._find(message.child)])
            return None
        if isinstance(message, RestartChild):
            child = self._find(message.child)
            self._refuse_unless_stopped(child, "restart")
            return await self.start_ref(child)
        if isinstance(message, DeleteChild):
            child = self._find(message.child)
            self._refuse_unless_stopped(child, "delete")
            del self.children[_id_of(child.spec)]
            return None
        return self.answer_about_children(message)

    async def _start_child(self, spec: ChildSpec) -> Ref | None:
        present = self.children.get(_id_of(spec))
        if present is not None:
            reason = "already_started" if present.ref is not None else "already_present"
            raise Conflict(f"cannot start child {spec.id}: {reason}", reason=reason, child=spec.id)
        child = self.children[_id_of(spec)] = Child(spec)
        try:
            return await self.start_ref(child)
        except BaseException:
            self.children.pop(_id_of(spec), None)
            raise

    def _find(self, wanted: str | Ref) -> Child:
        for child in self.children.values():
            if child.spec.id == wanted or (child.ref is not None and child.ref is wanted):
                return child
        raise NotFound(f"no child {wanted} in {self.ref}", hint="ask WhichChildren()", child=str(wanted))

    @staticmethod
    def _refuse_unless_stopped(child: Child, verb: str) -> None:
        if child.restarting or child.ref is not None:
            reason = "restarting" if child.restarting else "running"
            raise Conflict(f"cannot {verb} child {child.spec.id}: it is {reason}", reason=reason, child=child.spec.id)


def _id_of(spec: ChildSpec) -> str:
    if spec.id is None:
        raise ValueError(f"expected an id for the child {spec.actor.__name__} of a Supervisor, got None")
    return spec.id
