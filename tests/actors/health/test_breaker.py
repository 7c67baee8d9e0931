"""The breaker: what opens it, what closes it, and what may never happen."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from henslowe.actors.health import Breaker, BreakerPolicy, BreakerState

POLICY = BreakerPolicy(failures=3, failure_rate=0.5, window_s=10, calls_min=8, open_s=2.0, open_max_s=16.0, probes=2)
CLOSED, OPEN, HALF_OPEN = BreakerState


def called(breaker: Breaker, failed: bool | None, now_s: float = 0.0) -> None:
    assert breaker.allows(now_s)
    breaker.ended(breaker.began(now_s), failed, now_s)


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker(POLICY)
    for _ in range(POLICY.failures):
        called(breaker, True, now_s)
    return breaker


def test_failures_in_a_row_open_it_and_a_success_between_does_not_let_them() -> None:
    breaker = Breaker(POLICY)
    for failed in (True, True, False, True, True):
        called(breaker, failed)
    assert breaker.state is CLOSED
    called(breaker, True)
    assert breaker.state is OPEN
    assert not breaker.allows(1.9)


def test_too_great_a_share_of_the_window_opens_it_once_there_are_enough_calls() -> None:
    breaker = Breaker(POLICY)
    for failed in (True, False, True, False, True, False, False):
        called(breaker, failed, 1.0)
    assert breaker.state is CLOSED
    called(breaker, True, 2.0)
    assert breaker.state is OPEN


def test_old_failures_fade() -> None:
    breaker = Breaker(POLICY)
    for failed in (True, False) * 3:
        called(breaker, failed, 0.0)
    for failed in (False, True, False):
        called(breaker, failed, 11.0)
    assert breaker.state is CLOSED


def test_as_many_probes_as_it_lets_through_have_to_succeed() -> None:
    breaker = opened()
    assert breaker.allows(2.0)
    assert breaker.state is HALF_OPEN
    first, second = breaker.began(2.0), breaker.began(2.0)
    assert not breaker.allows(2.1)
    breaker.ended(first, False, 2.2)
    assert breaker.state is HALF_OPEN
    breaker.ended(second, False, 2.3)
    assert breaker.state is CLOSED


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_limit() -> None:
    breaker, now_s, lengths = opened(), 0.0, []
    for _ in range(5):
        lengths.append(breaker.until_s - now_s)
        now_s = breaker.until_s
        called(breaker, True, now_s)
    assert lengths == [2.0, 4.0, 8.0, 16.0, 16.0]


def test_it_is_as_quick_as_ever_after_a_quiet_time() -> None:
    breaker = opened()
    for _ in range(POLICY.probes):
        called(breaker, False, 2.0)
    for _ in range(POLICY.failures):
        called(breaker, True, 20.0)
    assert breaker.until_s - 20.0 == 2.0


def test_calls_from_before_it_opened_say_nothing_about_now() -> None:
    breaker = Breaker(POLICY)
    late = [breaker.began(0.0) for _ in range(5)]
    for _ in range(POLICY.failures):
        called(breaker, True)
    assert breaker.allows(2.0)
    for phase in late:
        breaker.ended(phase, False, 2.0)
    assert breaker.state is HALF_OPEN


def test_a_probe_that_hangs_or_was_given_up_does_not_keep_the_others_out() -> None:
    breaker = opened()
    assert breaker.allows(2.0)
    breaker.began(2.0)
    breaker.ended(breaker.began(2.0), None, 2.0)
    breaker.began(2.0)
    assert not breaker.allows(2.0)
    assert breaker.allows(2.0 + POLICY.open_max_s)


class AnyCalls(RuleBasedStateMachine):
    """Calls that begin and end in any order, at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(POLICY)
        self.now_s = 0.0
        self.open: list[int] = []

    @rule(passed_s=st.floats(0, 5))
    def time_passes(self, passed_s: float) -> None:
        self.now_s += passed_s

    @rule()
    def call(self) -> None:
        before = self.breaker.state
        if self.breaker.allows(self.now_s):
            self.open.append(self.breaker.began(self.now_s))
        else:
            assert before is not CLOSED

    @precondition(lambda self: self.open)
    @rule(data=st.data(), failed=st.sampled_from([True, False, None]))
    def end(self, data: st.DataObject, failed: bool | None) -> None:
        before = self.breaker.state
        phase = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.breaker.ended(phase, failed, self.now_s)
        if failed is not True:
            assert self.breaker.state is before or self.breaker.state is CLOSED

    @invariant()
    def what_is_open_ends(self) -> None:
        if self.breaker.state is OPEN:
            assert self.breaker.until_s <= self.now_s + POLICY.open_max_s

    @invariant()
    def a_closed_breaker_has_seen_few_failures(self) -> None:
        if self.breaker.state is CLOSED:
            assert self.breaker.in_a_row < POLICY.failures


TestAnyCalls = AnyCalls.TestCase


@given(st.lists(st.booleans(), max_size=40))
def test_without_a_failure_it_never_opens(gaps: list[bool]) -> None:
    breaker, now_s = Breaker(POLICY), 0.0
    for gap in gaps:
        now_s += 30.0 if gap else 0.01
        called(breaker, False, now_s)
    assert breaker.state is CLOSED
