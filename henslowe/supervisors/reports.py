"""Crash reports: what a supervisor saw and what it does next, as data first and as text second.

One report per event. They go through `logging` (logger `henslowe.supervisor`) with the report itself in
`record.report`, so that a JSON formatter or a bus handler can use the fields instead of the text.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

log: Final = logging.getLogger("henslowe.supervisor")


class Context(StrEnum):
    """What happened, in OTP's words."""

    CHILD_TERMINATED = "child_terminated"
    START_ERROR = "start_error"
    SHUTDOWN_ERROR = "shutdown_error"
    REACHED_MAX_RESTART_INTENSITY = "reached_max_restart_intensity"


class NextAction(StrEnum):
    """What the supervisor does about it."""

    RESTART = "restart"
    RESTART_GROUP = "restart_group"
    RETRY = "retry"
    LEAVE_STOPPED = "leave_stopped"
    GIVE_UP = "give_up"
    SHUT_DOWN = "shut_down"


@dataclass(frozen=True, slots=True)
class CrashReport:
    """One event of supervision.

    Attributes:
        supervisor: The supervisor's name, or its class and number.
        child: The child's id, or its class and number.
        context: What happened.
        reason: The exit reason; an exception instance for a crash.
        restarts: Entries that count for the intensity now, this one included.
        max_restarts: Entries that are tolerated.
        max_seconds: For how long an entry counts.
        next_action: What follows.
        delay_s: Seconds until it follows (backoff).
    """

    supervisor: str
    child: str
    context: Context
    reason: Any
    restarts: int
    max_restarts: int
    max_seconds: float
    next_action: NextAction
    delay_s: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data (the reason as text), for JSON lines and events."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        return fields | {"reason": describe_reason(self.reason)}


Listener = Callable[[CrashReport], None]
_listeners: list[Listener] = []


def add_listener(listener: Listener) -> Callable[[], None]:
    """Calls `listener(report)` for each report from now on; returns a function that ends it.

    For the node, which turns reports into events. It runs inside the supervisor: it must be quick and not raise.
    """
    _listeners.append(listener)

    def remove() -> None:
        if listener in _listeners:
            _listeners.remove(listener)

    return remove


def is_anybody_listening() -> bool:
    """Whether a report would reach anybody: one that would not need not be made."""
    return bool(_listeners) or log.isEnabledFor(logging.ERROR)


def publish(report: CrashReport) -> None:
    """Logs the report and tells the listeners."""
    if log.isEnabledFor(logging.ERROR):
        error = report.reason if isinstance(report.reason, BaseException) else None
        log.error("%s", format_report(report), extra={"report": report}, exc_info=error)
    for listener in tuple(_listeners):
        try:
            listener(report)
        except Exception:  # a listener's defect must not take the tree down
            log.exception("report_listener_failed")


def describe_reason(reason: Any) -> str:
    """An exit reason for people: `ValueError: bad` for a crash, the word itself for a word."""
    if isinstance(reason, BaseException):
        return f"{type(reason).__name__}: {reason}"
    return reason if isinstance(reason, str) else repr(reason)


def format_report(report: CrashReport) -> str:
    """The report as one line: event name, then fields."""
    line = (
        f"{report.context} supervisor={report.supervisor} child={report.child} "
        f"reason={describe_reason(report.reason)!r} restart={report.restarts}/{report.max_restarts} "
        f"in={report.max_seconds:g}s next={report.next_action}"
    )
    return f"{line} after={report.delay_s:g}s" if report.delay_s else line
