"""What one actor is doing: figures of its callbacks, and a trace of them. OTP's `sys:statistics` and `sys:trace`.

Both wrap the callbacks of that one object, between two messages, while they are on: an actor that nobody observes
pays nothing. User code takes no part. Figures of the whole process are in `_gauges`; a look that does not even need
the actor is `Ref.info`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from types import CoroutineType
from typing import Any, Final

log: Final = logging.getLogger("henslowe.kernel.trace")

CALLBACKS: Final = ("handle_call", "handle_cast", "handle_info", "handle_continue", "terminate")
_OBSERVER: Final = "_observer"
HIDDEN: Final = frozenset({"_actor_ref", _OBSERVER, *CALLBACKS})
"""Attributes of an actor object that are the kernel's, not its state."""


@dataclass(frozen=True, slots=True)
class ActorStatistics:
    """What an actor did since its statistics were switched on.

    Attributes:
        since_s: For how long they have been on.
        calls: Messages taken by `handle_call`; `casts`, `infos` and `continues` likewise.
        errors: Callbacks that raised.
        busy_s: Seconds spent in callbacks, suspended ones included.
        longest_s: Of that, the longest callback.
    """

    since_s: float = 0.0
    calls: int = 0
    casts: int = 0
    infos: int = 0
    continues: int = 0
    errors: int = 0
    busy_s: float = 0.0
    longest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class TraceEvent:
    """One callback that an actor has run.

    Attributes:
        actor: Class, number and name, as `str(ref)` gives them.
        callback: `handle_call`, `handle_cast`, `handle_info`, `handle_continue` or `terminate`.
        message: What it was called with.
        result: What it returned; None when it raised.
        error: What it raised.
        took_s: Seconds from call to end.
    """

    actor: str
    callback: str
    message: Any
    result: Any
    error: BaseException | None
    took_s: float


Sink = Callable[[TraceEvent], Any]
_COUNTED: Final = {
    "handle_call": "calls",
    "handle_cast": "casts",
    "handle_info": "infos",
    "handle_continue": "continues",
}


def log_event(event: TraceEvent) -> None:
    """Writes a trace event to the logger `henslowe.kernel.trace`."""
    outcome = event.error if event.error is not None else event.result
    log.info("%s actor=%s message=%r result=%r", event.callback, event.actor, event.message, outcome)


class Observer:
    """The wrappers around one actor's callbacks. Runs in: the actor's context."""

    def __init__(self, actor: Any) -> None:
        self._name = str(actor._actor_ref)
        self.sink: Sink | None = None
        self._began: float | None = None
        self._figures = ActorStatistics()
        for callback in CALLBACKS:
            setattr(actor, callback, self._wrapped(callback, getattr(actor, callback)))

    def count(self, *, on: bool) -> None:
        """Starts the figures anew, or ends them."""
        self._began, self._figures = (time.monotonic() if on else None), ActorStatistics()

    def figures(self) -> ActorStatistics | None:
        """The figures so far; None while they are off."""
        return replace(self._figures, since_s=time.monotonic() - self._began) if self._began is not None else None

    def is_idle(self) -> bool:
        """True when nobody looks any more."""
        return self.sink is None and self._began is None

    def _wrapped(self, callback: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        def observed(message: Any, *rest: Any) -> Any:
            began = time.perf_counter()
            try:
                result = inner(message, *rest)
            except BaseException as error:
                self._note(callback, message, None, error, began)
                raise
            if type(result) is CoroutineType:
                return self._awaited(callback, message, result, began)
            self._note(callback, message, result, None, began)
            return result

        return observed

    async def _awaited(self, callback: str, message: Any, coroutine: Coroutine[Any, Any, Any], began: float) -> Any:
        try:
            result = await coroutine
        except BaseException as error:
            self._note(callback, message, None, error, began)
            raise
        self._note(callback, message, result, None, began)
        return result

    def _note(self, callback: str, message: Any, result: Any, error: BaseException | None, began: float) -> None:
        took_s = time.perf_counter() - began
        if self._began is not None:
            old = self._figures
            changes: dict[str, Any] = {
                "busy_s": old.busy_s + took_s,
                "longest_s": max(old.longest_s, took_s),
                "errors": old.errors + (error is not None),
            }
            counted = _COUNTED.get(callback)
            if counted is not None:
                changes[counted] = getattr(old, counted) + 1
            self._figures = replace(old, **changes)
        if self.sink is not None:
            try:
                self.sink(TraceEvent(self._name, callback, message, result, error, took_s))
            except Exception:  # a broken sink must not crash the actor that it looks at
                log.exception("trace_sink_failed actor=%s", self._name)
                self.sink = None


def observer_of(actor: Any) -> Observer:
    """The actor's observer, made when there is none."""
    observer: Observer | None = vars(actor).get(_OBSERVER)
    if observer is None:
        observer = Observer(actor)
        setattr(actor, _OBSERVER, observer)
    return observer


def release(actor: Any) -> None:
    """Takes the wrappers off when nobody looks any more."""
    if observer_of(actor).is_idle():
        for name in (_OBSERVER, *CALLBACKS):
            vars(actor).pop(name, None)
