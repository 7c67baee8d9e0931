"""Freeze windows: when they are, in any zone and across the change of clocks."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from henslowe.config.freeze import Freeze, Window, window_at

BERLIN = "Europe/Berlin"
WEEKEND = Window(start="fri 16:00", end="mon 08:00", zone=BERLIN, why="weekend")


def at(text: str, zone: str = BERLIN) -> float:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("2026-11-20 15:59", False),  # a Friday
        ("2026-11-20 16:00", True),
        ("2026-11-22 12:00", True),
        ("2026-11-23 07:59:59", True),
        ("2026-11-23 08:00", False),
        ("2026-11-25 12:00", False),
    ],
)
def test_a_weekly_window_is_open_from_its_start_up_to_its_end(now: str, inside: bool) -> None:
    assert WEEKEND.end_s(at(now)) == (at("2026-11-23 08:00") if inside else None)


def test_a_window_follows_the_clock_on_the_wall_when_that_is_put_back_or_forward() -> None:
    assert WEEKEND.end_s(at("2026-10-24 12:00")) == at("2026-10-26 08:00")  # one hour more in between
    assert WEEKEND.end_s(at("2026-03-28 12:00")) == at("2026-03-30 08:00")


def test_in_the_hour_that_comes_twice_a_window_ends_later_than_now() -> None:
    window = Window(start="22:00", end="02:30", zone=BERLIN)
    second_time = dt.datetime(2026, 10, 25, 2, 15, tzinfo=ZoneInfo(BERLIN), fold=1).timestamp()
    assert window.end_s(second_time) == second_time + 15 * 60


def test_a_window_in_another_zone_is_another_time() -> None:
    tokyo = Window(start="fri 16:00", end="mon 08:00", zone="Asia/Tokyo")
    assert tokyo.end_s(at("2026-11-20 16:00", "Asia/Tokyo")) is not None
    assert tokyo.end_s(at("2026-11-20 16:00", "Asia/Tokyo") - 1) is None


def test_a_daily_window_may_go_over_midnight() -> None:
    night = Window(start="22:00", end="6:00")
    assert night.end_s(at("2026-11-20 23:30", "UTC")) == at("2026-11-21 06:00", "UTC")
    assert night.end_s(at("2026-11-21 05:59", "UTC")) == at("2026-11-21 06:00", "UTC")
    assert night.end_s(at("2026-11-21 06:00", "UTC")) is None


def test_a_window_may_come_once() -> None:
    holidays = Window(start="2026-12-19", end="2027-01-04 08:00", zone=BERLIN)
    assert holidays.end_s(at("2026-12-18 23:59")) is None
    assert holidays.end_s(at("2026-12-24 18:00")) == at("2027-01-04 08:00")
    assert holidays.end_s(at("2027-12-24 18:00")) is None


def test_of_several_windows_the_one_that_ends_last_counts() -> None:
    night = Window(start="22:00", end="06:00", zone=BERLIN)
    found = window_at((night, WEEKEND), at("2026-11-21 23:00"))
    assert found == (WEEKEND, at("2026-11-23 08:00"))
    assert window_at((night, WEEKEND), at("2026-11-25 12:00")) is None


@given(now_s=st.floats(1.7e9, 2e9), start=st.integers(0, 7 * 24 - 1), hours=st.integers(1, 7 * 24 - 1))
def test_a_window_that_is_open_ends_later_and_not_after_its_length(now_s: float, start: int, hours: int) -> None:
    days = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

    def written(hour: int) -> str:
        return f"{days[hour // 24 % 7]} {hour % 24:02}:00"

    window = Window(start=written(start), end=written(start + hours), zone=BERLIN)
    end_s = window.end_s(now_s)
    if end_s is not None:
        assert now_s < end_s <= now_s + (hours + 1) * 3600  # one more where the clock is put back
        assert window.end_s(end_s) is None


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"start": "fri", "end": "mon 08:00"}, "expected a time such as 'fri 16:00'"),
        ({"start": "25:00", "end": "mon 08:00"}, "got '25:00'"),
        ({"start": "fri 16:00", "end": "08:00"}, "expected start and end in one form"),
        ({"start": "22:00", "end": "22:00"}, "expected an end after the start"),
        ({"start": "2027-01-01", "end": "2026-01-01"}, "expected an end after the start"),
        ({"start": "22:00", "end": "06:00", "zone": "Europe/Nowhere"}, "expected a time zone such as Europe/Berlin"),
        ({"start": "22:00", "end": "06:00", "zone": "../etc"}, "expected a time zone"),
        ({"start": "22:00", "end": "06:00", "zone": "Europe"}, "expected a time zone"),
    ],
)
def test_what_is_no_window_is_refused_in_words(window: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Freeze.model_validate({"windows": [window]})
