"""`ForeignActor`: somebody else's `pykka.ThreadingActor` as a child of a supervisor, without changing it.

    ChildSpec("legacy", ForeignActor, args=(LegacyActor, "its first argument"))

A loop actor stands for it: it starts the foreign one, passes messages on, and ends with it for the same reason. What
pykka keeps to itself becomes known: a failing `on_start` fails the start, an unhandled exception is the exit reason.
Its rules stay pykka's: an exception in an `ask` goes to the caller only, and a `BaseException` stops all of pykka's
actors. A foreign thread cannot be killed: it is told to stop, and counts as a zombie until it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

import pykka
from pykka._envelope import Envelope

from ._exits import KILLED, NORMAL
from ._gauges import zombies
from ._loop_actor import LoopActor
from ._loop_ref import LoopRef
from ._messages import NOREPLY, ActorStop, Stop
from ._ref import Ref
from ._reply import Reply, ask_async


class ForeignRef(LoopRef):
    """The address of the actor that stands for the foreign one."""

    kind = "foreign"
    __slots__ = ()

    def proxy(self) -> pykka.ActorProxy[Any]:
        """Pykka's proxy of the foreign actor itself.

        Raises:
            pykka.ActorDeadError: It is dead, or has not started yet.
        """
        foreign = self._actor.foreign if self._actor is not None else None
        if foreign is None:
            raise self._noproc()
        proxy: pykka.ActorProxy[Any] = foreign.proxy()
        return proxy


class _Ended:
    __slots__ = ("reason",)

    def __init__(self, reason: Any) -> None:
        self.reason = reason


class _Watched(pykka.Actor):
    """Mixed into the foreign class: tells when it has started, and why it ended."""

    _kernel_started: ClassVar[Callable[[BaseException | None], None]]
    _kernel_ended: ClassVar[Callable[[BaseException | None], None]]
    _kernel_failure: BaseException | None = None

    def _actor_loop(self) -> None:
        try:
            super()._actor_loop()
        finally:
            type(self)._kernel_ended(self._kernel_failure)

    def _actor_loop_setup(self) -> None:
        super()._actor_loop_setup()
        type(self)._kernel_started(self._kernel_failure)

    def _handle_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self._kernel_failure = exception_value
        super()._handle_failure(exception_type, exception_value, traceback)


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


class ForeignActor(LoopActor):
    """Stands for a pykka actor that knows nothing of us.

    Args:
        actor_class: A `pykka.Actor`, as a rule a `pykka.ThreadingActor`.
        args: For its constructor, like `kwargs`.

    Attributes:
        foreign: Its own ref; a new one after each restart. `ref.proxy()` is a proxy of that.
    """

    _ref_class: ClassVar[type[Ref]] = ForeignRef

    def __init__(self, actor_class: type[pykka.Actor], *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.ref.actor_class = actor_class
        self.foreign: pykka.ActorRef[Any] | None = None
        self._class, self._args, self._kwargs = actor_class, args, kwargs
        self._ended: asyncio.Future[None] | None = None

    async def init(self) -> Any:
        """Starts the foreign actor, and waits for its `on_start`."""
        loop = asyncio.get_running_loop()
        post = self.ref._sched.post
        started: asyncio.Future[BaseException | None] = loop.create_future()
        self._ended = loop.create_future()

        def has_started(failure: BaseException | None) -> None:
            post(_settle, started, failure)

        def has_ended(failure: BaseException | None) -> None:
            zombies.discard(watched)
            try:
                post(self._note_end, failure)
            except RuntimeError:  # the loop is closed: nobody waits for it
                return

        hooks = {"_kernel_started": staticmethod(has_started), "_kernel_ended": staticmethod(has_ended)}
        names = {"__module__": self._class.__module__, "__qualname__": self._class.__qualname__}
        watched: Any = type(self._class.__name__, (_Watched, self._class), hooks | names)
        self.foreign = foreign = watched.start(*self._args, **self._kwargs)
        self.ref.watch(lambda _, reason: self._abandon(foreign, watched) if reason == KILLED else None)
        failure = await started
        return Stop(failure) if failure is not None else None

    def handle_cast(self, message: Any) -> None:
        """Passes on."""
        if self.foreign is not None and self.foreign.is_alive():
            self.foreign.tell(message)

    def handle_call(self, message: Any, sender: Any) -> Any:
        """Passes on; the answer goes straight to the caller."""
        assert self.foreign is not None

        def answered(reply: Reply) -> None:
            if reply._error is not None:
                sender.set_exception((type(reply._error), reply._error, None))
            else:
                sender.set(reply._value)

        ask_async(self.foreign, message).add_done_callback(answered)
        return NOREPLY

    def handle_info(self, message: Any) -> Any:
        """Ends with the foreign actor."""
        if type(message) is _Ended:
            return Stop(message.reason)
        self.handle_cast(message)
        return None

    async def terminate(self, _reason: Any) -> None:
        """Stops the foreign actor behind the messages that it has, and waits for its end."""
        assert self._ended is not None
        if self.foreign is not None and not self._ended.done():
            self.foreign.actor_inbox.put(Envelope(ActorStop()))
            await self._ended

    def _note_end(self, failure: BaseException | None) -> None:
        if self._ended is not None:
            _settle(self._ended, None)
        self.ref.send(_Ended(NORMAL if failure is None else failure))

    def _abandon(self, foreign: pykka.ActorRef[Any], watched: Any) -> None:
        if self._ended is not None and not self._ended.done():
            zombies.add(watched)
            foreign.actor_stopped.set()
            foreign.actor_inbox.put(Envelope(ActorStop()))
