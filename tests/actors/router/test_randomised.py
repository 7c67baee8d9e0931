"""One stream of evidence: when a unit counts, how much it can say, and that nothing is promised twice."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.router.randomised import (
    LEVELS,
    LOG_WEIGHTS,
    SHARES_LONG,
    SHARES_SHORT,
    SPENT_MAX,
    RandomisedStream,
)
from henslowe.actors.router.units import LOG_RATIO_MAX, ODDS
from henslowe.actors.router.verdict import SHARE_ALL, SHARE_HARD, SHARE_SLOW, SHARE_TOOLS


def test_nothing_is_spent_twice_of_what_may_be_wrong() -> None:
    """Shares of alpha, and the weights of an average: more than one of either would break the promise."""
    assert sum(map(math.exp, LOG_WEIGHTS)) == pytest.approx(1.0)
    assert sum(SHARES_SHORT) == pytest.approx(1.0)
    assert sum(SHARES_LONG) == pytest.approx(1.0)
    assert sum((SHARE_ALL, SHARE_HARD, SHARE_SLOW, SHARE_TOOLS)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("oks", "failures", "levels"),
    [(1, 0, 1), (9, 0, 1), (10, 0, 2), (39, 0, 2), (40, 0, 3), (0, 1, 1), (0, 2, 2), (0, 3, 2), (0, 4, 3), (0, 8, 4)],
)
@pytest.mark.parametrize("new", [True, False])
def test_when_a_unit_counts_depends_on_its_calls_and_failures_and_not_on_its_arm(
    oks: int, failures: int, levels: int, new: bool
) -> None:
    stream = RandomisedStream(0.1)
    for at in range(oks + failures):
        stream.add("one", new=new, failed=at >= oks, time_s=0.0)
    assert stream.units["one"].level == levels
    assert [any(products) for products in stream.log_e] == [True] * levels + [False] * (len(LEVELS) - levels)


def test_what_a_first_call_says_follows_the_rate_that_was_learned_meanwhile() -> None:
    stream = RandomisedStream(0.1)
    for at in range(400):
        stream.add(f"u{at}", new=at % 10 == 0, failed=at % 3 == 0, time_s=0.0)
        unit = stream.units[f"u{at}"]
        known, unit.said = unit.said, None
        assert known == unit.log_factors()


def test_one_unit_that_fails_all_day_says_so_much_and_no_more() -> None:
    stream = RandomisedStream(0.1)
    for _ in range(LEVELS[-1].failures):
        stream.add("one", new=False, failed=True, time_s=0.0)
    least = -math.log(0.9 + 0.1 * math.exp(LOG_RATIO_MAX))
    assert min(map(min, stream.log_e)) == pytest.approx(least)


def test_a_unit_counts_once_at_each_level_and_never_again() -> None:
    stream = RandomisedStream(0.1)
    for _ in range(LEVELS[-1].calls):
        stream.add("one", new=True, failed=True, time_s=0.0)
    before = [list(products) for products in stream.log_e]
    for _ in range(500):
        stream.add("one", new=True, failed=True, time_s=0.0)
    assert stream.log_e == before
    assert not stream.units


def test_a_stateless_unit_is_counted_as_it_is_when_its_sticky_epoch_is_over() -> None:
    stream = RandomisedStream(0.1)
    stream.add("client:epoch-1", new=True, failed=False, time_s=100.0)
    stream.add("session", new=True, failed=False, time_s=math.inf)
    stream.close(before_s=400.0)
    assert list(stream.units) == ["session"]


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.floats(0.02, 0.98))
def test_the_expected_factor_of_a_unit_is_one_whatever_its_calls_do(outcomes: list[bool], share: float) -> None:
    """Over the coin: share times the factor on the new version plus the rest times the one on the old one."""
    expected = [[0.0] * len(row) for row in RandomisedStream(share).log_e]
    for new, weight in ((True, share), (False, 1 - share)):
        stream = RandomisedStream(share)
        for failed in outcomes:
            stream.add("u", new=new, failed=failed, time_s=0.0)
        stream.close(before_s=1.0)
        for level, products in enumerate(stream.log_e):
            for k, log_e in enumerate(products):
                expected[level][k] += weight * math.exp(log_e)
    assert [value for row in expected for value in row] == pytest.approx([1.0] * len(LEVELS) * len(ODDS))


def test_the_units_that_were_counted_last_are_remembered() -> None:
    stream = RandomisedStream(0.1)
    for at in range(3 * SPENT_MAX):
        stream.add(f"u{at}", new=False, failed=False, time_s=0.0)
        stream.close(before_s=1.0)
        assert len(stream._spent) < SPENT_MAX
        assert len(stream._spent_before) in (0, SPENT_MAX)
    before = list(stream.log_e)
    for at in range(2 * SPENT_MAX, 3 * SPENT_MAX):
        stream.add(f"u{at}", new=False, failed=False, time_s=0.0)
    assert not stream.units
    assert stream.log_e == before
