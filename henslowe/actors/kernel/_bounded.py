"""Bounded mailboxes: opt-in by the class attribute `mailbox_limit`. Unbounded ones pay nothing for it.

Only messages count: the kernel's own items (replies, exits, monitors, stops) always get in, or a full mailbox
could not be ended.
"""

from __future__ import annotations

from typing import Any

from henslowe.errors import LimitReached

from ._gauges import count_dead_letter
from ._messages import Info
from ._ref import Ref
from ._reply import CallFuture, Reply
from ._scheduler import Scheduler


class Bounded(Ref):
    """Refuses messages at the limit. From other threads the depth is a moment old, so the limit is approximate."""

    __slots__ = ()

    def _is_full(self) -> bool:
        limit: int = self.actor_class.mailbox_limit
        return self._depth() >= limit

    def _full(self) -> LimitReached:
        return LimitReached(
            f"cannot send to {self}: its mailbox holds {self.actor_class.mailbox_limit} messages",
            hint="slow the sender down, or raise mailbox_limit",
            limit=self.actor_class.mailbox_limit,
        )

    def tell(self, message: Any) -> None:
        if self.is_alive() and self._is_full():
            if self.actor_class.mailbox_policy == "raise":
                raise self._full()
            count_dead_letter()
        else:
            super().tell(message)

    def cast(self, message: Any) -> None:
        if self.is_alive() and self._is_full():
            count_dead_letter()
        else:
            super().cast(message)

    def send(self, message: Any) -> None:
        self.cast(Info(message))

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        if not (self.is_alive() and self._is_full()):
            return super().ask(message, block=block, timeout=timeout)
        reply = Reply()
        reply.set_exception(self._full())  # also when dropping: a caller that waits for nothing helps nobody
        return reply.get() if block else reply

    def call(self, message: Any, timeout_s: float | None = 5.0) -> CallFuture:
        if not (self.is_alive() and self._is_full()):
            return super().call(message, timeout_s)
        future = CallFuture(loop=Scheduler.here().loop)
        future.set_exception(self._full())
        return future
