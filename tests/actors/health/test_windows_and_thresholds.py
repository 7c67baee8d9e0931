"""Figures of the last minutes, and a person's own limits on them: pure, with the time passed in."""

from __future__ import annotations

import math
import random

import pytest

from henslowe.actors.health import ServiceWindows, WindowFigures, breach
from henslowe.actors.health.windows import SLICES, WINDOWS_MAX, RollingWindow, merged
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.routes import Arm, CallRecord, Outcome
from henslowe.actors.upkeep import Upkeep
from henslowe.actors.versions import VersionRow
from henslowe.config.settings import DeclaredService, Settings
from henslowe.config.upkeep import Health, HealthSettings, Scale, ScaleSettings, laid_over

V1, V2 = VersionKey(ServiceName("hello"), 1), VersionKey(ServiceName("hello"), 2)
ONE, TWO = InstanceId("hello@1#1"), InstanceId("hello@1#2")
SPAN_S = 100.0


def call(instance: InstanceId, *, failed: bool) -> CallRecord:
    outcome = Outcome.TIMEOUT if failed else Outcome.OK
    return CallRecord(V1, Arm.STABLE, "u", True, "echo", outcome, 0.01, 1_000.0, 1, instance=instance)


def filled(window: RollingWindow, count: int, *, now_s: float, failures: int = 0, ms: float = 10.0) -> None:
    for at in range(count):
        window.add(failed=at < failures, latency_s=ms / 1000, now_s=now_s)


def test_a_window_says_what_was_called_in_its_time_and_forgets_the_rest() -> None:
    window = RollingWindow(SPAN_S)
    filled(window, 30, now_s=1_000.0, failures=3)
    filled(window, 10, now_s=1_050.0)
    assert (window.figures(1_050.0).calls, window.figures(1_050.0).failures) == (40, 3)
    later = window.figures(1_000.0 + SPAN_S + SPAN_S / SLICES)
    assert (later.calls, later.failures, later.success_rate) == (10, 0, 1.0)
    gone = window.figures(1_000.0 + 3 * SPAN_S)
    assert (gone.calls, gone.error_rate, gone.p95_ms) == (0, None, None)


def test_percentiles_are_within_a_hundredth_of_the_true_ones() -> None:
    draw = random.Random(7)
    latencies = [draw.lognormvariate(-4, 1) for _ in range(5_000)]
    window = RollingWindow(SPAN_S)
    for at, latency_s in enumerate(latencies):
        window.add(failed=False, latency_s=latency_s, now_s=1_000.0 + at * SPAN_S / 10_000)
    figures, ordered = window.figures(1_050.0), sorted(latencies)
    for quantile, said in ((0.5, figures.p50_ms), (0.95, figures.p95_ms), (0.99, figures.p99_ms)):
        assert said is not None
        assert math.isclose(said, ordered[int(quantile * (len(ordered) - 1))] * 1000, rel_tol=0.0101)


def test_a_version_has_the_percentiles_of_all_calls_and_not_the_mean_of_its_instances() -> None:
    fast, slow = RollingWindow(SPAN_S), RollingWindow(SPAN_S)
    filled(fast, 900, now_s=1_000.0, ms=1.0)
    filled(slow, 100, now_s=1_000.0, ms=100.0)
    together = merged((fast, slow), SPAN_S, 1_000.0)
    assert together.p50_ms == pytest.approx(1.0, rel=0.02)
    assert together.p95_ms == pytest.approx(100.0, rel=0.02)


def test_a_clock_that_was_set_back_loses_no_call() -> None:
    window = RollingWindow(SPAN_S)
    filled(window, 5, now_s=1_000.0)
    filled(window, 5, now_s=400.0)
    assert window.figures(1_000.0).calls == 10


def test_figures_are_the_same_however_often_they_were_asked_for() -> None:
    """What of them is remembered from one time to the next is that of the slices that change no more."""
    draw, asked, unasked = random.Random(8), RollingWindow(SPAN_S), RollingWindow(SPAN_S)
    now_s = 1_000.0
    for _ in range(400):
        now_s += draw.choice((0.0, 1.0, 3.0, SPAN_S / SLICES, -5.0))
        call = {"failed": draw.random() < 0.2, "latency_s": draw.lognormvariate(-4, 1), "now_s": now_s}
        asked.add(**call)
        unasked.add(**call)
        asked.figures(now_s + draw.choice((0.0, SPAN_S / 2)))
        fresh = RollingWindow(SPAN_S)
        fresh.refill(unasked.slices(now_s))
        assert asked.figures(now_s) == fresh.figures(now_s)


