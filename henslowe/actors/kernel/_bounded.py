"""Bounded mailboxes: opt-in by the class attribute `mailbox_limit`. Unbounded ones pay nothing for it.

Only messages count: the kernel's own items (replies, exits, monitors, stops) always get in, or a full mailbox
could not be ended. With the policy `await`, senders that wait stand in a line, first come, first served.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any

from pykka._envelope import Envelope

from henslowe.errors import LimitReached

from ._exits import CallTimeout
from ._gauges import count_dead_letter
from ._messages import Info
from ._ref import Ref
from ._reply import CallFuture, Reply, _running_loop, is_done, lifecycle_lock
from ._scheduler import Scheduler


class _Waiting:
    """A message whose sender waits for room; answered when it has got in."""

    __slots__ = ("message", "reply_to")

    def __init__(self, message: Any) -> None:
        self.message = message
        self.reply_to = Reply()


class Bounded(Ref):
    """Refuses or delays messages at the limit.

    From other threads the depth is a moment old, so the limits of `raise` and `drop` are approximate there.
    """

    __slots__ = ()  # `_line` is a slot of the concrete classes: two bases cannot both have some
    _line: deque[Any]  # Envelope | _Waiting

    def __init__(self, actor: Any) -> None:
        super().__init__(actor)
        self._line = deque()

    def _is_full(self) -> bool:
        limit: int = self.actor_class.mailbox_limit
        return self._depth() >= limit

    def _full(self, hint: str = "slow the sender down, or raise mailbox_limit") -> LimitReached:
        limit = self.actor_class.mailbox_limit
        return LimitReached(f"cannot send to {self}: its mailbox holds {limit} messages", hint=hint, limit=limit)

    @property
    def _waits(self) -> bool:
        return bool(self.actor_class.mailbox_policy == "await")

    # -- sending ---------------------------------------------------------------------------------------
    def tell(self, message: Any) -> None:
        """As `Ref.tell`. With the policy `await` it blocks a thread until there is room, but never an event loop."""
        if not self.is_alive() or not self._is_full():
            super().tell(message)
        elif self._waits:
            if _running_loop() is not None:
                raise self._full("use `await ref.tell_when_room(message)` in coroutines")
            self._stand_in_line(_Waiting(message)).reply_to.get()
        elif self.actor_class.mailbox_policy == "raise":
            raise self._full()
        else:
            count_dead_letter()

    async def tell_when_room(self, message: Any, timeout_s: float | None = 5.0) -> None:
        """As `Ref.tell_when_room`."""
        if not self._waits or not self.is_alive() or not (self._line or self._is_full()):
            self.tell(message)
            return
        waiting = self._stand_in_line(_Waiting(message))
        try:
            async with asyncio.timeout(timeout_s):
                await waiting.reply_to
        except TimeoutError:
            if self._leave_line(waiting):
                raise CallTimeout(f"expected room in the mailbox of {self} within {timeout_s} s, got none") from None
        except asyncio.CancelledError:
            self._leave_line(waiting)
            raise

    def cast(self, message: Any) -> None:
        """As `Ref.cast`; at the limit the message is a dead letter."""
        if self.is_alive() and self._is_full():
            count_dead_letter()
        else:
            super().cast(message)

    def send(self, message: Any) -> None:
        """As `Ref.send`; at the limit the message is a dead letter."""
        self.cast(Info(message))

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """As `Ref.ask`."""
        if not (self.is_alive() and self._is_full()):
            return super().ask(message, block=block, timeout=timeout)
        reply = Reply()
        if self._waits:
            self._before_blocking(block)
            self._stand_in_line(Envelope(message, reply))
        else:
            reply.set_exception(self._full())  # also when dropping: a caller that waits for nothing helps nobody
        return reply.get(timeout=timeout) if block else reply

    def call(self, message: Any, timeout_s: float | None = 5.0) -> CallFuture:
        """As `Ref.call`."""
        if not (self.is_alive() and self._is_full()):
            return super().call(message, timeout_s)
        scheduler = Scheduler.here()
        future: Any = CallFuture(loop=scheduler.loop)  # to pykka it is a Future
        if self._waits:
            self._stand_in_line(Envelope(message, future))
            if timeout_s is not None:
                scheduler.deadlines.add(future, timeout_s)
        else:
            future.set_exception(self._full())
        answer: CallFuture = future
        return answer

    # -- the line --------------------------------------------------------------------------------------
    def _stand_in_line(self, item: Any) -> Any:
        with lifecycle_lock:
            self._line.append(item)
        self._admit()  # room may have come up meanwhile
        if not self.is_alive():
            self._flush()
        return item

    def _leave_line(self, item: Any) -> bool:
        with lifecycle_lock:
            if item not in self._line:
                return False
            self._line.remove(item)
            return True

    def _admit(self) -> None:
        """Lets in those who wait, as far as there is room."""
        admitted = []
        with lifecycle_lock:
            while self._line and self.is_alive() and not self._is_full():
                item = self._line.popleft()
                if type(item) is _Waiting:
                    self.put(item.message)
                    admitted.append(item.reply_to)
                elif not is_done(item.reply_to):  # else the caller gave up
                    self.put(item)
        for reply in admitted:
            reply.set()

    def _take_all(self) -> Iterator[Any]:
        yield from super()._take_all()
        while self._line:
            yield self._line.popleft()
