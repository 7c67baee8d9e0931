"""Which of a version's instances does so much worse than the others that calls should avoid it. Pure.

The others are the measure: when all fail alike, the fault is not an instance's, and none is put aside. Never more than
a share of them is, however bad they are: the rest would be run over.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from henslowe.actors.ids import InstanceId


@dataclass(slots=True, frozen=True)
class OutlierPolicy:
    """What an outlier is.

    Attributes:
        calls_min: Fewest calls of an instance in the window from which it is judged.
        points: Percentage points by which its failures exceed the median of the others'.
        ejected_percent_max: Largest share of a version's instances that is put aside at once.
    """

    calls_min: int = 10
    points: float = 30.0
    ejected_percent_max: float = 50.0


class Tally(NamedTuple):
    """One instance's recent calls, and whether it is put aside already."""

    calls: float
    failures: float
    out: bool = False


def outliers(tallies: Mapping[InstanceId, Tally], policy: OutlierPolicy) -> list[InstanceId]:
    """The instances to put aside now, the worst first."""
    room = int(len(tallies) * policy.ejected_percent_max / 100) - sum(tally.out for tally in tallies.values())
    rates = {
        instance: tally.failures / tally.calls
        for instance, tally in tallies.items()
        if not tally.out and tally.calls >= policy.calls_min
    }
    worse = []
    for instance, rate in rates.items():
        others = [other for name, other in rates.items() if name != instance]
        if others and rate - statistics.median(others) >= policy.points / 100:
            worse.append(instance)
    return sorted(worse, key=lambda instance: -rates[instance])[: max(0, room)]
