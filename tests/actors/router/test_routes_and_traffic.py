"""Routes derived from rows, balanced salts, and the counters of traffic."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.router import route_of, routes_of, trial_of
from henslowe.actors.router.counters import UNITS_MAX, ServiceCounter
from henslowe.actors.routes import Arm, CallRecord, Outcome, balanced_salt, bucket
from henslowe.config.exposure import Exposure

HELLO = ServiceName("hello")


@dataclass
class Row:
    service: ServiceName = HELLO
    epoch: int = 4
    active: int = 2
    previous: int = 1
    canary: int = 0
    canary_weight: int = 1_000
    weights: tuple[tuple[int, int], ...] = ()
    step: int = 0
    steps: int = 0
    step_calls: int = 0
    salt: str = "s"
    balance: float = 1.0
    probation_until_s: float = 0.0
    holdback: int = 0
    exposure: Exposure = field(default_factory=Exposure)


def test_a_service_without_an_active_version_has_no_route() -> None:
    assert routes_of([Row(active=0)]) == {}


def test_a_permanent_version_gets_everything_and_nothing_is_judged() -> None:
    route = route_of(Row())
    assert route is not None
    assert (route.stable.number, route.canary, route.epoch) == (2, None, 4)
    assert trial_of(Row()) is None


def test_a_canary_is_judged_beside_the_active_version_with_its_share() -> None:
    route, trial = route_of(Row(canary=3)), trial_of(Row(canary=3))
    assert route is not None
    assert trial is not None
    assert (route.canary, route.canary_weight, route.holdback) == (VersionKey(HELLO, 3), 1_000, False)
    assert (trial.new.number, trial.old, trial.share_new) == (3, VersionKey(HELLO, 2), 0.1)


def test_a_holdback_turns_the_arms_around() -> None:
    row = Row(probation_until_s=9.0, holdback=500)
    route, trial = route_of(row), trial_of(row)
    assert route is not None
    assert trial is not None
    assert (route.stable.number, route.canary, route.canary_weight) == (2, VersionKey(HELLO, 1), 500)
    assert (trial.new.number, trial.share_new, trial.is_new(Arm.STABLE)) == (2, 0.95, True)


def test_probation_without_a_holdback_is_judged_without_a_control_group() -> None:
    trial = trial_of(Row(probation_until_s=9.0))
    assert trial is not None
    assert (trial.old, trial.share_new, trial.is_new(Arm.STABLE)) == (None, 1.0, True)


@pytest.mark.parametrize(("units", "low", "high"), [(20, 2, 4), (40, 3, 5), (60, 4, 8), (200, 15, 25)])
def test_a_balanced_salt_gives_a_small_canary_its_share(units: int, low: int, high: int) -> None:
    names = [f"session-{at}" for at in range(units)]
    salt, probability = balanced_salt(names, 1_000, "hello:4")
    assert low <= sum(bucket(name, salt) < 1_000 for name in names) <= high
    assert 0.5 <= probability <= 1.0


def test_many_units_need_no_balance() -> None:
    assert balanced_salt([f"u{at}" for at in range(1_000)], 1_000, "base") == ("base", 1.0)


def test_no_units_need_no_balance() -> None:
    assert balanced_salt([], 1_000, "base") == ("base", 1.0)


def test_the_probability_of_a_balanced_salt_is_how_often_a_salt_is_balanced() -> None:
    names = [f"session-{at}" for at in range(40)]
    _, probability = balanced_salt(names, 1_000, "x")
    counts = [sum(bucket(name, f"salt-{at}") < 1_000 for name in names) for at in range(2_000)]
    assert sum(3 <= count <= 5 for count in counts) / 2_000 == pytest.approx(probability, abs=0.04)


# -- counters ----------------


def record(
    unit: str, number: int = 1, outcome: Outcome = Outcome.OK, time_s: float = 100.0, ms: float = 10.0
) -> CallRecord:
    return CallRecord(VersionKey(HELLO, number), Arm.STABLE, unit, True, "echo", outcome, ms / 1000, time_s, 1)


def test_units_are_counted_once_and_forgotten_after_the_window() -> None:
    counter = ServiceCounter(HELLO, window_s=600.0)
    for time_s in (0.0, 100.0, 200.0):
        counter.add(record("a", time_s=time_s))
    counter.add(record("b", time_s=700.0))
    counter.forget_old(750.0)
    assert set(counter.frozen(None, 750.0).units) == {"a", "b"}
    counter.forget_old(900.0)
    assert counter.frozen(None, 900.0).units == ("b",)


def test_the_units_that_are_remembered_are_limited() -> None:
    counter = ServiceCounter(HELLO, window_s=600.0)
    for at in range(UNITS_MAX + 10):
        counter.add(record(f"u{at}"))
    assert len(counter.frozen(None, 100.0).units) == UNITS_MAX


def test_latencies_and_failures_are_counted_by_version() -> None:
    counter = ServiceCounter(HELLO, window_s=600.0)
    for ms in range(1, 101):
        counter.add(record("a", 1, ms=float(ms)))
    counter.add(record("a", 2, Outcome.TOOL_ERROR))
    counter.add(record("a", 2, Outcome.INVALID_PARAMS))
    traffic = counter.frozen(None, 100.0).versions
    assert traffic[VersionKey(HELLO, 1)].p50_ms == pytest.approx(50.0, abs=1)
    assert traffic[VersionKey(HELLO, 1)].p95_ms == pytest.approx(95.0, abs=1)
    second = traffic[VersionKey(HELLO, 2)]
    assert (second.calls, second.failures, second.tool_errors) == (2, 1, 1)


def test_the_past_of_a_trial_is_that_of_the_version_before() -> None:
    counter = ServiceCounter(HELLO, window_s=600.0)
    for at in range(40):
        counter.add(record("a", 1, Outcome.TIMEOUT if at < 2 else Outcome.OK))
        counter.add(record("b", 2, Outcome.CRASH))
    past = counter.past(VersionKey(HELLO, 1), 1.5)
    assert (past.units, past.calls_per_unit, past.calls, past.failures, past.hard_failures) == (2, 40.0, 40, 2, 2)
    assert (past.usual, past.timed) == ((), 0)
