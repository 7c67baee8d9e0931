"""What both kinds of supervisor share: children's records, stopping a child, counting, reporting."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from types import CoroutineType
from typing import Any, Final

from henslowe.actors.kernel import (
    KILL,
    NOREPLY,
    SHUTDOWN,
    ActorExit,
    ChildCount,
    ChildInfo,
    ChildSpec,
    CountChildren,
    LoopActor,
    Ref,
    Scheduler,
    Timer,
    WhichChildren,
    names,
)

from .policy import Intensity, Streak, is_expected_stop
from .reports import Context, CrashReport, NextAction, is_anybody_listening, publish

ORPHAN_S: Final = 30.0
"""Longest wait for the children of a supervisor that was killed; more than an instance takes to stop."""


class Child:
    """One child of a supervisor. Mutable; owned by the supervisor."""

    __slots__ = ("ref", "restarting", "restarts", "retry", "spec", "started", "streak")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.ref: Ref | None = None
        self.restarting = False
        self.restarts = 0
        self.started = False  # ever
        self.streak = Streak()
        self.retry: Timer | None = None

    def label(self) -> str:
        """What reports call it."""
        return self.spec.id if self.spec.id is not None else str(self.ref or self.spec.actor.__name__)

    def info(self) -> ChildInfo:
        """Its snapshot."""
        return ChildInfo(self.spec.id, self.ref, self.restarting, self.restarts, self.spec)

    def forget_retry(self) -> None:
        """Nobody tries to start it any more."""
        self.restarting = False
        if self.retry is not None:
            self.retry.cancel()
            self.retry = None


class TryAgain:
    """A supervisor's message to itself: start a child that could not be started. Other messages get in between."""

    __slots__ = ("child", "counted")

    def __init__(self, child: Child, *, counted: bool) -> None:
        self.child = child
        self.counted = counted


class BaseSupervisor(LoopActor):
    """Common part of `Supervisor` and `DynamicSupervisor`."""

    trap_exit = True
    steps_first = True

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        super().__init__()
        self.intensity = Intensity(max_restarts, max_seconds)

    async def handle_call(self, message: Any, sender: Any) -> Any:
        try:
            return await self.answer(message)
        except Exception as error:  # noqa: BLE001  # a child that cannot start is the caller's business, not a crash
            sender.set_exception(error)
            return NOREPLY

    async def answer(self, message: Any) -> Any:
        """Answers one of the supervisors' messages."""
        raise NotImplementedError

    def children_now(self) -> Iterable[Child]:
        """The children in start order."""
        raise NotImplementedError

    def child_infos(self) -> tuple[ChildInfo, ...]:
        """The published snapshot of the children. Runs in: the loop, from anywhere in it, without a message."""
        return tuple(child.info() for child in self.children_now())

    def answer_about_children(self, message: Any) -> Any:
        """Answers `WhichChildren` and `CountChildren`."""
        if isinstance(message, WhichChildren):
            return self.child_infos()
        if isinstance(message, CountChildren):
            children = list(self.children_now())
            active = sum(1 for child in children if child.ref is not None and child.ref.is_alive())
            return ChildCount(len(children), active, sum(child.restarting for child in children))
        raise TypeError(f"expected a message for supervisors, got {message!r}")

    def now(self) -> float:
        """The loop's clock, which tests can turn."""
        time: float = self._actor_ref._sched.loop.time()
        return time

    def begin_start(self, child: Child) -> Any:
        """Starts a child's actor and brings its record up to date: the ref or None, or a coroutine that gives it.

        It is done at once where the actor's `init` is. A restart is then one step, without a coroutine.
        """
        spec = child.spec
        child.retry = None
        if spec.name and orphan_of(spec.name) is not None:
            return self._start_after_orphan(child)
        started = spec.actor.begin_link(spec.args, spec.kwargs, parent=self._actor_ref, name=spec.name or None)
        return self._when_started(child, started) if type(started) is CoroutineType else self.started(child, started)

    async def start_ref(self, child: Child) -> Ref | None:
        """`begin_start`, waited for."""
        begun = self.begin_start(child)
        ref: Ref | None = await begun if type(begun) is CoroutineType else begun
        return ref

    async def _start_after_orphan(self, child: Child) -> Ref | None:
        await orphan_gone(child.spec.name or "")
        return await self.start_ref(child)

    async def _when_started(self, child: Child, starting: Awaitable[Ref | None]) -> Ref | None:
        return self.started(child, await starting)

    def started(self, child: Child, ref: Ref | None) -> Ref | None:
        """Notes that a child has started, or that it ignored."""
        child.ref = ref
        child.restarting = False
        child.restarts += child.started
        child.started = True
        if child.spec.backoff is not None:
            child.streak = child.streak.started(self.now())
        return ref

    def begin_restart(self, child: Child) -> Any:
        """Starts a child again; one that cannot start is tried again by message. None, or a coroutine for the rest."""
        try:
            begun = self.begin_start(child)
        except Exception as error:  # noqa: BLE001  # whatever a child's start raises, it is tried again
            self.failed_restart(child, error)
            return None
        return self._when_restarted(child, begun) if type(begun) is CoroutineType else None

    async def _when_restarted(self, child: Child, begun: Awaitable[Ref | None]) -> None:
        try:
            await begun
        except Exception as error:  # noqa: BLE001  # as above
            self.failed_restart(child, error)

    def failed_restart(self, child: Child, error: Exception) -> None:
        """Reports it, and comes back to the child."""
        delay_s = self.backoff_s(child)
        self.report(child, Context.START_ERROR, reason_of(error), NextAction.RETRY, delay_s)
        self.try_again(child, delay_s, counted=False)

    def count_restart(self) -> bool:
        """Enters one restart; True when it was one too many."""
        return self.intensity.add(self.now())

    def backoff_s(self, child: Child) -> float:
        """Seconds to wait before the child's next start."""
        if child.spec.backoff is None:
            return 0.0
        child.streak, delay = child.streak.failed(child.spec.backoff, self.now())
        return delay

    def try_again(self, child: Child, delay_s: float, *, counted: bool) -> None:
        """Marks the child as restarting and comes back to it."""
        child.restarting = True
        message = TryAgain(child, counted=counted)
        if delay_s > 0:
            child.retry = self.send_after(delay_s, message)
        else:
            self.ref.send(message)

    async def stop_ref(self, child: Child) -> None:
        """Stops a child's actor, reports an unexpected exit, and clears its record."""
        child.forget_retry()
        ref = child.ref
        if ref is not None:
            reason = await stop_actor(ref, child.spec.shutdown_s, self.ref)
            if not is_expected_stop(child.spec, reason):
                self.report(child, Context.SHUTDOWN_ERROR, reason, NextAction.LEAVE_STOPPED)
        child.ref = None

    def report(
        self, child: Child, context: Context, reason: Any, next_action: NextAction, delay_s: float = 0.0
    ) -> None:
        """Publishes a crash report, where anybody listens."""
        if not is_anybody_listening():
            return
        intensity = self.intensity
        publish(
            CrashReport(
                supervisor=self.ref.name or str(self.ref),
                child=child.label(),
                context=context,
                reason=reason,
                restarts=len(intensity.entries),
                max_restarts=intensity.max_restarts,
                max_seconds=intensity.max_seconds,
                next_action=next_action,
                delay_s=delay_s,
            )
        )


