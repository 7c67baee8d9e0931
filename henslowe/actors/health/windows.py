"""Calls of the last minutes in numbers: success, errors and response times, per instance and, merged, per version.

    window = RollingWindow(span_s=300.0)
    window.add(failed=False, latency_s=0.012, now_s=1000.0)
    window.figures(1000.0).p95_ms

A window is a few slices, each with its counts and its sketch of the response times; the oldest slice leaves as a whole.
Sketches merge, so that a version's percentiles are those of all its calls and not an average of its instances'.

Source of the sketch: Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
guarantees", 2019. Not here: which figures are bad (`thresholds`, `henslowe.actors.router.verdict`).
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from ddsketch import DDSketch

from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import FAILURES, CallRecord
from henslowe.storage import codec

SLICES: Final = 10
"""Parts of a window: it is between nine and ten of them long."""
ACCURACY: Final = 0.01
"""Of a percentile, relative to itself."""
WINDOWS_MAX: Final = 256
"""Instances remembered per service; the one unused longest is forgotten."""


@dataclass(slots=True, frozen=True)
class WindowFigures:
    """What a window says."""

    window_s: float = 0.0
    calls: int = 0
    failures: int = 0
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    """Response times, to a hundredth of themselves; None without calls."""

    @property
    def error_rate(self) -> float | None:
        """Part of the calls that failed; None without calls."""
        return self.failures / self.calls if self.calls else None

    @property
    def success_rate(self) -> float | None:
        """Part of the calls that did not; None without calls."""
        return 1.0 - self.failures / self.calls if self.calls else None


@dataclass(slots=True)
class _Slice:
    number: int
    """Since the epoch, in lengths of a slice."""
    calls: int = 0
    failures: int = 0
    latencies_ms: DDSketch = field(default_factory=lambda: DDSketch(ACCURACY))

    def merge(self, other: _Slice) -> None:
        self.calls += other.calls
        self.failures += other.failures
        self.latencies_ms.merge(other.latencies_ms)

    def dump(self) -> list[Any]:
        return [self.number, self.calls, self.failures, _packed(self.latencies_ms)]

    @classmethod
    def load(cls, dumped: list[Any]) -> _Slice:
        number, calls, failures, sketch = dumped
        return cls(number, calls, failures, _unpacked(sketch))


@dataclass(slots=True)
class RollingWindow:
    """Calls of about the last `span_s`. Times come in, in Unix seconds. Runs in: the loop."""

    span_s: float
    _slices: deque[_Slice] = field(default_factory=lambda: deque(maxlen=SLICES))
    _added: int = 0
    _known: tuple[int, int, WindowFigures] | None = None
    """The last figures, with the calls and the slice of that time: idle services cost nothing."""
    _past: tuple[int, int, _Slice] | None = None
    """All slices but the newest in one, with the numbers of the slice of that time and of the newest."""

    def add(self, *, failed: bool, latency_s: float, now_s: float) -> None:
        """Count a finished call."""
        slices, number = self._slices, int(now_s * SLICES / self.span_s)
        newest = slices[-1] if slices else None
        if newest is None or number > newest.number:  # else it may be of a clock that was set back
            newest = _Slice(number)
            slices.append(newest)
        newest.calls += 1
        newest.failures += failed
        newest.latencies_ms.add(latency_s * 1000)
        self._added += 1

    def figures(self, now_s: float) -> WindowFigures:
        """What it says now."""
        number = self._number(now_s)
        if self._known is None or self._known[:2] != (self._added, number):
            self._known = (self._added, number, merged((self,), self.span_s, now_s))
        return self._known[2]

    def slices(self, now_s: float) -> Iterable[_Slice]:
        """Those that are not too old."""
        oldest = self._number(now_s) - SLICES
        return (each for each in self._slices if each.number > oldest)

    def parts(self, now_s: float) -> Iterable[_Slice]:
        """The same calls in two: the newest slice, and all the others, which change no more."""
        if not self._slices:
            return
        newest, number = self._slices[-1], self._number(now_s)
        if self._past is None or self._past[:2] != (number, newest.number):
            past = _Slice(0)
            for each in self.slices(now_s):
                if each is not newest:
                    past.merge(each)
            self._past = number, newest.number, past
        yield self._past[2]
        if newest.number > number - SLICES:
            yield newest

    def refill(self, slices: Iterable[_Slice]) -> None:
        """Goes on with these, oldest first."""
        self._slices.extend(slices)
        self._past = None
        self._added += 1

    def _number(self, now_s: float) -> int:
        return int(now_s * SLICES / self.span_s)


def merged(windows: Iterable[RollingWindow], span_s: float, now_s: float) -> WindowFigures:
    """The figures of all these calls together."""
    calls, failures, latencies_ms = 0, 0, DDSketch(ACCURACY)
    for window in windows:
        for each in window.parts(now_s):
            calls += each.calls
            failures += each.failures
            latencies_ms.merge(each.latencies_ms)
    p50, p95, p99 = (_rounded(latencies_ms.get_quantile_value(quantile)) for quantile in (0.5, 0.95, 0.99))
    return WindowFigures(span_s, calls, failures, p50, p95, p99)


def _packed(sketch: DDSketch) -> bytes:
    """What `_unpacked` makes the same sketch of.

    The library's own form needs a library of its own (protobuf), so this looks inside.
    """
    store = sketch._store
    return codec.encode([ACCURACY, int(sketch._zero_count), store.offset, list(map(int, store.bins))])


def _unpacked(packed: bytes) -> DDSketch:
    accuracy, zeros, offset, counts = codec.decode(packed)
    if accuracy != ACCURACY:
        raise ValueError(f"expected a sketch with an accuracy of {ACCURACY}, got {accuracy}")
    sketch = DDSketch(ACCURACY)
    if zeros:
        sketch.add(0.0, zeros)
    for at, count in enumerate(counts):
        if count:
            sketch.add(sketch._mapping.value(at + offset), count)
    return sketch


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


class ServiceWindows:
    """The windows of one service's instances. Runs in: the loop."""

    def __init__(self) -> None:
        self._of: OrderedDict[tuple[VersionKey, InstanceId], RollingWindow] = OrderedDict()

    def add(self, record: CallRecord, *, span_s: float) -> None:
        """Count a finished call; "" is the instance of one that reached none."""
        key = (record.version, record.instance)
        window = self._of.get(key)
        if window is None or window.span_s != span_s:
            window = self._of[key] = RollingWindow(span_s)
            if len(self._of) > WINDOWS_MAX:
                self._of.popitem(last=False)
        self._of.move_to_end(key)
        window.add(failed=record.outcome in FAILURES, latency_s=record.latency_s, now_s=record.time_s)

    def of_version(self, version: VersionKey, now_s: float) -> WindowFigures:
        """All calls of a version, whichever instance had them."""
        windows = [window for (of, _), window in self._of.items() if of == version]
        if len(windows) == 1:
            return windows[0].figures(now_s)
        return merged(windows, max((window.span_s for window in windows), default=0.0), now_s)

    def of_instances(self, now_s: float) -> dict[InstanceId, WindowFigures]:
        """The calls of each instance; those without any in their window are forgotten."""
        found: dict[InstanceId, WindowFigures] = {}
        for (version, instance), window in list(self._of.items()):
            figures = window.figures(now_s)
            if not figures.calls:
                del self._of[version, instance]
            elif instance:
                found[instance] = figures
        return found

    def dump(self, now_s: float) -> Generator[int, None, list[Any]]:
        """Makes plain data for `load` of what the windows hold, merged by version: instances do not outlive their node.

        Yields how many slices were merged since: some 50 us each. Calls may go on meanwhile, and be in it or not.
        """
        merged_by: dict[tuple[VersionKey, float], dict[int, _Slice]] = {}
        for (version, _), window in list(self._of.items()):
            slices = merged_by.setdefault((version, window.span_s), {})
            seen = tuple(window.slices(now_s))
            for each in seen:
                slices.setdefault(each.number, _Slice(each.number)).merge(each)
            yield len(seen)
        return [
            [version.number, span_s, [slices[number].dump() for number in sorted(slices)]]
            for (version, span_s), slices in merged_by.items()
            if slices
        ]

    def load(self, service: ServiceName, dumped: list[Any]) -> None:
        """Goes on with what `dump` gave, as calls of an instance that is gone."""
        for number, span_s, slices in dumped:
            window = self._of[VersionKey(service, number), InstanceId("")] = RollingWindow(span_s)
            window.refill(map(_Slice.load, slices))
