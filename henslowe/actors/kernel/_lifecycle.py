"""`Lifecycle`: how an actor's life begins, whom it is tied to, and how it ends. The same for every kind of actor.

Links, watchers, exit signals, and the order of things at death. What a kind does about a signal or a callback's failure
is in `_loop_endings` and `_thread_actor`.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

from henslowe.errors import HensloweError

from ._control_block import AWAITED, DEAD, RUNNING, ControlBlock
from ._exits import KILLED, NOPROC, NORMAL, ActorExit, is_clean
from ._gauges import count_dead_letter
from ._messages import Exit
from ._reply import answer, is_done, lifecycle_lock

log = logging.getLogger("henslowe.kernel")

DEFERRED_COMPACT_AT: Final = 64
"""Number of deferred replies from which answered ones are thrown out."""


class Lifecycle(ControlBlock):
    """Links, watchers, exit signals and the end."""

    __slots__ = ()

    def put(self, item: Any, /) -> None:
        """Queues an item whatever the actor's state. Runs in: any thread. For the kernel and pykka."""
        raise NotImplementedError

    # -- links, watchers, exit signals ---------------------------------------------------------------
    def watch(self, callback: Callable[[Any, Any], Any]) -> Callable[[], None]:
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

    def wait(self, timeout: float | None = None) -> bool:
        """Pykka's `actor_stopped.wait()`: blocks the thread until the actor is dead."""
        gate = threading.Event()
        cancel = self.watch(lambda *_: gate.set())
        ended = gate.wait(timeout)
        cancel()
        return ended

    def link(self, other: Lifecycle) -> None:
        """Ties two lives: each gets the other's exit reason as an exit signal. To the dead: `NOPROC`."""
        with lifecycle_lock:
            if DEAD not in (self._state, other._state):
                _link_to(self, other)
                _link_to(other, self)
                return
        dead, live = (other, self) if other._state == DEAD else (self, other)
        live.exit(NOPROC, dead)

    def unlink(self, other: Lifecycle) -> None:
        """Cuts a link. Signals that are on their way still arrive."""
        with lifecycle_lock:
            for a, b in ((self, other), (other, self)):
                if a._links:
                    a._links.discard(b)

    def exit(self, reason: Any, sender: Lifecycle | None = None) -> None:
        """Sends an exit signal with OTP's rules.

        `KILL` ends any actor at once, seen by others as `KILLED`. Others become an `Exit` message when the actor
        traps exits, are ignored when `NORMAL` (unless sent by itself), and end it otherwise. Runs in: any thread.
        """
        raise NotImplementedError

    def _takes_signal(self, reason: Any, sender: Any) -> bool:
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
            hooks, self._on_ready = self._on_ready, None
        if started is not None and started is not AWAITED:
            started.set()
        if hooks is not None:
            for hook in hooks:
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
            watchers, links, started = self._watchers, self._links, self._started
            self._watchers = self._links = self._started = None
            if links is not None:
                for other in links:
                    if other._links is not None:
                        other._links.discard(self)
        if self._on_death is not None:
            for undo in self._on_death:
                undo()
            self._on_death = None
        self._on_ready = None
        if self._timers is not None or self._monitors is not None:
            self._drop_services()
        self._answer_all(reason, goodbye)
        if started is not None:
            if links is not None:
                links.discard(self._parent)  # the starter learns of it by the error, not twice
            if started is not AWAITED:
                started.set()
        elif self._parent is None and not is_clean(reason) and reason != KILLED:
            # Children are reported by their supervisor.
            error = reason if isinstance(reason, BaseException) else None
            log.error("actor_terminated actor=%s reason=%r", self, reason, exc_info=error)
        if watchers is not None or links is not None:
            self._tell_of_end(reason, watchers, links)

    def _tell_of_end(
        self, reason: Any, watchers: dict[object, Callable[[Any, Any], Any]] | None, links: set[Any] | None
    ) -> None:
        if watchers is not None:
            for callback in list(watchers.values()):
                try:
                    callback(self, reason)
                except Exception:  # a broken watcher must not keep the others from hearing
                    log.exception("watcher_failed actor=%s", self)
        if links is not None:
            for other in links:
                other.exit(reason, self)

    def _drop_services(self) -> None:
        timers, self._timers = self._timers, None
        for timer in list(timers or ()):
            timer.cancel()
        monitors, self._monitors = self._monitors, None
        for mref in list(monitors or ()):
            mref.cancel()

    def _answer_all(self, reason: Any, goodbye: bool) -> None:
        """Answers those who wait for it: the caller of the last callback, deferred ones, and the mailbox."""
        pending, self._reply = self._reply, None
        farewell, self._farewell = self._farewell, None
        deferred, self._deferred = self._deferred, None
        if pending is not None and farewell is not None and (goodbye or farewell[1] is not None):
            answer(pending, *farewell)
            pending = None
        if deferred is not None or pending is not None:
            error = ActorExit(reason)
            for reply in itertools.chain(deferred or (), () if pending is None else (pending,)):
                answer(reply, None, error)
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
            answer(reply, None, error)

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
                    self._deferred = {r for r in self._deferred if not is_done(r)}
                self._deferred.add(reply)
                return
        answer(reply, None, ActorExit(self.reason))  # killed by another thread meanwhile


def _link_to(ref: Lifecycle, other: Lifecycle) -> None:
    links = ref._links
    if links is None:
        ref._links = {other}
    else:
        links.add(other)


def _nothing() -> None:
    return None
