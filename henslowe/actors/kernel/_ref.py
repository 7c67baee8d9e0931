"""`Ref`: the address of an actor and its control block.

A ref outlives its actor and lets go of the actor object at death, so holding refs is cheap. It is a
`pykka.ActorRef`. This module has what all kinds share: asking, links, monitors, exit signals, dying. How a mailbox
is run is in `_loop_actor` and `_thread_actor`; what a queue item means is in `_dispatch`.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, Literal, overload

import pykka
from pykka._envelope import Envelope

from henslowe.errors import HensloweError

from ._exits import KILLED, NOPROC, NORMAL, ActorExit, StartFailed, is_clean
from ._gauges import count_dead_letter
from ._info import ActorInfo, ActorState
from ._messages import Exit, Info, MonitorRef, StopRequest, SystemRequest
from ._observe import HIDDEN, ActorStatistics, Sink, log_event, observer_of, release
from ._reply import CallFuture, Reply, _running_loop, lifecycle_lock
from ._scheduler import Scheduler

log = logging.getLogger("henslowe.kernel")

STARTING, RUNNING, BUSY, STOPPING, DEAD = range(5)
_STATES = (ActorState.STARTING, ActorState.RUNNING, ActorState.BUSY, ActorState.STOPPING, ActorState.DEAD)
DEFERRED_COMPACT_AT: Final = 64
"""Number of deferred replies from which answered ones are thrown out."""

_pids = itertools.count(1)


class Ref(pykka.ActorRef[Any]):
    """Address of one incarnation of an actor. Compare with `is` or `==`; hashable; never reused."""

    kind = "actor"
    __slots__ = (
        "_actor",
        "_deferred",
        "_farewell",
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
        self._sched: Any = None
        self._task: Any = None
        self._reply: Any = None  # of the call whose async callback is suspended, or that stops the actor
        # What `_reply` gets once terminate() has run: the value of a Stop(), or the error that ends the actor.
        self._farewell: tuple[Any, BaseException | None] | None = None
        self._why: Any = None
        self._parent: Ref | None = None
        self._started: Reply | None = None
        self._links: set[Ref] | None = None
        self._watchers: dict[object, Callable[[Ref, Any], Any]] | None = None
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

    def wait(self, timeout: float | None = None) -> bool:
        """Pykka's `actor_stopped.wait()`: blocks the thread until the actor is dead."""
        gate = threading.Event()
        cancel = self.watch(lambda *_: gate.set())
        ended = gate.wait(timeout)
        cancel()
        return ended

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

    # -- messages --------------------------------------------------------------------------------
    def put(self, item: Any, /) -> None:
        """Queues an item whatever the actor's state. Runs in: any thread. For the kernel and pykka."""
        raise NotImplementedError

    def tell(self, message: Any) -> None:
        """Sends a message to `handle_cast`.

        Raises:
            pykka.ActorDeadError: The actor is dead.
        """
        if self._state == DEAD:
            raise self._noproc()
        self.put(message)

    def cast(self, message: Any) -> None:
        """Sends a message to `handle_cast`. Never fails: to a dead actor it is a dead letter."""
        if self._state == DEAD:
            count_dead_letter()
        else:
            self.put(message)

    def send(self, message: Any) -> None:
        """Sends a message to `handle_info`. Never fails."""
        self.cast(Info(message))

    async def tell_when_room(self, message: Any, timeout_s: float | None = 5.0) -> None:  # noqa: ARG002  # for bounded
        """As `tell`, but waits for room in a mailbox with the policy `await`. With others it waits for nothing.

        Raises:
            CallTimeout: No room within `timeout_s` seconds; the message was not sent.
            ActorExit: The actor is dead, or ended before there was room.
        """
        self.tell(message)

    @overload
    def ask(self, message: Any, *, block: Literal[False], timeout: float | None = None) -> Reply: ...
    @overload
    def ask(self, message: Any, *, block: Literal[True], timeout: float | None = None) -> Any: ...
    @overload
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any: ...
    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Pykka's request: blocks this thread for the answer, or returns a `Reply` with `block=False`.

        Always answered: when the actor ends before handling it, with `ActorExit`.
        """
        reply = Reply()
        if self._state == DEAD:
            reply.set_exception(self._noproc())
        else:
            self._before_blocking(block)
            self.put(Envelope(message, reply))
        return reply.get(timeout=timeout) if block else reply

    def _before_blocking(self, block: bool) -> None:
        if block and _running_loop() is not None:
            raise RuntimeError(
                f"cannot block on {self}: this thread runs an event loop; use `await ref.call(...)` "
                "or `await ref.ask(..., block=False)`"
            )

    def call(self, message: Any, timeout_s: float | None = 5.0) -> CallFuture:
        """`await ref.call(message)`: asks from a coroutine and gives what `handle_call` returned.

        Args:
            message: For the actor's `handle_call`.
            timeout_s: Seconds to wait; None waits for ever.

        Raises:
            CallTimeout: No answer in time.
            ActorExit: The actor is dead (`NOPROC`), ended before answering (its reason), or is the caller itself.
            Exception: What the actor's `handle_call` raised.

        Runs in: a coroutine of any loop.
        """
        scheduler = Scheduler.here()
        future = CallFuture(loop=scheduler.loop)

        def answered(reply: Reply) -> None:
            if reply._error is not None:
                future.set_exception(reply._error)
            else:
                future.set(reply._value)

        self.ask(message, block=False).add_done_callback(answered)
        if timeout_s is not None:
            scheduler.deadlines.add(future, timeout_s)
        return future

    @overload
    def stop(self, *, block: Literal[True], timeout: float | None = None, reason: Any = NORMAL) -> bool: ...
    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None, reason: Any = NORMAL) -> Reply: ...
    @overload
    def stop(self, *, block: bool = True, timeout: float | None = None, reason: Any = NORMAL) -> Any: ...
    def stop(self, *, block: bool = True, timeout: float | None = None, reason: Any = NORMAL) -> Any:
        """Ends the actor in mailbox order: earlier messages are handled first, `terminate` runs.

        In coroutines: `await ref.stop(block=False)`. The result is False when it was dead already.
        """
        was_alive = self._state != DEAD
        if was_alive:
            self._before_blocking(block)
        done = Reply()
        self.watch(lambda *_: done.set(was_alive))
        if was_alive:
            self.put(StopRequest(reason))
        return done.get(timeout=timeout) if block else done

    # -- introspection ----------------------------------------------------------------------------
    def info(self) -> ActorInfo:
        """A snapshot, without disturbing the actor. Runs in: any thread."""
        state = _STATES[self._state]
        if self._suspended and self._state != DEAD:
            state = ActorState.SUSPENDED
        return ActorInfo(
            self.pid, self.name, self.kind, self.actor_class.__name__, state, self._depth(), self.reason, self._os_pid
        )

    def _depth(self) -> int:
        return 0

    def get_state(self) -> Reply:
        """`await ref.get_state()`: a copy of the actor's attributes, taken between two messages."""
        return self._system(lambda actor: {k: v for k, v in vars(actor).items() if k not in HIDDEN})

    def replace_state(self, function: Callable[[Any], Any]) -> Reply:
        """`await ref.replace_state(f)`: calls `f(actor)` between two messages and gives its result."""
        return self._system(function)

    def count(self, *, on: bool = True) -> Reply:
        """`await ref.count()`: keeps `statistics` of this actor from now on, beginning at 0; `on=False` ends it."""

        def switch(actor: Any) -> None:
            observer_of(actor).count(on=on)
            release(actor)

        return self._system(switch)

    def statistics(self) -> Reply:
        """`await ref.statistics()`: an `ActorStatistics`, or None where nobody asked for them by `count`."""

        def read(actor: Any) -> ActorStatistics | None:
            figures = observer_of(actor).figures()
            release(actor)
            return figures

        return self._system(read)

    def trace(self, sink: Sink | None = log_event) -> Reply:
        """`await ref.trace(sink)`: calls `sink(TraceEvent)` after each callback; None ends it.

        Args:
            sink: Runs in the actor's context, so it must be quick. One that raises is dropped. Default: the logger
                `henslowe.kernel.trace`.
        """

        def switch(actor: Any) -> None:
            observer_of(actor).sink = sink
            release(actor)

        return self._system(switch)

    def _system(self, function: Callable[[Any], Any]) -> Reply:
        reply = Reply()
        if self._state == DEAD:
            reply.set_exception(self._noproc())
        else:
            self.put(SystemRequest(function, reply))
        return reply

    def suspend(self) -> None:
        """Stops serving messages (they queue; calls time out) until `resume`. Exit signals still act."""
        raise NotImplementedError

    def resume(self) -> None:
        """Serves messages again."""
        raise NotImplementedError

    # -- links, watchers, exit signals ---------------------------------------------------------------
    def watch(self, callback: Callable[[Ref, Any], Any]) -> Callable[[], None]:
        """Calls `callback(ref, reason)` once at death, at once with `NOPROC` if dead already.

        Returns a function that cancels. Runs in: any thread; the callback runs in the dying actor's (or the
        killer's) thread and must be quick.
        """
        with lifecycle_lock:
            if self._state != DEAD:
                if self._watchers is None:
                    self._watchers = {}
                key = object()
                self._watchers[key] = callback
                return lambda: self._unwatch(key)
        callback(self, NOPROC)
        return _nothing

    def _unwatch(self, key: object) -> None:
        with lifecycle_lock:
            if self._watchers is not None:
                self._watchers.pop(key, None)

    def link(self, other: Ref) -> None:
        """Ties two lives: each gets the other's exit reason as an exit signal. To the dead: `NOPROC`."""
        with lifecycle_lock:
            if DEAD not in (self._state, other._state):
                for a, b in ((self, other), (other, self)):
                    if a._links is None:
                        a._links = set()
                    a._links.add(b)
                return
        dead, live = (other, self) if other._state == DEAD else (self, other)
        live.exit(NOPROC, dead)

    def unlink(self, other: Ref) -> None:
        """Cuts a link. Signals that are on their way still arrive."""
        with lifecycle_lock:
            for a, b in ((self, other), (other, self)):
                if a._links:
                    a._links.discard(b)

    def exit(self, reason: Any, sender: Ref | None = None) -> None:
        """Sends an exit signal with OTP's rules.

        `KILL` ends any actor at once, seen by others as `KILLED`. Others become an `Exit` message when the actor
        traps exits, are ignored when `NORMAL` (unless sent by itself), and end it otherwise. Runs in: any thread.
        """
        raise NotImplementedError

    def _takes_signal(self, reason: Any, sender: Ref | None) -> bool:
        """Decides about a signal; True when the actor must end with `reason`."""
        actor = self._actor
        if actor is None:
            return False
        if actor.trap_exit:
            self.put(Exit(sender, reason))
            return False
        return not (isinstance(reason, str) and reason == NORMAL) or sender is self

    # -- life ------------------------------------------------------------------------------------------
    def _ready(self) -> None:
        """The actor has passed init(): tell whoever waits for that."""
        with lifecycle_lock:
            if self._state == DEAD:  # killed by another thread meanwhile
                return
            self._state = RUNNING
            self._up = True
        started, self._started = self._started, None
        if started is not None:
            started.set(self)
        hooks, self._on_ready = self._on_ready, None
        for hook in hooks or ():
            hook()

    def _die(self, reason: Any, *, goodbye: bool = False) -> None:
        """Ends the actor now. Order: dead, names free, callers answered, starter told, watchers, links.

        `goodbye` says that `terminate` has run well, so that the reply of a `Stop(reason, reply)` is due.
        """
        with lifecycle_lock:
            if self._state == DEAD:
                return
            self._state, self.reason = DEAD, reason
            self._actor = None
            watchers, links, deferred = self._watchers, self._links, self._deferred
            self._watchers = self._links = self._deferred = None
            for other in links or ():
                if other._links:
                    other._links.discard(self)
        for undo in self._on_death or ():
            undo()
        self._on_death = self._on_ready = None
        self._drop_services()
        self._answer_all(reason, deferred or (), goodbye)
        started, self._started = self._started, None
        if started is not None:
            if links and self._parent is not None:
                links.discard(self._parent)  # the starter learns of it by the error, not twice
            started.set_exception(StartFailed(reason, f"cannot start {self}: {reason!r}"))
        elif self._parent is None and not is_clean(reason) and reason != KILLED:
            # Children are reported by their supervisor.
            error = reason if isinstance(reason, BaseException) else None
            log.error("actor_terminated actor=%s reason=%r", self, reason, exc_info=error)
        for callback in list((watchers or {}).values()):
            try:
                callback(self, reason)
            except Exception:  # a broken watcher must not keep the others from hearing
                log.exception("watcher_failed actor=%s", self)
        for other in links or ():
            other.exit(reason, self)

    def _drop_services(self) -> None:
        timers, self._timers = self._timers, None
        for timer in list(timers or ()):
            timer.cancel()
        monitors, self._monitors = self._monitors, None
        for mref in list(monitors or ()):
            mref.cancel()

    def _answer_all(self, reason: Any, deferred: Iterable[Any], goodbye: bool) -> None:
        pending, self._reply = self._reply, None
        farewell, self._farewell = self._farewell, None
        if farewell is not None and pending is not None and (goodbye or farewell[1] is not None):
            _answer(pending, *farewell)
            pending = None
        error = ActorExit(reason)
        for reply in itertools.chain(deferred, () if pending is None else (pending,)):
            _answer(reply, None, error)
        self._flush()

    def _flush(self) -> None:
        """Answers what is still in the mailbox of a dead actor."""
        error = None
        for item in self._take_all():
            reply = getattr(item, "reply_to", None)
            if reply is None:
                count_dead_letter()
                continue
            error = error or ActorExit(self.reason)
            _answer(reply, None, error)

    def _take_all(self) -> Iterator[Any]:
        raise NotImplementedError

    def _is_answer(self, error: BaseException) -> bool:
        """Whether an error raised by handle_call is for the caller only."""
        return isinstance(error, HensloweError) or (
            isinstance(error, Exception) and not self.actor_class.crash_on_call_error
        )

    def _defer(self, reply: Any) -> None:
        """Remembers a caller whose answer comes later, to tell it if the actor ends first."""
        with lifecycle_lock:
            if self._state != DEAD:
                if self._deferred is None:
                    self._deferred = set()
                elif (
                    len(self._deferred) >= DEFERRED_COMPACT_AT and len(self._deferred) & (len(self._deferred) - 1) == 0
                ):
                    # At each power of two: amortised constant, whatever the number that really wait.
                    self._deferred = {r for r in self._deferred if not _is_done(r)}
                self._deferred.add(reply)
                return
        _answer(reply, None, ActorExit(self.reason))  # killed by another thread meanwhile

    def _noproc(self) -> ActorExit:
        return ActorExit(NOPROC, f"{self} not found" if self._is_pykkas() else f"{self} not found: {self.reason!r}")


def _nothing() -> None:
    return None


def _is_done(reply: Any) -> bool:
    done = getattr(reply, "done", None)
    return bool(done()) if done is not None else False


def _answer(reply: Any, value: Any, error: BaseException | None) -> None:
    try:
        if error is None:
            reply.set(value)
        else:
            reply.set_exception((type(error), error, None))
    except queue.Full:  # answered just before
        return
