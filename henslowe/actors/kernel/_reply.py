"""Answers: `Reply` for threads and coroutines alike, `CallFuture` for callers on the actor's own loop.

Both are set once. A second answer to a `Reply` is an error, as in pykka, unless the first one was the callee's
exit or the caller gave up: then it is late, and dropped.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import sys
import threading
from collections.abc import Callable, Generator
from threading import get_ident
from typing import Any, Final

import pykka
from pykka._envelope import Envelope
from pykka._future import _Unset

from ._exits import NOPROC, ActorExit, CallTimeout

lifecycle_lock: Final = threading.RLock()
"""Guards answers, links, watchers and changes of life. Held for a few instructions, never while calling out."""

_running_loop = asyncio._get_running_loop


class Reply(pykka.Future[Any]):
    """A future that is set from any thread, and waited for with `get()` in threads or `await` in coroutines."""

    def __init__(self) -> None:
        # pykka's constructor is not called: two attributes fewer per ask.
        self._get_hook = None
        self._done = False
        self._late_is_fine = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Reply], None]] | None = None

    def done(self) -> bool:
        """True once answered."""
        return self._done

    def _settle(self, value: Any, error: BaseException | None) -> None:
        with lifecycle_lock:
            if self._done or self._get_hook is not None:
                if self._late_is_fine:
                    return
                raise queue.Full
            self._value, self._error, self._done = value, error, True
            self._late_is_fine = isinstance(error, ActorExit)
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            callback(self)

    def set(self, value: Any = None) -> None:
        """Answers. Raises queue.Full when answered already."""
        self._settle(value, None)

    def set_exception(self, exc_info: Any = None) -> None:
        """Answers with an error: an exception, pykka's triple, or nothing for the one being handled."""
        if isinstance(exc_info, BaseException):
            self._settle(None, exc_info)
            return
        kind, error, _ = exc_info if exc_info is not None else sys.exc_info()
        self._settle(None, error if error is not None or kind is None else kind())

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Pykka's hook: `get()` will return what `func(timeout)` returns."""
        if self._done:
            raise queue.Full
        self._get_hook = func
        self._get_hook_result = _Unset()

    def add_done_callback(self, callback: Callable[[Reply], None]) -> None:
        """Calls `callback(self)` once answered, in the answering thread; at once when answered already."""
        with lifecycle_lock:
            if not self._done:
                self._callbacks = [callback] if self._callbacks is None else [*self._callbacks, callback]
                return
        callback(self)

    def get(self, *, timeout: float | None = None) -> Any:
        """The answer. Blocks a thread; on an event loop it raises RuntimeError instead of stalling everybody."""
        if self._get_hook is not None:
            return super().get(timeout=timeout)
        if not self._done:
            if _running_loop() is not None:
                raise RuntimeError("cannot block on a reply: this thread runs an event loop; await it instead")
            gate = threading.Lock()
            gate.acquire()
            self.add_done_callback(lambda _: gate.release())
            if not gate.acquire(timeout=-1 if timeout is None else timeout):
                raise CallTimeout(f"expected a reply within {timeout} s, got none")
        return self._result()

    def _result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def __await__(self) -> Generator[Any, None, Any]:
        if self._get_hook is not None:
            pending = asyncio.get_running_loop().run_in_executor(None, self.get)
            return (yield from pending.__await__())
        if not self._done:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            me = get_ident()

            def wake() -> None:
                if not future.done():
                    future.set_result(None)

            def answered(_: Reply) -> None:
                if get_ident() == me:
                    wake()
                else:
                    _on_loop(loop, wake)

            self.add_done_callback(answered)
            yield from future
        return self._result()

    __iter__ = __await__


class CallFuture(asyncio.Future[Any]):
    """The answer to a call from the callee's own loop: a C future with a pykka face. Late answers are dropped."""

    def set(self, value: Any = None) -> None:
        """Answers; from another thread too."""
        if _running_loop() is not self._loop:
            _on_loop(self._loop, functools.partial(self.set, value))
        elif not self.done():
            self.set_result(value)

    def set_exception(self, exc_info: Any, /) -> None:
        """Answers with an error: an exception or pykka's triple; from another thread too."""
        error = exc_info[1] if type(exc_info) is tuple else exc_info
        if _running_loop() is not self._loop:
            _on_loop(self._loop, functools.partial(self.set_exception, error))
        elif not self.done():
            if isinstance(error, StopIteration):  # a future cannot carry it
                error = RuntimeError("StopIteration raised by the callee")
            super().set_exception(error)


def _on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return


def ask_async(ref: pykka.ActorRef[Any], message: Any) -> Reply:
    """Asks any pykka actor, also a foreign `ThreadingActor`, and returns a reply to await.

    No helper thread is involved. pykka's own `await future` would block the loop until the answer.
    """
    reply = Reply()
    if ref.is_alive():
        ref.actor_inbox.put(Envelope(message, reply_to=reply))
    else:
        reply.set_exception(ActorExit(NOPROC, f"{ref} not found"))
    return reply


def is_done(reply: Any) -> bool:
    """Whether a reply of any make, also pykka's own future, is known to be answered."""
    done = getattr(reply, "done", None)
    return bool(done()) if done is not None else False


def gave_up(reply: Any) -> bool:
    """Whether whoever asked waits no longer, and was not answered: it was cancelled, or its time was over."""
    if not isinstance(reply, CallFuture) or not reply.done():
        return False
    return reply.cancelled() or isinstance(reply.exception(), CallTimeout)


def answer(reply: Any, value: Any, error: BaseException | None) -> None:
    """Answers a reply of any make. A second answer is dropped."""
    try:
        if error is None:
            reply.set(value)
        else:
            reply.set_exception((type(error), error, None))
    except queue.Full:  # answered just before
        return
