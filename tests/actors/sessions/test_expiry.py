"""Which sessions go: pure."""

from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.sessions.expiry import CROWDED_IDLE_S, crowded_out, expired

uses = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 10_000), max_size=20)


@given(uses, st.floats(0, 20_000), st.floats(60, 5_000))
def test_exactly_the_sessions_idle_for_long_enough_expire_oldest_first(
    last_seen_s: dict[str, float], now_s: float, idle_s: float
) -> None:
    gone = expired(last_seen_s, now_s=now_s, idle_s=idle_s)
    assert set(gone) == {name for name, seen_s in last_seen_s.items() if now_s - seen_s >= idle_s}
    assert [last_seen_s[name] for name in gone] == sorted(last_seen_s[name] for name in gone)


@given(uses, st.integers(1, 25))
def test_the_ones_idle_longest_make_room_and_no_more_than_needed(
    last_seen_s: dict[str, float], sessions_max: int
) -> None:
    now_s = 10_000 + CROWDED_IDLE_S
    gone = crowded_out(last_seen_s, now_s=now_s, sessions_max=sessions_max)
    assert gone is not None
    assert len(last_seen_s) - len(gone) + 1 <= max(sessions_max, 1)
    assert len(gone) == max(0, len(last_seen_s) + 1 - sessions_max)
    stay = set(last_seen_s) - set(gone)
    assert not gone or not stay or max(last_seen_s[n] for n in gone) <= min(last_seen_s[n] for n in stay)


def test_sessions_in_use_are_not_closed_for_another() -> None:
    assert crowded_out({"a": 0.0, "b": 50.0}, now_s=100.0, sessions_max=2) == ["a"]
    assert crowded_out({"a": 41.0, "b": 50.0}, now_s=100.0, sessions_max=2) is None
