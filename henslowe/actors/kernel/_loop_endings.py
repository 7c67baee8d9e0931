"""`LoopEndings`: how a loop actor ends, be it by a signal, by a failure, or by its own will.

The states: STARTING until init() is done, RUNNING, BUSY while an async callback is suspended, STOPPING during
terminate(), DEAD. The order of things at death is in `_lifecycle`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from threading import get_ident
from types import CoroutineType
from typing import Any

from ._control_block import BUSY, DEAD, RUNNING, STARTING, STOPPING
from ._exits import KILL, KILLED, is_clean
from ._lifecycle import Lifecycle
from ._loop_mailbox import LoopMailbox
from ._messages import Signal
from ._reply import answer, gave_up, is_done
from ._scheduler import Scheduler
from ._tasks import abandon, error_of, spawn


class LoopEndings(LoopMailbox):
    """Exit signals, failures, `terminate`, death."""

    __slots__ = ()

    def exit(self, reason: Any, sender: Lifecycle | None = None) -> None:
        """As `Ref.exit`."""
        scheduler = self._sched
        if scheduler is None:  # not started yet
            scheduler = self._sched = Scheduler.here()
        if get_ident() != scheduler.ident:
            scheduler.post(self.exit, reason, sender)
        elif self._state == DEAD:
            return
        elif isinstance(reason, str) and reason == KILL:
            self._die(KILLED)
        elif self._suspended and self._ends_suspended(reason, sender):
            self._terminate(reason)
        elif self._takes_signal(reason, sender):
            if self._state == BUSY and self._task is not None:
                self._state, self._why = STOPPING, reason
                self._task.cancel()
            elif self._state != STOPPING:
                if self._q is None:
                    self._q = deque()
                self._q.appendleft(Signal(reason))
                if self._state != STARTING:
                    self._wake()

    def _ends_suspended(self, reason: Any, sender: Lifecycle | None) -> bool:
        if self._state != RUNNING:
            return False
        if self._actor.trap_exit:
            return sender is self._parent
        return self._takes_signal(reason, sender)

    def _failed(self, reply: Any, error: BaseException) -> None:
        """A callback raised. A caller gets the error; the actor crashes unless the error is an answer.

        An answer it stays when its caller has given up meanwhile: else whoever hangs up in time would end the actor.
        """
        if reply is not None and (not is_done(reply) or gave_up(reply)):
            if self._state == DEAD:
                answer(reply, None, error)
            elif self._is_answer(error):
                answer(reply, None, error)
                self._on = False
                self._wake()
                return
            else:  # as in OTP, the caller learns of it when it is over
                self._reply, self._farewell = reply, (None, error)
        if self._state != DEAD:
            self._terminate(error)

    def _terminate(self, reason: Any) -> None:
        """Runs terminate(), then dies."""
        self._state, self._on = STOPPING, True
        try:
            result = self._actor.terminate(reason)
        except BaseException as error:
            self._die(error if is_clean(reason) else reason)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if type(result) is not CoroutineType:
            self._die(reason, goodbye=True)
            return
        task = spawn(self._sched.loop, result)

        def ended(task: asyncio.Task[Any]) -> None:
            error = error_of(task)
            if self._state != DEAD:
                if error is None:
                    self._die(reason, goodbye=True)
                else:
                    self._die(error if is_clean(reason) else reason)

        if task.done():
            ended(task)
        elif self._state == DEAD:
            abandon(task)
        else:
            self._task = task
            task.add_done_callback(ended)

    def _die(self, reason: Any, *, goodbye: bool = False) -> None:
        task, self._task = self._task, None
        super()._die(reason, goodbye=goodbye)
        self._on = False
        if task is not None and not task.done():
            abandon(task)
