"""`LoopMailbox`: the queue of a loop actor. Putting is the hot path: no lock, and no call more than needed.

An item from the loop's own thread goes straight into the queue; from elsewhere it travels through the scheduler. What
is done with the items is in `_loop_ref`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import get_ident
from typing import Any

from ._control_block import DEAD, RUNNING
from ._gauges import count_dead_letter
from ._ref import Ref
from ._reply import Reply, answer


class LoopMailbox(Ref):
    """The queue. Everything with an underscore runs in the loop's thread."""

    kind = "loop"
    __slots__ = ()

    def put(self, item: Any, /) -> None:
        """Queues an item and makes the actor ready."""
        scheduler = self._sched
        if get_ident() == scheduler.ident:
            q = self._q
            if q is None:
                q = self._q = deque()
            q.append(item)
            if not self._on:
                self._on = True
                scheduler.ready.append(self)
                if not scheduler.armed:
                    scheduler.arm()
        else:
            self._put_from_afar(item)

    def tell(self, message: Any) -> None:
        """Sends a message to `handle_cast`; raises `ActorExit` when dead."""
        if self._state == DEAD:
            raise self._noproc()
        # put(), unfolded: a method call less is a third of the cost.
        scheduler = self._sched
        if get_ident() == scheduler.ident:
            q = self._q
            if q is None:
                q = self._q = deque()
            q.append(message)
            if not self._on:
                self._on = True
                scheduler.ready.append(self)
                if not scheduler.armed:
                    scheduler.arm()
        else:
            self._put_from_afar(message)

    def _put_from_afar(self, item: Any) -> None:
        try:
            self._sched.post(self.put, item)
        except RuntimeError:  # the loop is closed, so the actor will never run again
            reply = getattr(item, "reply_to", None)
            if reply is None:
                count_dead_letter()
            else:
                answer(reply, None, self._noproc())

    def _wake(self) -> None:
        if not self._on:
            self._on = True
            self._sched.ready.append(self)
            self._sched.arm()

    def _flush(self) -> None:
        if self._q or self._held:
            super()._flush()
        else:
            self._q = self._held = None

    def _take_all(self) -> Iterator[Any]:
        for q in (self._held, self._q):
            while q:
                yield q.popleft()
        self._held = self._q = None

    def _depth(self) -> int:
        return len(self._q or ()) + len(self._held or ())

    def suspend(self) -> None:
        """As `Ref.suspend`. Takes effect before the next message."""
        if get_ident() != self._sched.ident:
            self._sched.post(self.suspend)
        elif not self._suspended and self._state != DEAD:
            self._suspended = True
            if self._q:  # set aside, so that a turn under way sees an empty mailbox
                self._held = deque(self._q)
                self._q.clear()

    def resume(self) -> None:
        """As `Ref.resume`."""
        if get_ident() != self._sched.ident:
            self._sched.post(self.resume)
        elif self._suspended:
            self._suspended = False
            held, self._held = self._held, None
            if held:
                held.extend(self._q or ())
                self._q = held
            if self._q and self._state == RUNNING:
                self._wake()

    def _system(self, function: Any) -> Reply:
        if not self._suspended or get_ident() != self._sched.ident or self._state != RUNNING:
            return super()._system(function)
        reply = Reply()
        reply.set(function(self._actor))
        return reply
