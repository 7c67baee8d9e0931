"""Counts of a service's traffic: calls, failures and latencies by version, and the units seen in the window.

Mutable, owned by the canary router; what others see is the frozen snapshot (`henslowe.actors.traffic`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

from henslowe.actors.health import Breach, ServiceWindows, WindowFigures
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.router.latency import past_bounds
from henslowe.actors.router.trial import Past
from henslowe.actors.router.verdict import HARD
from henslowe.actors.routes import FAILURES, CallRecord, Outcome
from henslowe.actors.traffic import ServiceTraffic, TrialStatus, VersionTraffic

LATENCIES_MAX: Final = 500
RATE_WINDOW_S: Final = 60
UNITS_MAX: Final = 2_000
VERSIONS_MAX: Final = 32
"""Versions counted per service; the one unused longest is forgotten."""
KNOWN_UNITS_MAX: Final = 100
"""With more units the comparison of arms decides, and nobody's own past has to be looked at."""
HEALTHY_CALLS_MIN: Final = 5
"""Calls without a failure after which a unit is known to be well."""
PAST_CALLS_MAX: Final = 2_000
"""The past that sets up a trial: the last calls of the service, whatever version answered."""
UNITS_KEPT_MAX: Final = 300
RECENT_KEPT_MAX: Final = 300
"""Units and calls that outlive the node: enough to choose a strategy and a salt, and as many calls as a baseline takes
from the past."""


@dataclass(slots=True)
class _VersionCount:
    calls: int = 0
    failures: int = 0
    tool_errors: int = 0
    last_call_s: float = 0.0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))

    def add(self, record: CallRecord) -> None:
        self.calls += 1
        self.failures += record.outcome in FAILURES
        self.tool_errors += record.outcome is Outcome.TOOL_ERROR
        self.last_call_s = record.time_s
        self.latencies_s.append(record.latency_s)

    def frozen(self, version: VersionKey, window: WindowFigures) -> VersionTraffic:
        ordered = sorted(self.latencies_s)
        p50, p95 = (ordered[int(q * (len(ordered) - 1))] * 1000 if ordered else 0.0 for q in (0.5, 0.95))
        return VersionTraffic(
            version, self.calls, self.failures, self.tool_errors, round(p50, 3), round(p95, 3), self.last_call_s, window
        )


@dataclass(slots=True)
class _Unit:
    calls: int = 0
    failures: int = 0
    last_call_s: float = 0.0


class ServiceCounter:
    """The traffic of one service. Runs in: the loop."""

    def __init__(self, service: ServiceName, window_s: float) -> None:
        self._service = service
        self._window_s = window_s
        self._versions: OrderedDict[VersionKey, _VersionCount] = OrderedDict()
        self._units: OrderedDict[str, _Unit] = OrderedDict()
        self._recent: deque[tuple[VersionKey, str, Outcome, float]] = deque(maxlen=PAST_CALLS_MAX)
        self._seconds: deque[list[int]] = deque(maxlen=RATE_WINDOW_S)
        """[Unix second, calls in it], the last minute's worth of seconds with calls."""

    def add(self, record: CallRecord) -> None:
        """One finished call."""
        count = self._versions.get(record.version)
        if count is None:
            count = self._versions[record.version] = _VersionCount()
            if len(self._versions) > VERSIONS_MAX:
                self._versions.popitem(last=False)
        else:
            self._versions.move_to_end(record.version)
        count.add(record)
        unit = self._units.get(record.unit)
        if unit is None:
            unit = self._units[record.unit] = _Unit()
            if len(self._units) > UNITS_MAX:
                self._units.popitem(last=False)
        else:
            self._units.move_to_end(record.unit)
        unit.calls += 1
        unit.failures += record.outcome in FAILURES
        unit.last_call_s = record.time_s
        self._recent.append((record.version, record.tool, record.outcome, record.latency_s))
        second = int(record.time_s)
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += 1
        else:
            self._seconds.append([second, 1])

    def forget_old(self, now_s: float) -> bool:
        """Drops the units that were not seen in the window; whether there were any."""
        dropped = False
        while self._units and next(iter(self._units.values())).last_call_s < now_s - self._window_s:
            self._units.popitem(last=False)
            dropped = True
        return dropped

    def past(self, old: VersionKey, slow_factor: float) -> Past:
        """The traffic until now, as the set-up of a trial that begins against the version `old`."""
        recent = [call for call in self._recent if call[0] == old]
        outcomes = [outcome for _, _, outcome, _ in recent]
        fine = ((tool, latency_s) for _, tool, outcome, latency_s in recent if outcome not in FAILURES)
        usual, slow, timed = past_bounds(fine, slow_factor)
        calls = sum(unit.calls for unit in self._units.values())
        return Past(
            units=len(self._units),
            calls_per_unit=calls / max(1, len(self._units)),
            calls=len(outcomes),
            failures=sum(outcome in FAILURES for outcome in outcomes),
            hard_failures=sum(outcome in HARD for outcome in outcomes),
            usual=usual,
            timed=timed,
            slow=slow,
            healthy=self._healthy() if len(self._units) <= KNOWN_UNITS_MAX else (),
        )

    def _healthy(self) -> tuple[str, ...]:
        return tuple(
            name for name, unit in self._units.items() if unit.calls >= HEALTHY_CALLS_MIN and not unit.failures
        )

    def frozen(
        self,
        trial: TrialStatus | None,
        now_s: float,
        *,
        windows: ServiceWindows | None = None,
        passed: Mapping[VersionKey, Breach] = MappingProxyType({}),
    ) -> ServiceTraffic:
        """A snapshot, with the figures of the last minutes where they are kept."""
        windows = windows or ServiceWindows()
        instances = windows.of_instances(now_s)
        calls = sum(count for second, count in self._seconds if second > now_s - RATE_WINDOW_S)
        versions = {
            version: count.frozen(version, windows.of_version(version, now_s))
            for version, count in self._versions.items()
        }
        return ServiceTraffic(
            self._service,
            tuple(self._units),
            MappingProxyType(versions),
            trial,
            calls * 60 / RATE_WINDOW_S,
            MappingProxyType(instances),
            MappingProxyType(dict(passed)),
        )

    # -- across a restart ----------------

    def dump(self) -> dict[str, Any]:
        """The latest units and calls, as plain data for `load`. What is counted since the node's start is left out."""
        units = islice(self._units.items(), max(0, len(self._units) - UNITS_KEPT_MAX), None)
        recent = islice(self._recent, max(0, len(self._recent) - RECENT_KEPT_MAX), None)
        return {
            "units": [[name, unit.calls, unit.failures, unit.last_call_s] for name, unit in units],
            "recent": [
                [version.number, tool, outcome.value, latency_s] for version, tool, outcome, latency_s in recent
            ],
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Goes on from where `dump` was called."""
        for name, calls, failures, last_call_s in dumped["units"]:
            self._units[name] = _Unit(calls, failures, last_call_s)
        self._recent.extend(
            (VersionKey(self._service, number), tool, Outcome(outcome), latency_s)
            for number, tool, outcome, latency_s in dumped["recent"]
        )

    @property
    def units(self) -> int:
        """How many called in the window, as of the last `forget_old`."""
        return len(self._units)
