"""A person's own limits on a version: pure, over the figures of a window.

Second best by nature: a limit knows nothing of the version before, of an outage that both share, or of chance. Where
there is little traffic it sees too few calls to say anything, or takes an accident for a rule; `min_calls` is the guard
against that. The verdict (`henslowe.actors.router.verdict`) goes on beside it, and whichever is first acts.
"""

from __future__ import annotations

from dataclasses import dataclass

from henslowe.actors.health.windows import WindowFigures
from henslowe.config.upkeep import HealthSettings
from henslowe.words import counted


@dataclass(slots=True, frozen=True)
class Breach:
    """A limit that was passed: its name, what it is, what was seen, and that in words."""

    limit: str
    allowed: float
    seen: float
    why: str


def has_limits(limits: HealthSettings) -> bool:
    """Whether there is anything to be passed."""
    return limits.max_error_rate is not None or limits.max_p95_ms is not None


def breach(limits: HealthSettings, seen: WindowFigures) -> Breach | None:
    """The limit that these calls passed; None while they pass none, or are too few to say."""
    if seen.calls < limits.min_calls or seen.error_rate is None:
        return None
    if limits.max_error_rate is not None and seen.error_rate > limits.max_error_rate:
        return Breach(
            "max_error_rate",
            limits.max_error_rate,
            round(seen.error_rate, 6),
            f"{seen.failures} of {counted(seen.calls, 'call')} failed in the last {limits.window_s:g} s "
            f"({seen.error_rate:.1%}), health.max_error_rate is {limits.max_error_rate:.1%}",
        )
    if limits.max_p95_ms is not None and seen.p95_ms is not None and seen.p95_ms > limits.max_p95_ms:
        return Breach(
            "max_p95_ms",
            limits.max_p95_ms,
            seen.p95_ms,
            f"one in twenty of {counted(seen.calls, 'call')} in the last {limits.window_s:g} s took "
            f"{seen.p95_ms:.0f} ms or more, health.max_p95_ms is {limits.max_p95_ms:g}",
        )
    return None
