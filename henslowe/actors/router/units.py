"""What one unit of traffic says about the new version, by the calls it made and the share of traffic that it met.

The formulas are explained where they are multiplied: `henslowe.actors.router.randomised`. Pure. Runs in: the loop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

ODDS: Final = (2.0, 4.0, 12.0, 80.0)
"""Alternatives: the odds of failing, as multiples of the baseline's. Their products are averaged. The smallest is for
services that fail often: from 15 % to 24 % is less than twice the odds."""
LOG_RATIO_MAX: Final = math.log(50.0)
"""Most that one unit can say before its factor; clipping is a choice, and any choice is valid."""


def _nothing() -> list[float]:
    return [0.0] * len(ODDS)


@dataclass(slots=True)
class Unit:
    """One unit on its way through the levels."""

    name: str
    first_s: float
    share: float
    """Probability, for any unit, of being on the new version by now."""
    floor: float = 0.0
    """The same when the unit was last known to be stable: what is left of its coin begins there."""
    new_at: int = -1
    """The segment in which it was on the new version first, -1 for in none."""
    log_r: list[float] = field(default_factory=_nothing)
    """Of the segment of now."""
    before: tuple[tuple[float, list[float]], ...] = ()
    """Share and `log_r` of the segments before."""
    calls: int = 0
    failures: int = 0
    level: int = 0
    said: tuple[float, ...] | None = None
    """`log_factors` as they were computed last; None after another call."""
    dumps: int = 0
    """How often its stream was dumped before it was made."""

    def copy(self, dumps: int) -> Unit:
        """The same, to be changed after a dump that has the other one."""
        before = tuple((share, list(log_r)) for share, log_r in self.before)
        return Unit(
            self.name, self.first_s, self.share, self.floor, self.new_at, list(self.log_r), before,
            self.calls, self.failures, self.level, self.said, dumps,
        )  # fmt: skip

    def fields(self) -> list[Any]:
        """As `RandomisedStream.load` takes them."""
        return [
            self.name, self.first_s, self.share, self.floor, self.new_at, self.log_r, self.before,
            self.calls, self.failures, self.level,
        ]  # fmt: skip

    def meets(self, share: float, *, new: bool) -> list[float]:
        """The segment to which a call belongs that was routed with this share; a new one where the share has grown."""
        if share > self.share:
            self.before = (*self.before, (self.share, self.log_r))
            self.share, self.log_r = share, _nothing()
            if new and self.new_at < 0:
                self.new_at = len(self.before)
        elif share < self.share:  # it was under way when the share grew
            return next((log_r for was, log_r in reversed(self.before) if was <= share), self.log_r)
        return self.log_r

    def log_factors(self) -> tuple[float, ...]:
        """Logarithm of what the unit says by now, for each of the odds."""
        if self.said is None:
            alone = not self.before and not self.floor  # as nearly all are
            self.said = (
                one_segment(self.log_r, self.share, new=self.new_at == 0)
                if alone
                else tuple(self._log_factor(k) for k in range(len(ODDS)))
            )
        return self.said

    def _log_factor(self, k: int) -> float:
        segments = (*self.before, (self.share, self.log_r))
        left, said, log_r = 1.0 - self.floor, 0.0, 0.0
        mean = (1.0 - self.share) / left
        for at in range(len(segments) - 1, -1, -1):
            share, here = segments[at]
            log_r += here[k]
            clipped = max(-LOG_RATIO_MAX, min(LOG_RATIO_MAX, log_r))
            mean += (share - (segments[at - 1][0] if at else self.floor)) / left * math.exp(clipped)
            if at == self.new_at:
                said = clipped
        return said - math.log(mean)


def one_segment(log_r: Sequence[float], share: float, *, new: bool) -> tuple[float, ...]:
    """As `Unit.log_factors` for one that met a single share."""
    said = []
    for value in log_r:
        clipped = -LOG_RATIO_MAX if value < -LOG_RATIO_MAX else min(value, LOG_RATIO_MAX)
        said.append((clipped if new else 0.0) - math.log(1.0 - share + share * math.exp(clipped)))
    return tuple(said)
