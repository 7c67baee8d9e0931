"""Figures of a proof."""

from __future__ import annotations

from collections.abc import Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The share's quantile of some values, rounded to a hundredth; the largest one where there are few."""
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 2)
