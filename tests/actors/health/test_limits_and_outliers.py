"""Adaptive limits stay within their bounds; outliers are few, and worse than the others."""

from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.health import Limiter, LimiterPolicy, OutlierPolicy, Tally, outliers
from henslowe.actors.ids import InstanceId

BOUNDS = LimiterPolicy(start=10, least=2, most=20, decrease=0.5)
POLICY = OutlierPolicy(calls_min=10, points=30, ejected_percent_max=50)


def test_a_limit_that_is_felt_grows_by_one_after_as_many_answers_as_it_is() -> None:
    limiter = Limiter(BOUNDS)
    for _ in range(11):
        limiter.answered(10)
    assert limiter.limit == 11
    for _ in range(100):
        limiter.answered(1)
    assert limiter.limit == 11


def test_overload_takes_half_at_once_and_leaves_a_least() -> None:
    limiter = Limiter(BOUNDS)
    limits = []
    for _ in range(4):
        limiter.overloaded()
        limits.append(limiter.limit)
    assert limits == [5, 2, 2, 2]


@given(st.lists(st.one_of(st.none(), st.integers(0, 30)), max_size=200))
def test_a_limit_stays_within_its_bounds(steps: list[int | None]) -> None:
    limiter = Limiter(BOUNDS)
    for in_flight in steps:
        if in_flight is None:
            limiter.overloaded()
        else:
            limiter.answered(in_flight)
        assert BOUNDS.least <= limiter.limit <= BOUNDS.most


def tallies(*each: tuple[float, float]) -> dict[InstanceId, Tally]:
    return {InstanceId(f"i{number}"): Tally(calls, failures) for number, (calls, failures) in enumerate(each)}


def test_an_instance_that_fails_while_the_others_do_not_is_put_aside() -> None:
    assert outliers(tallies((20, 12), (20, 0), (20, 1)), POLICY) == ["i0"]


def test_nobody_is_put_aside_when_all_fail_alike_or_there_is_nobody_else() -> None:
    assert outliers(tallies((20, 18), (20, 17)), POLICY) == []
    assert outliers(tallies((20, 20)), POLICY) == []
    assert outliers(tallies((5, 5), (20, 0)), POLICY) == []


def test_what_is_aside_already_counts() -> None:
    known = tallies((20, 20), (20, 0), (20, 0)) | {InstanceId("gone"): Tally(20, 20, out=True)}
    assert outliers(known, POLICY) == ["i0"]
    assert outliers(known | {InstanceId("too"): Tally(20, 20, out=True)}, POLICY) == []


counts = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(lambda each: (max(each), min(each)))


@given(st.lists(counts, max_size=8))
def test_never_more_than_the_share_is_put_aside(each: list[tuple[int, int]]) -> None:
    known = tallies(*each)
    assert len(outliers(known, POLICY)) <= len(known) / 2
