"""`LoopActor`: an actor on an event loop. No thread; no task while idle.

Async callbacks hold the mailbox until they are done. One task exists only while a callback is suspended; from
Python 3.12 on, a callback that does not suspend costs no turn of the loop. A call to an idle actor of the same
loop runs in place. Not for code that blocks: that is `ThreadActor`.
"""

from __future__ import annotations

from threading import get_ident
from typing import Any, ClassVar

from ._actor import GenActor
from ._bounded import Bounded
from ._loop_ref import LoopRef
from ._ref import Ref
from ._scheduler import Scheduler
from ._timers import Timer


class BoundedLoopRef(Bounded, LoopRef):
    """A loop actor's mailbox with a limit."""

    __slots__ = ("_line",)

    def _drain(self) -> None:
        super()._drain()
        if self._line:
            self._admit()

    def _admit(self) -> None:
        if get_ident() == self._sched.ident:
            super()._admit()
        else:
            self._sched.post(self._admit)


class LoopActor(GenActor):
    """The default kind of actor: computes briefly or awaits. All callbacks may be `async def`."""

    _ref_class: ClassVar[type[Ref]] = LoopRef
    _bounded_ref_class: ClassVar[type[Ref]] = BoundedLoopRef

    def _start_actor_loop(self) -> None:
        ref = self._actor_ref
        scheduler = ref._sched = Scheduler.here()
        ref._on = True
        if get_ident() != scheduler.ident:
            scheduler.post(self._enqueue, ref, scheduler)
        elif ref._started is not None:
            ref._boot()  # type: ignore[attr-defined]  # start_link: init() runs in place
        else:
            self._enqueue(ref, scheduler)

    @staticmethod
    def _enqueue(ref: Ref, scheduler: Scheduler) -> None:
        scheduler.ready.append(ref)
        scheduler.arm()

    def send_after(self, delay_s: float, message: Any) -> Timer:
        """As `GenActor.send_after`. Runs in: the loop."""
        timer = Timer(self._actor_ref, message)
        timer.arm(self._actor_ref._sched.loop.call_later(delay_s, timer.fire).cancel)
        return timer
