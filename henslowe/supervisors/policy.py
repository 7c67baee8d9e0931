"""The rules of supervision, without supervisors: who is restarted, when it is too often, how long to wait.

No clock, no actors, no logging: times and reasons come in, decisions go out. OTP's `supervisor` is the model; the
one difference is that time is not truncated to whole seconds. `static` and `dynamic` carry the decisions out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from henslowe.actors.kernel import KILLED, SHUTDOWN, Backoff, ChildSpec, RestartType, is_clean


class Strategy(StrEnum):
    """Which siblings a child that is restarted takes with it."""

    ONE_FOR_ONE = "one_for_one"
    """None."""
    ONE_FOR_ALL = "one_for_all"
    """All."""
    REST_FOR_ONE = "rest_for_one"
    """Those started after it."""


class AutoShutdown(StrEnum):
    """Whether the exits of significant children end the supervisor. Only exits by themselves count."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


class Intensity:
    """How many restarts are too many, and those that count at present.

    One crash is one entry, whatever the size of the group that is restarted with it; so is every failed try to start
    again. Entries are in order of time and count for `max_seconds`. More than `max_restarts` of them end the
    supervisor: 0 tolerates none. Mutable, and owned by one supervisor: a copy per crash would cost more than the
    decision. It keeps at most `max_restarts + 1` entries, the number that decides.

    Attributes:
        max_restarts: Entries that are tolerated.
        max_seconds: For how long an entry counts.
        entries: Those that count, oldest first.
    """

    __slots__ = ("entries", "max_restarts", "max_seconds")

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        if max_restarts < 0 or not max_seconds > 0:
            raise ValueError(f"expected max_restarts >= 0 and max_seconds > 0, got {max_restarts} and {max_seconds}")
        self.max_restarts = max_restarts
        self.max_seconds = max_seconds
        self.entries: deque[float] = deque(maxlen=max_restarts + 1)

    def add(self, now: float) -> bool:
        """Enters one restart at `now`, drops what is too old; True when the supervisor must give up."""
        entries, oldest = self.entries, now - self.max_seconds
        while entries and entries[0] < oldest:
            entries.popleft()
        entries.append(now)
        return len(entries) > self.max_restarts


def restarts_after(restart: RestartType, reason: Any) -> bool:
    """Whether a child that ended by itself for `reason` is started again."""
    if restart is RestartType.PERMANENT:
        return True
    return restart is RestartType.TRANSIENT and not is_clean(reason)


def restart_group(strategy: Strategy, ids: Sequence[str], failed: str) -> tuple[str, ...]:
    """The children that are stopped (in reverse) and started (in this order) when `failed` is restarted.

    Args:
        strategy: The supervisor's.
        ids: All its children in start order.
        failed: One of them.
    """
    if strategy is Strategy.ONE_FOR_ONE:
        return (failed,)
    first = 0 if strategy is Strategy.ONE_FOR_ALL else ids.index(failed)
    return tuple(ids[first:])


def ends_supervisor(auto_shutdown: AutoShutdown, ended: ChildSpec, still_running: Iterable[ChildSpec]) -> bool:
    """Whether the exit of `ended`, which is not restarted, ends the supervisor."""
    if not ended.significant or auto_shutdown is AutoShutdown.NEVER:
        return False
    if auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
        return True
    return not any(spec.significant for spec in still_running)


def is_expected_stop(spec: ChildSpec, reason: Any) -> bool:
    """Whether a child that was told to stop ended as it should; otherwise it is reported."""
    if isinstance(reason, str) and reason == SHUTDOWN:
        return True
    if isinstance(reason, str) and reason == KILLED:
        return spec.shutdown_s == 0
    return is_clean(reason) and spec.restart is not RestartType.PERMANENT


@dataclass(frozen=True, slots=True)
class Streak:
    """How often a child with a backoff failed in a row.

    Attributes:
        failures: Failures so far, each soon after the start.
        started_at: When it last started; None while it never did.
    """

    failures: int = 0
    started_at: float | None = None

    def started(self, now: float) -> Streak:
        """After a successful start."""
        return Streak(self.failures, now)

    def failed(self, backoff: Backoff, now: float) -> tuple[Streak, float]:
        """After an exit or a failed start: the new streak, and the seconds to wait before the next start."""
        lived_long = self.started_at is not None and now - self.started_at >= backoff.reset_after_s
        failures = 0 if lived_long else self.failures
        return Streak(failures + 1), delay_s(backoff, failures)


def delay_s(backoff: Backoff, failures: int) -> float:
    """Seconds to wait after `failures` earlier failures in a row: `first_s * factor ** failures`, at most `max_s`."""
    try:
        return min(backoff.max_s, backoff.first_s * backoff.factor**failures)
    except OverflowError:
        return backoff.max_s