def test_windows_are_bounded_and_those_without_calls_are_forgotten() -> None:
    windows = ServiceWindows()
    for at in range(WINDOWS_MAX + 10):
        windows.add(call(InstanceId(f"i{at}"), failed=False), span_s=SPAN_S)
    assert len(windows.of_instances(1_000.0)) == WINDOWS_MAX
    assert windows.of_instances(1_000.0 + 3 * SPAN_S) == {}
    assert windows.of_version(V1, 1_000.0) == WindowFigures()


def test_each_instance_has_figures_of_its_own() -> None:
    windows = ServiceWindows()
    for instance, failed in ((ONE, True), (TWO, False), (TWO, False), (InstanceId(""), True)):
        windows.add(call(instance, failed=failed), span_s=SPAN_S)
    found = windows.of_instances(1_000.0)
    assert {instance: (each.calls, each.failures) for instance, each in found.items()} == {ONE: (1, 1), TWO: (2, 0)}
    whole = windows.of_version(V1, 1_000.0)
    assert (whole.calls, whole.failures) == (4, 2)
    assert windows.of_version(V2, 1_000.0).calls == 0


LIMITS = HealthSettings(max_error_rate=0.1, max_p95_ms=50.0, min_calls=20, window_s=SPAN_S)


@pytest.mark.parametrize(
    ("calls", "failures", "p95_ms", "limit"),
    [
        (19, 19, 900.0, None),
        (20, 2, 50.0, None),
        (20, 3, 10.0, "max_error_rate"),
        (20, 0, 50.1, "max_p95_ms"),
        (20, 20, 900.0, "max_error_rate"),
        (0, 0, None, None),
    ],
)
def test_a_limit_is_passed_by_enough_calls_that_are_beyond_it(
    calls: int, failures: int, p95_ms: float | None, limit: str | None
) -> None:
    found = breach(LIMITS, WindowFigures(SPAN_S, calls, failures, p95_ms, p95_ms, p95_ms))
    assert (found.limit if found else None) == limit


def test_a_breach_says_the_numbers_and_the_key() -> None:
    found = breach(LIMITS, WindowFigures(SPAN_S, 40, 12, 5.0, 9.0, 9.0))
    assert found is not None
    assert found.why == "12 of 40 calls failed in the last 100 s (30.0%), health.max_error_rate is 10.0%"
    assert (found.allowed, found.seen) == (0.1, 0.3)


def test_without_limits_nothing_is_passed() -> None:
    assert breach(HealthSettings(), WindowFigures(300.0, 1_000, 1_000, 9e9, 9e9, 9e9)) is None


def test_what_a_version_says_wins_over_its_declaration_and_that_over_the_node() -> None:
    settings = Settings(
        health=HealthSettings(max_error_rate=0.5, min_calls=7),
        services={"hello": DeclaredService(command=("x",), health=Health(max_error_rate=0.2, max_p95_ms=9.0))},
    )
    rows = {V1: VersionRow(service=V1.service, number=1, health=Health(max_p95_ms=5.0)), V2: None}
    upkeep = Upkeep(settings, rows.get)
    own, declared = upkeep.health(V1), upkeep.health(V2)
    assert (own.max_error_rate, own.max_p95_ms, own.min_calls) == (0.2, 5.0, 7)
    assert declared.max_p95_ms == 9.0
    assert upkeep.health(VersionKey(ServiceName("other"), 1)).max_error_rate == 0.5


@pytest.mark.parametrize(
    ("node", "given", "least", "most"),
    [
        (ScaleSettings(), Scale(), 1, 1),
        (ScaleSettings(), Scale(min=3), 3, 3),
        (ScaleSettings(min=2, max=4), Scale(min=6), 6, 6),
        (ScaleSettings(min=2, max=4), Scale(max=1), 1, 1),
        (ScaleSettings(), Scale(min=0), 0, 1),
        (ScaleSettings(max=4), Scale(min=0), 0, 4),
    ],
)
def test_bounds_that_were_given_apart_pull_each_other_along(
    node: ScaleSettings, given: Scale, least: int, most: int
) -> None:
    found = laid_over(node, given)
    assert (found.min, found.most) == (least, most)
