"""The rules of supervision, as functions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.kernel import KILLED, NORMAL, SHUTDOWN, Backoff, ChildSpec, LoopActor, RestartType
from henslowe.supervisors.policy import (
    AutoShutdown,
    Intensity,
    Strategy,
    Streak,
    delay_s,
    ends_supervisor,
    is_expected_stop,
    restart_group,
    restarts_after,
)

seconds = st.floats(0, 1000, allow_nan=False)


def spec(**changes):
    return ChildSpec(**({"id": "c", "actor": LoopActor} | changes))


@pytest.mark.parametrize(
    ("restart", "clean", "crash"),
    [(RestartType.PERMANENT, True, True), (RestartType.TRANSIENT, False, True), (RestartType.TEMPORARY, False, False)],
)
def test_restart_types_decide_by_the_reason(restart, clean, crash):
    for reason in (NORMAL, SHUTDOWN, (SHUTDOWN, "detail")):
        assert restarts_after(restart, reason) is clean
    for reason in (ValueError("x"), "odd", KILLED, ("odd", SHUTDOWN), None, ()):
        assert restarts_after(restart, reason) is crash


@given(st.lists(st.integers(0, 99), min_size=1, max_size=8, unique=True), st.data())
def test_groups_are_one_all_or_the_rest_in_start_order(numbers, data):
    ids = [str(number) for number in numbers]
    failed = data.draw(st.sampled_from(ids))
    assert restart_group(Strategy.ONE_FOR_ONE, ids, failed) == (failed,)
    assert restart_group(Strategy.ONE_FOR_ALL, ids, failed) == tuple(ids)
    rest = restart_group(Strategy.REST_FOR_ONE, ids, failed)
    assert rest[0] == failed
    assert [*ids[: ids.index(failed)], *rest] == ids


@given(st.integers(0, 5), st.floats(0.01, 60), st.lists(seconds, max_size=30))
def test_intensity_is_exceeded_exactly_when_more_than_max_restarts_lie_in_the_window(max_restarts, window, times):
    intensity = Intensity(max_restarts, window)
    for n, now in enumerate(sorted(times)):
        exceeded = intensity.add(now)
        in_window = [t for t in sorted(times)[: n + 1] if t >= now - window]
        assert exceeded is (len(in_window) > max_restarts)
        assert list(intensity.entries) == in_window[-max_restarts - 1 :]


@given(st.integers(0, 20), st.floats(0.1, 60))
def test_crashes_further_apart_than_the_window_never_exceed_unless_none_is_tolerated(max_restarts, window):
    intensity = Intensity(max_restarts, window)
    for n in range(30):
        assert intensity.add(n * window * 1.001) is (max_restarts == 0)


@pytest.mark.parametrize(("second", "exceeded"), [(15.0, True), (15.000001, False)])
def test_an_entry_as_old_as_the_window_still_counts(second, exceeded):
    intensity = Intensity(1, 5.0)
    assert not intensity.add(10.0)
    assert intensity.add(second) is exceeded


def test_fractions_of_a_second_count():
    intensity = Intensity(1, 0.5)
    assert [intensity.add(now) for now in (10.0, 10.6, 10.9)] == [False, False, True]


@pytest.mark.parametrize(("max_restarts", "max_seconds"), [(-1, 5), (3, 0), (3, -1), (3, math.nan)])
def test_an_impossible_intensity_is_refused(max_restarts, max_seconds):
    with pytest.raises(ValueError, match="expected max_restarts"):
        Intensity(max_restarts, max_seconds)


def test_significant_children_end_the_supervisor_as_configured():
    ended = spec(significant=True, restart=RestartType.TRANSIENT)
    other, plain = ended, spec()
    assert not ends_supervisor(AutoShutdown.NEVER, ended, [])
    assert ends_supervisor(AutoShutdown.ANY_SIGNIFICANT, ended, [other])
    assert not ends_supervisor(AutoShutdown.ALL_SIGNIFICANT, ended, [other, plain])
    assert ends_supervisor(AutoShutdown.ALL_SIGNIFICANT, ended, [plain])
    assert not ends_supervisor(AutoShutdown.ANY_SIGNIFICANT, plain, [])


@pytest.mark.parametrize(
    ("reason", "changes", "expected"),
    [
        (SHUTDOWN, {}, True),
        (KILLED, {"shutdown_s": 0}, True),
        (KILLED, {"shutdown_s": 5}, False),
        (NORMAL, {"restart": RestartType.TRANSIENT}, True),
        (NORMAL, {}, False),
        ((SHUTDOWN, 1), {"restart": RestartType.TEMPORARY}, True),
        (ValueError("x"), {"restart": RestartType.TRANSIENT}, False),
    ],
)
def test_a_stop_is_reported_unless_it_went_as_asked(reason, changes, expected):
    assert is_expected_stop(spec(**changes), reason) is expected


@given(st.floats(0, 10), st.floats(1, 5), st.floats(0, 100), st.integers(0, 5000))
def test_delays_grow_by_the_factor_up_to_the_limit(first_s, factor, more_s, failures):
    backoff = Backoff(first_s, factor, first_s + more_s, 60)
    delay = delay_s(backoff, failures)
    assert first_s <= delay <= backoff.max_s
    assert delay_s(backoff, failures + 1) >= delay
    assert delay_s(backoff, 0) == first_s


def test_a_streak_starts_over_after_a_long_life():
    backoff = Backoff(first_s=1, factor=2, max_s=10, reset_after_s=60)
    streak, delays = Streak(), []
    now = 0.0
    for life_s in (1, 1, 59, 1, 1, 60, 1):
        streak, delay = streak.started(now).failed(backoff, now + life_s)
        now += life_s + delay
        delays.append(delay)
    assert delays == [1, 2, 4, 8, 10, 1, 2]


def test_failed_starts_lengthen_the_streak():
    backoff = Backoff(first_s=1, factor=2, max_s=100, reset_after_s=5)
    streak, delays = Streak().started(0.0), []
    for now in (1.0, 100.0, 200.0):  # it crashed at 1, and never came up again
        streak, delay = streak.failed(backoff, now)
        delays.append(delay)
    assert delays == [1, 2, 4]


@pytest.mark.parametrize(
    "changes", [{"shutdown_s": -1}, {"shutdown_s": math.nan}, {"significant": True}], ids=["negative", "nan", "always"]
)
def test_an_impossible_child_spec_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        spec(**changes)


@pytest.mark.parametrize(
    "changes", [{"first_s": -1}, {"first_s": 9, "max_s": 1}, {"factor": 0.5}, {"reset_after_s": -1}]
)
def test_an_impossible_backoff_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        Backoff(**changes)
