"""`Ref`: the address of an actor, and all the ways to talk to it: casts, calls, questions.

It is a `pykka.ActorRef`, and the actor's control block at the same time: see `_control_block` for what it holds and
`_lifecycle` for links, signals and the end. How a mailbox is run is in `_loop_ref` and `_thread_actor`; what a queue
item means is in `_dispatch`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, overload

from pykka._envelope import Envelope

from ._control_block import DEAD
from ._exits import NORMAL
from ._gauges import count_dead_letter
from ._info import ActorInfo, ActorState
from ._lifecycle import Lifecycle
from ._messages import Info, StopRequest, SystemRequest
from ._observe import HIDDEN, ActorStatistics, Sink, log_event, observer_of, release
from ._reply import CallFuture, Reply, _running_loop
from ._scheduler import Scheduler

_STATES: Final = (ActorState.STARTING, ActorState.RUNNING, ActorState.BUSY, ActorState.STOPPING, ActorState.DEAD)


class Ref(Lifecycle):
    """Address of one incarnation of an actor. Compare with `is` or `==`; hashable; never reused."""

    __slots__ = ()

    # -- messages --------------------------------------------------------------------------------
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
