"""A circuit breaker: closed, open, half-open. Deterministic, and without a clock: the time comes in.

    CLOSED -(failures in a row, or too many of a window)-> OPEN -(time)-> HALF_OPEN -(probes succeed)-> CLOSED
                                                            ^                 |
                                                            +-(a probe fails)-+   for twice as long

What counts as a failure is its owner's to say. The verdict of a call counts only in the phase in which the call began:
one that was sent before the breaker opened says nothing about a server that has had time to recover.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """A few calls go through, to see."""


@dataclass(slots=True, frozen=True)
class BreakerPolicy:
    """When a breaker opens, and for how long.

    Attributes:
        failures: In a row that open it.
        failure_rate: Share of the window's calls that opens it.
        window_s: Length of the window; calls older than that do not count, those older than half of it fade.
        calls_min: Fewest calls in the window from which the share counts.
        open_s: From opening to the first probe; doubled each time that the probes fail.
        open_max_s: The longest of these times.
        probes: Calls that go through at once when half-open; as many have to succeed.
    """

    failures: int = 5
    failure_rate: float = 0.5
    window_s: float = 30.0
    calls_min: int = 20
    open_s: float = 2.0
    open_max_s: float = 60.0
    probes: int = 1


@dataclass(slots=True)
class Window:
    """Calls and failures of about the last while: two halves of `half_s`, of which the older one fades."""

    half_s: float
    _began_s: float = 0.0
    _calls: int = 0
    _failures: int = 0
    _before: tuple[int, int] = (0, 0)

    def add(self, failed: bool, now_s: float) -> None:
        """Count a call."""
        if not 0 <= now_s - self._began_s < self.half_s:
            self._turn(now_s)
        self._calls += 1
        if failed:
            self._failures += 1

    def seen(self, now_s: float) -> tuple[float, float]:
        """Calls and failures."""
        if not 0 <= now_s - self._began_s < self.half_s:
            self._turn(now_s)
        left = 1.0 - (now_s - self._began_s) / self.half_s
        return self._calls + left * self._before[0], self._failures + left * self._before[1]

    def clear(self) -> None:
        """Forget all."""
        self._calls = self._failures = 0
        self._before = (0, 0)

    def _turn(self, now_s: float) -> None:
        """Begin another half."""
        self._before = (self._calls, self._failures) if 0 <= now_s - self._began_s < 2 * self.half_s else (0, 0)
        self._calls = self._failures = 0
        self._began_s = now_s


@dataclass(slots=True)
class Breaker:
    """One breaker. Its owner calls `allows` before a call, `began` at its start and `ended` at its end."""

    policy: BreakerPolicy
    state: BreakerState = BreakerState.CLOSED
    until_s: float = 0.0
    """When OPEN: the time from which it is half-open."""
    open_for_s: float = 0.0
    """How long it was last opened for."""
    openings: int = 0
    """In a row, without a quiet time between."""
    phase: int = 0
    """Counts the changes of state; calls carry it."""
    in_a_row: int = 0
    """Failures without a success between."""
    _probing: int = 0
    _probed_s: float = 0.0
    _succeeded: int = 0
    _closed_s: float = 0.0
    window: Window = field(init=False)

    def __post_init__(self) -> None:
        self.window = Window(self.policy.window_s / 2)

    def allows(self, now_s: float) -> bool:
        """Whether a call may begin; an open breaker whose time is up becomes half-open."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN:
            if now_s < self.until_s:
                return False
            self._turn(BreakerState.HALF_OPEN)
        # A probe that hangs must not keep all others out for as long as a call may take.
        return self._probing < self.policy.probes or now_s - self._probed_s >= self.policy.open_max_s

    def began(self, now_s: float) -> int:
        """A call begins; the reply goes to `ended`."""
        if self.state is BreakerState.HALF_OPEN:
            self._probing += 1
            self._probed_s = now_s
        return self.phase

    def ended(self, phase: int, failed: bool | None, now_s: float) -> None:
        """A call ended; None when that says nothing, as for one that was given up."""
        if phase != self.phase:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._judge(failed, now_s)
        elif self.state is BreakerState.CLOSED and failed is not None:
            self.window.add(failed, now_s)
            self.in_a_row = self.in_a_row + 1 if failed else 0
            if failed and self._too_many(now_s):
                self.trip(now_s)

    def trip(self, now_s: float) -> None:
        """Open, whatever the counts say."""
        if self.state is BreakerState.CLOSED and now_s - self._closed_s > self.policy.window_s:
            self.openings = 0
        open_s = min(self.policy.open_max_s, self.policy.open_s * 2.0 ** min(self.openings, 32))
        self.openings += 1
        self.open_for_s, self.until_s = open_s, now_s + open_s
        self._turn(BreakerState.OPEN)

    def _judge(self, failed: bool | None, now_s: float) -> None:
        self._probing -= 1
        if failed:
            self.trip(now_s)
        elif failed is False:
            self._succeeded += 1
            if self._succeeded >= self.policy.probes:
                self._closed_s = now_s
                self.window.clear()
                self._turn(BreakerState.CLOSED)

    def _too_many(self, now_s: float) -> bool:
        if self.in_a_row >= self.policy.failures:
            return True
        calls, failures = self.window.seen(now_s)
        return calls >= self.policy.calls_min and failures >= self.policy.failure_rate * calls

    def _turn(self, state: BreakerState) -> None:
        self.state = state
        self.phase += 1
        self.in_a_row = self._probing = self._succeeded = 0
