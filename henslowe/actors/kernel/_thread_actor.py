"""`ThreadActor`: an actor with a thread of its own, for code that blocks (commits, inotify, blocking libraries).

Callbacks are plain functions. A kill declares the actor dead at once, so that callers and the supervisor go on;
its Python code is interrupted at the next bytecode, a blocking C call only when it returns. Until then the thread
counts as a zombie. Where a kill must be exact, use `ProcessActor`.
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from threading import get_ident
from types import CoroutineType
from typing import Any, ClassVar, Final

from ._actor import GenActor
from ._bounded import Bounded
from ._control_block import DEAD, RUNNING, STOPPING
from ._dispatch import begin
from ._exits import KILL, KILLED, NORMAL, ActorExit, calling_self, is_clean
from ._gauges import zombies
from ._lifecycle import Lifecycle
from ._messages import IGNORE, NOREPLY, Continue, Signal, Stop, SystemRequest
from ._ref import Ref
from ._reply import answer, gave_up, is_done, lifecycle_lock
from ._timers import Timer


class ThreadKilled(BaseException):
    """Raised inside the thread of a killed actor."""


class _Wake:
    """Queue item that makes a waiting thread look at its state."""

    reply_to = None


WAKE: Final = _Wake()


class ThreadRef(Ref):
    """The mailbox of a thread actor: a SimpleQueue, 20 times as fast as the Queue that pykka uses."""

    kind = "thread"
    __slots__ = ("_clock", "_in_callback", "_leaving", "_resumed", "_sequence", "_thread")

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._q = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._in_callback = False
        self._leaving = threading.Lock()
        self._clock: list[tuple[float, int, Timer]] = []
        self._sequence = itertools.count()
        self._resumed = threading.Event()
        self._resumed.set()

    def put(self, item: Any, /) -> None:
        """Queues an item."""
        self._q.put(item)
        if self._state == DEAD:  # lost the race with death: nobody else will look
            self._flush()

    def _before_blocking(self, block: bool) -> None:
        super()._before_blocking(block)
        if block and self._thread is not None and self._thread.ident == get_ident():
            raise calling_self(self)

    def exit(self, reason: Any, sender: Lifecycle | None = None) -> None:
        """As `Ref.exit`. Other signals than a kill wait for the callback under way: a thread cannot be preempted."""
        if isinstance(reason, str) and reason == KILL:
            self._kill()
            return
        actor = self._actor
        if self._takes_signal(reason, sender):
            self.put(Signal(reason))
            self._resumed.set()
        elif actor is not None and actor.trap_exit and sender is self._parent:
            self._resumed.set()  # the parent's exit ends also one that traps, and that is suspended

    def _kill(self) -> None:
        thread = self._thread
        with lifecycle_lock:
            if self._state == DEAD:
                return
            if thread is not None and thread.is_alive() and thread.ident != get_ident():
                zombies.add(thread)
        self._die(KILLED)
        self._resumed.set()
        self._q.put(WAKE)
        if thread is None or thread.ident is None or thread.ident == get_ident():
            return
        with self._leaving:  # so that it is raised in `_run`, or not at all
            if self._in_callback:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(ThreadKilled))

    # -- the thread --------------------------------------------------------------------------------------
    def _main(self) -> None:
        try:
            self._boot()
            while self._state == RUNNING:
                item = self._next()
                if item is not WAKE and self._state == RUNNING:
                    self._serve(item)
                elif self._state == DEAD and item is not WAKE:
                    self._q.put(item)
                    self._flush()
        except ThreadKilled:
            pass
        finally:
            if self._reply is not None:  # taken up just after the kill had answered all it saw
                answer(self._reply, None, ActorExit(self.reason))
            zombies.discard(self._thread)

    def _next(self) -> Any:
        """The next item; fires timers that are due while waiting."""
        while self._clock:
            due_at, _, timer = self._clock[0]
            wait_s = due_at - time.monotonic()
            if not timer.is_pending():
                heapq.heappop(self._clock)
            elif wait_s <= 0:
                heapq.heappop(self._clock)
                timer.fire()
            else:
                try:
                    return self._q.get(timeout=wait_s)
                except queue.Empty:
                    continue
        return self._q.get()

    def _run(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Runs code of the actor's author. A kill interrupts the thread in here and nowhere else."""
        self._in_callback = True
        try:
            return callback(*args)
        finally:
            with self._leaving:
                self._in_callback = False

    def _boot(self) -> None:
        actor = self._actor
        if actor is None:
            return
        try:
            result = self._plain(self._run(actor.init))
        except ThreadKilled:
            raise
        except BaseException as error:  # noqa: BLE001  # whatever init() raises is the reason
            self._die(error)
            return
        if self._state == DEAD:
            return
        if result is IGNORE or type(result) is Stop:
            self._die(NORMAL if result is IGNORE else result.reason)
            return
        self._ready()
        if type(result) is Continue:
            self._guarded(None, lambda: (result, None))

    def _serve(self, item: Any) -> None:
        if not self._resumed.is_set() and type(item) is not SystemRequest and type(item) is not Signal:
            self._resumed.wait()
        actor, reply = self._actor, getattr(item, "reply_to", None)
        if actor is None:
            _answer_item(item, self.reason)
            return
        self._reply = reply
        self._guarded(reply, lambda: self._run(begin, self, actor, item))

    def _guarded(self, reply: Any, step: Callable[[], tuple[Any, Any]]) -> None:
        try:
            self._settle(*step())
        except ThreadKilled:
            raise
        except BaseException as error:  # noqa: BLE001  # the one place where a callback's failure becomes an exit
            self._failed(reply, error)

    def _failed(self, reply: Any, error: BaseException) -> None:
        if reply is not None and (not is_done(reply) or gave_up(reply)):
            if self._state != RUNNING or self._is_answer(error):
                answer(reply, None, error if self._state != DEAD else ActorExit(self.reason))
                self._reply = None
                return
            self._reply, self._farewell = reply, (None, error)  # as in OTP, the caller learns of it when it is over
        if self._state == RUNNING:
            self._terminate(error)

    def _settle(self, result: Any, reply: Any) -> None:
        """Applies a callback's result."""
        while type(result) is Continue and self._state == RUNNING:
            if reply is not None:
                answer(reply, result.reply, None)
                reply = self._reply = None
            actor = self._actor
            result = self._plain(self._run(actor.handle_continue, result.arg)) if actor is not None else None
        self._plain(result)
        if self._state != RUNNING:
            if reply is not None:
                answer(reply, None, ActorExit(self.reason))
        elif type(result) is Stop:
            self._farewell = (result.reply, None)
            self._terminate(result.reason)
        elif reply is not None:
            if result is NOREPLY:
                self._defer(reply)
            else:
                answer(reply, result, None)
            self._reply = None

    def _plain(self, result: Any) -> Any:
        if type(result) is CoroutineType:
            result.close()
            raise TypeError(f"expected plain callbacks in {self.actor_class.__name__}, got an async one; use LoopActor")
        return result

    def _terminate(self, reason: Any) -> None:
        with lifecycle_lock:
            actor = self._actor
            if actor is None:
                return
            self._state = STOPPING
        try:
            self._plain(self._run(actor.terminate, reason))
        except ThreadKilled:
            raise
        except BaseException as error:  # noqa: BLE001  # a failing terminate() is an exit, too
            self._die(error if is_clean(reason) else reason)
        else:
            self._die(reason, goodbye=True)

    # -- mailbox -----------------------------------------------------------------------------------------
    def _take_all(self) -> Iterator[Any]:
        woke = False
        while True:
            try:
                item = self._q.get_nowait()
            except queue.Empty:
                break
            if item is WAKE:
                woke = True
            else:
                yield item
        if woke:  # it was meant for the thread
            self._q.put(WAKE)

    def _depth(self) -> int:
        return int(self._q.qsize())

    def suspend(self) -> None:
        """As `Ref.suspend`. Takes effect before the next message; `get_state` waits for its turn."""
        self._suspended = True
        self._resumed.clear()

    def resume(self) -> None:
        """As `Ref.resume`."""
        self._suspended = False
        self._resumed.set()