def reason_of(error: BaseException) -> Any:
    """The exit reason behind a failed start."""
    return error.reason if isinstance(error, ActorExit) else error


async def stop_actor(ref: Ref, shutdown_s: float, supervisor: Ref) -> Any:
    """Ends an actor OTP's way and waits for its death: signal, `shutdown_s` seconds, kill. Gives its exit reason."""
    gone = _death_of(ref)
    supervisor.unlink(ref)
    if shutdown_s > 0:
        ref.exit(SHUTDOWN, supervisor)
        timeout = None if shutdown_s == float("inf") else shutdown_s
        await asyncio.wait([gone], timeout=timeout)
    if not gone.done():
        ref.exit(KILL, supervisor)
    return await gone


def orphan_of(name: str) -> Ref | None:
    """The holder of the name, when its supervisor is dead.

    A holder with a living parent, or with none, is none of our business: a start under its name fails.
    """
    holder = names.whereis(name)
    parent = holder._parent if holder is not None else None
    return holder if parent is not None and not parent.is_alive() else None


async def orphan_gone(name: str) -> None:
    """Returns when no orphan holds the name any more.

    A supervisor that was killed leaves children that are still ending while its successor starts theirs. OTP calls each
    such start a failure, `already_started`, and has used up its restarts within a moment; here the start waits, at most
    `ORPHAN_S`, and then kills.
    """
    holder = orphan_of(name)
    if holder is None:
        return
    gone = _death_of(holder)
    await asyncio.wait([gone], timeout=ORPHAN_S)
    if not gone.done():
        holder.exit(KILL)
    await gone


def _death_of(ref: Ref) -> asyncio.Future[Any]:
    """Done with the exit reason once the actor is dead."""
    scheduler = Scheduler.here()
    gone: asyncio.Future[Any] = scheduler.loop.create_future()

    def tell(reason: Any) -> None:
        if not gone.done():
            gone.set_result(reason)

    # One that died before we looked is NOPROC to a watcher; its own reason is what matters here.
    ref.watch(lambda *_: scheduler.post(tell, ref.reason))
    return gone
