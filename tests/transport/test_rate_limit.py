from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.transport.rate_limit import RateLimiter


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_is_granted_and_the_next_request_is_told_how_long_to_wait() -> None:
    clock = Clock()
    limiter = RateLimiter(rate_per_s=2, burst=3, clock=clock)
    assert [limiter.take("a") for _ in range(3)] == [0, 0, 0]
    assert limiter.take("a") == pytest.approx(0.5)
    assert limiter.refused == 1


def test_a_client_that_waits_as_told_is_granted() -> None:
    clock = Clock()
    limiter = RateLimiter(rate_per_s=2, burst=1, clock=clock)
    limiter.take("a")
    clock.now_s += limiter.take("a")
    assert limiter.take("a") == 0


def test_clients_do_not_share_a_bucket() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, clock=Clock())
    assert limiter.take("a") == 0
    assert limiter.take("b") == 0
    assert limiter.take("a") > 0


def test_the_client_seen_longest_ago_is_forgotten_first() -> None:
    limiter = RateLimiter(rate_per_s=1, burst=1, clients_max=2, clock=Clock())
    limiter.take("a")
    limiter.take("b")
    limiter.take("a")
    limiter.take("c")
    assert len(limiter) == 2
    assert limiter.take("a") > 0, "a was seen after b and is still remembered as empty"


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        RateLimiter(rate_per_s=0)


@given(
    rate=st.floats(0.5, 50),
    burst=st.floats(1, 20),
    gaps=st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_no_client_ever_gets_more_than_burst_plus_rate_times_time(rate: float, burst: float, gaps: list[float]) -> None:
    clock = Clock()
    limiter = RateLimiter(rate_per_s=rate, burst=burst, clock=clock)
    granted = 0
    for gap in gaps:
        clock.now_s += gap
        granted += limiter.take("a") == 0
    assert granted <= burst + rate * sum(gaps) + 1e-6
