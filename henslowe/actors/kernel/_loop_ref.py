"""`LoopRef`: the mailbox of a loop actor, and how its callbacks are run.

The hot path is `tell`, `call` and `_drain`; read those first. The states: STARTING until init() is done, RUNNING,
BUSY while an async callback is suspended, STOPPING during terminate(), DEAD. Which callback an item means is in
`_dispatch`; what async callbacks need of asyncio is in `_tasks`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator
from threading import get_ident
from types import CoroutineType
from typing import Any

from pykka._envelope import Envelope

from ._dispatch import begin
from ._exits import KILL, KILLED, NORMAL, ActorExit, calling_self, is_clean
from ._gauges import count_dead_letter
from ._messages import IGNORE, NOREPLY, SPECIAL, Continue, Signal, Stop, SystemRequest
from ._ref import BUSY, DEAD, RUNNING, STARTING, STOPPING, Ref, _answer, _is_done
from ._reply import CallFuture, Reply
from ._scheduler import Scheduler
from ._tasks import Done, abandon, error_of, first_step, spawn


class LoopRef(Ref):
    """The mailbox of a loop actor. Everything with an underscore runs in the loop's thread."""

    kind = "loop"
    __slots__ = ("_held",)

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._held: deque[Any] | None = None

    # -- the hot path ----------------------------------------------------------------------------------
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
                _answer(reply, None, self._noproc())

    def call(self, message: Any, timeout_s: float | None = 5.0) -> CallFuture:
        """As `Ref.call`. An idle actor of this loop runs its turn right here."""
        scheduler = Scheduler.here()
        if self._sched is not scheduler:
            return super().call(message, timeout_s)
        future: Any = CallFuture(loop=scheduler.loop)  # to pykka it is a Future
        if self._state == DEAD:
            future.set_exception(self._noproc())
        elif (
            scheduler.inline
            and not (self._on or self._suspended)
            and self._state == RUNNING
            and type(message) not in SPECIAL
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
                    _answer(reply, None, ActorExit(self.reason))
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
                    _answer(reply, result.reply, None)
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
                        _answer(reply, result, None)  # dropped, where the callback has answered already
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

    def _failed(self, reply: Any, error: BaseException) -> None:
        """A callback raised. A caller gets the error; the actor crashes unless the error is an answer."""
        if reply is not None and not _is_done(reply):
            if self._state == DEAD:
                _answer(reply, None, error)
            elif self._is_answer(error):
                _answer(reply, None, error)
                self._on = False
                self._wake()
                return
            else:  # as in OTP, the caller learns of it when it is over
                self._reply, self._farewell = reply, (None, error)
        if self._state != DEAD:
            self._terminate(error)

    # -- first and last things -----------------------------------------------------------------------
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
                self._task = None
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

    def exit(self, reason: Any, sender: Ref | None = None) -> None:
        """As `Ref.exit`."""
        if get_ident() != self._sched_or_here().ident:
            self._sched.post(self.exit, reason, sender)
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

    def _sched_or_here(self) -> Scheduler:
        if self._sched is None:
            self._sched = Scheduler.here()
        scheduler: Scheduler = self._sched
        return scheduler

    def _ends_suspended(self, reason: Any, sender: Ref | None) -> bool:
        if self._state != RUNNING:
            return False
        if self._actor.trap_exit:
            return sender is self._parent
        return self._takes_signal(reason, sender)

    # -- mailbox ---------------------------------------------------------------------------------------
    def _wake(self) -> None:
        if not self._on:
            self._on = True
            self._sched.ready.append(self)
            self._sched.arm()

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
