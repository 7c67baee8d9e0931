"""`LoopRef`: how the callbacks of a loop actor are run.

The hot path is `call` and `_drain`; read those first. The queue is in `_loop_mailbox`, the end in `_loop_endings`,
which callback an item means in `_dispatch`, and what async callbacks need of asyncio in `_tasks`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import CoroutineType
from typing import Any

from pykka._envelope import Envelope

from ._control_block import BUSY, DEAD, RUNNING, STARTING, STOPPING
from ._dispatch import begin
from ._exits import NORMAL, ActorExit, calling_self
from ._loop_endings import LoopEndings
from ._messages import IGNORE, NOREPLY, SPECIAL, Continue, Stop, SystemRequest
from ._reply import CallFuture, answer
from ._scheduler import Scheduler
from ._tasks import Done, abandon, error_of, first_step, spawn


class LoopRef(LoopEndings):
    """The address of a loop actor. Everything with an underscore runs in the loop's thread."""

    __slots__ = ()

    # -- the hot path ----------------------------------------------------------------------------------
    def call(self, message: Any, timeout_s: float | None = 5.0) -> CallFuture:
        """As `Ref.call`. An idle actor of this loop runs its turn right here."""
        scheduler = Scheduler.here()
        if self._sched is not scheduler:
            return super().call(message, timeout_s)
        future: Any = CallFuture(loop=scheduler.loop)  # to pykka it is a Future
        if self._state == DEAD:
            future.set_exception(self._noproc())
        elif (
            not (self._on or self._suspended)
            and self._state == RUNNING
            and type(message) not in SPECIAL
            and (scheduler.inline or scheduler.grant_inline())
        ):
            scheduler.inline -= 1
            self._call_in_place(scheduler, message, future)
        elif scheduler.current is self or self._is_running_task(scheduler):
            future.set_exception(calling_self(self))
        else:
            self.put(Envelope(message, future))
        if timeout_s is not None and not future.done():
            scheduler.deadlines.add(future, timeout_s)
        answer: CallFuture = future
        return answer

    def _call_in_place(self, scheduler: Scheduler, message: Any, future: Any) -> None:
        """A turn of one call, without the mailbox, which is empty."""
        self._on = True
        caller, scheduler.current = scheduler.current, self
        try:
            if not self._settle(self._actor.handle_call(message, future), future):
                return
        except BaseException as error:  # as in a turn
            self._failed(future, error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        finally:
            scheduler.current = caller
        if self._q:  # it sent something to itself
            scheduler.ready.append(self)
            scheduler.arm()
        else:
            self._on = False

    def _is_running_task(self, scheduler: Scheduler) -> bool:
        """Whether the code that runs now is this actor's own async callback (not an actor that it runs in place)."""
        return scheduler.current is None and self._task is not None and asyncio.current_task() is self._task

    def _drain(self) -> None:
        """One turn: up to a batch of messages."""
        if self._state != RUNNING:
            if self._state == STARTING:
                self._boot()
            elif self._state == DEAD:
                self._on = False
                self._flush()
            return  # BUSY and STOPPING keep `_on` set until their task is done
        q = self._q
        if q is None or self._suspended:
            self._on = False
            return
        pop, cast, budget = q.popleft, self._actor.handle_cast, self._sched.batch
        item: Any = None
        try:
            while q:
                item = pop()
                if type(item) in SPECIAL:
                    result, reply = begin(self, self._actor, item)
                    if (reply is not None or result is not None) and not self._settle(result, reply):
                        return
                    if type(item) is SystemRequest:
                        cast = self._actor.handle_cast  # it may be wrapped now, or unwrapped
                else:
                    result = cast(item)
                    if result is not None and not self._settle(result, None):
                        return
                budget -= 1
                if not budget:
                    break
        except BaseException as error:  # the one place where a callback's failure becomes an exit
            self._failed(getattr(item, "reply_to", None), error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if q:
            self._sched.ready.append(self)
            self._sched.arm()  # a call in place may be this turn, and then nobody else does
        else:
            self._on = False
            self._q = None  # an empty deque has 700 bytes; an idle actor should have 500 in all

    # -- results of callbacks ------------------------------------------------------------------------
    def _settle(self, result: Any, reply: Any) -> bool:
        """Applies a callback's result; False when the actor cannot take the next message now."""
        while True:
            if self._state == DEAD:  # it killed itself
                if type(result) is CoroutineType:
                    result.close()
                if reply is not None:
                    answer(reply, None, ActorExit(self.reason))
                return False
            kind = type(result)
            if kind is CoroutineType:
                task = self._run_async(result, reply)
                if task is None:
                    return False
                result = task.result()
            elif kind is Stop:
                self._reply, self._farewell = reply, (result.reply, None)
                self._terminate(result.reason)
                return False
            elif kind is Continue:
                if reply is not None:
                    answer(reply, result.reply, None)
                    reply = None
                result = self._actor.handle_continue(result.arg)
                if result is None:
                    return True
            else:
                if reply is not None:
                    if result is NOREPLY:
                        self._defer(reply)
                    elif type(reply) is CallFuture:
                        reply.set(result)
                    else:
                        answer(reply, result, None)  # dropped, where the callback has answered already
                return self._state == RUNNING

    def _run_async(self, coroutine: Coroutine[Any, Any, Any], reply: Any) -> asyncio.Task[Any] | Done | None:
        """Starts an async callback. Returns its task if it is done well already; None when the turn is over."""
        self._state, self._reply = BUSY, reply
        if self._actor.steps_first:
            try:
                begun = first_step(coroutine)
            except BaseException as error:
                if self._state != DEAD:  # else its caller was answered by that
                    self._state, self._reply = RUNNING, None
                    self._failed(reply, error)
                if isinstance(error, KeyboardInterrupt):
                    raise
                return None
            if isinstance(begun, Done):
                if self._state == DEAD:
                    return None
                self._state, self._reply = RUNNING, None
                return begun
            coroutine = begun
        task = spawn(self._sched.loop, coroutine)
        if not task.done():
            if self._state == DEAD:  # killed in its first step
                abandon(task)
            else:
                self._task = task
                task.add_done_callback(self._resume)
            return None
        failure = error_of(task)
        if self._state == DEAD:  # it killed itself; its caller was answered by that
            return None
        self._state, self._reply = RUNNING, None
        if failure is not None:
            self._failed(reply, failure)
            return None
        return task

    def _resume(self, task: asyncio.Task[Any]) -> None:
        """An async callback has ended."""
        error = error_of(task)
        if self._state == DEAD or self._task is not task:
            return
        self._task, self._on = None, False
        if self._state == STOPPING:  # an exit signal cancelled it
            why, self._why = self._why, None
            self._terminate(why)
            return
        reply, self._reply = self._reply, None
        self._state = RUNNING
        if error is not None:
            self._failed(reply, error)
            return
        try:
            if self._settle(task.result(), reply):
                self._wake()
        except BaseException as failure:
            self._failed(reply, failure)
            if isinstance(failure, KeyboardInterrupt):
                raise

    # -- first things ----------------------------------------------------------------------------------
    def _boot(self) -> None:
        scheduler = self._sched
        starter, scheduler.current = scheduler.current, self
        try:
            result = self._actor.init()
            if type(result) is CoroutineType:
                self._state = BUSY
                task = spawn(self._sched.loop, result)
                if not task.done():
                    if self._state == DEAD:
                        abandon(task)
                        return
                    self._task = task
                    task.add_done_callback(self._async_booted)
                    return
                if self._state == DEAD:
                    return
                error = error_of(task)
                if error is not None:
                    raise error
                result = task.result()
        except BaseException as error:
            self._die(error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        finally:
            scheduler.current = starter
        self._booted(result)

    def _async_booted(self, task: asyncio.Task[Any]) -> None:
        error = error_of(task)
        if self._state == DEAD:
            return
        self._task = None
        if self._state == STOPPING:
            self._die(self._why)
        elif error is not None:
            self._die(error)
        else:
            self._booted(task.result())

    def _booted(self, result: Any) -> None:
        if self._state == DEAD:  # killed itself in init()
            return
        if result is IGNORE or type(result) is Stop:
            self._die(NORMAL if result is IGNORE else result.reason)
            return
        self._on = False
        self._ready()
        try:
            if type(result) is Continue:
                self._on = True
                if not self._settle(result, None):
                    return
                self._on = False
        except BaseException as error:
            self._failed(None, error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return
        if self._q:
            self._wake()