def _answer_item(item: Any, reason: Any) -> None:
    reply = getattr(item, "reply_to", None)
    if reply is not None:
        answer(reply, None, ActorExit(reason))


class BoundedThreadRef(Bounded, ThreadRef):
    """A thread actor's mailbox with a limit."""

    __slots__ = ("_line",)

    def _serve(self, item: Any) -> None:
        if self._line:
            self._admit()
        super()._serve(item)


class ThreadActor(GenActor):
    """An actor on a daemon thread. Its callbacks may block; they may not be `async def`.

    A supervisor's ordered shutdown runs `terminate`; a process that simply ends does not.
    """

    _ref_class: ClassVar[type[Ref]] = ThreadRef
    _bounded_ref_class: ClassVar[type[Ref]] = BoundedThreadRef

    def _start_actor_loop(self) -> None:
        ref = self._actor_ref
        assert isinstance(ref, ThreadRef)
        ref._thread = threading.Thread(target=ref._main, name=str(ref), daemon=True)
        ref._thread.start()

    def send_after(self, delay_s: float, message: Any) -> Timer:
        """As `GenActor.send_after`. Runs in: the actor's thread."""
        ref = self._actor_ref
        assert isinstance(ref, ThreadRef)
        timer = Timer(ref, message)
        heapq.heappush(ref._clock, (time.monotonic() + delay_s, next(ref._sequence), timer))
        return timer
