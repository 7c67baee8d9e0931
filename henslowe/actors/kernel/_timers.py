"""`Timer`: one message to be delivered later to the actor that asked for it. See `GenActor.send_after`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Timer:
    """A pending delivery. It belongs to one actor and is cancelled with it."""

    __slots__ = ("_cancel", "_owner", "message")

    def __init__(self, owner: Any, message: Any) -> None:
        self._owner = owner
        self._cancel: Callable[[], Any] | None = None
        self.message = message
        if owner._timers is None:
            owner._timers = set()
        owner._timers.add(self)

    def arm(self, cancel: Callable[[], Any]) -> None:
        """Tells how to stop the clock. For the kernel."""
        self._cancel = cancel

    def fire(self) -> None:
        """Delivers. For the kernel."""
        owner = self._finish()
        if owner is not None:
            owner.send(self.message)

    def cancel(self) -> bool:
        """Stops the timer; False when it has fired or was cancelled. A delivered message is not taken back."""
        if self._finish() is None:
            return False
        cancel, self._cancel = self._cancel, None
        if cancel is not None:
            cancel()
        return True

    def is_pending(self) -> bool:
        """True until it fires or is cancelled."""
        return self._owner is not None

    def _finish(self) -> Any:
        owner, self._owner = self._owner, None
        if owner is not None and owner._timers is not None:
            owner._timers.discard(self)
        return owner
