"""When a scan is due: after quiet, but not later than the limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.watcher.debounce import Debouncer


def debouncer() -> Debouncer:
    return Debouncer(quiet_s=0.075, longest_s=0.5)


def test_one_hint_is_due_after_the_quiet_time() -> None:
    waiting = debouncer()
    waiting.hint("a", 10.0)
    assert waiting.next_at() == pytest.approx(10.075)
    assert waiting.take_due(10.07) == []
    assert waiting.take_due(10.08) == ["a"]
    assert waiting.next_at() is None


def test_a_later_hint_begins_the_quiet_time_again() -> None:
    waiting = debouncer()
    waiting.hint("a", 10.0)
    waiting.hint("a", 10.05)
    assert waiting.next_at() == pytest.approx(10.125)


def test_endless_hints_are_due_at_the_limit() -> None:
    waiting = debouncer()
    for step in range(100):
        waiting.hint("a", 10.0 + step * 0.05)
    assert waiting.next_at() == pytest.approx(10.5)


def test_services_do_not_delay_each_other() -> None:
    waiting = debouncer()
    waiting.hint("a", 10.0)
    waiting.hint("b", 10.05)
    assert waiting.take_due(10.08) == ["a"]
    assert waiting.take_due(10.2) == ["b"]


def test_a_deferred_key_is_due_when_it_was_told() -> None:
    waiting = debouncer()
    waiting.defer("a", 10.0, 0.3)
    assert waiting.next_at() == pytest.approx(10.3)


def test_a_forgotten_key_is_never_due() -> None:
    waiting = debouncer()
    waiting.hint("a", 10.0)
    waiting.forget("a")
    assert waiting.next_at() is None


@given(st.lists(st.floats(0.0, 0.4), min_size=1, max_size=30))
def test_a_key_is_due_between_the_quiet_time_and_the_limit_after_its_first_hint(gaps: list[float]) -> None:
    waiting, now_s = debouncer(), 0.0
    waiting.hint("a", 0.0)
    for gap in gaps:
        now_s += gap
        waiting.hint("a", now_s)
    due_at = waiting.next_at()
    assert due_at is not None
    assert due_at <= 0.5 + 1e-9
    assert due_at >= min(now_s + 0.075, 0.5) - 1e-9
