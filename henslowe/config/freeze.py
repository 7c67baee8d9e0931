"""When nothing new is deployed: `[freeze]` of `henslowe.toml` for all services, of `service.toml` for one.

    [[freeze.windows]]
    start = "fri 16:00"              # every week
    end = "mon 08:00"
    zone = "Europe/Berlin"
    why = "weekend"

    [[freeze.windows]]
    start = "2026-12-19"             # once; a date alone is its first moment
    end = "2027-01-04"

    [[freeze.windows]]
    start = "22:00"                  # every day
    end = "06:00"

Times are those of the clock on the wall in the window's zone, also when that is put forward or back. Pure; who obeys
them is `henslowe.actors.versions`.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, model_validator

from henslowe.config.section import Section

WINDOWS_MAX: Final = 50
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_MINUTES: Final = 24 * 60
_CLOCK: Final = re.compile(r"(?:(mon|tue|wed|thu|fri|sat|sun) )?([01]?[0-9]|2[0-3]):([0-5][0-9])")


class Every(Enum):
    """How often a window comes."""

    DAY = _MINUTES
    WEEK = 7 * _MINUTES
    ONCE = 0


@dataclass(slots=True, frozen=True)
class Moment:
    """A time as it is written."""

    every: Every
    minute: int = 0
    """Since midnight, or since Monday's."""
    once: dt.datetime | None = None
    """On the wall of the zone."""


def moment_of(text: str) -> Moment:
    """The time that a text means.

    Raises:
        ValueError: It means none.
    """
    clock = _CLOCK.fullmatch(text.strip().lower())
    if clock is not None:
        minute = 60 * int(clock[2]) + int(clock[3])
        if clock[1] is None:
            return Moment(Every.DAY, minute)
        return Moment(Every.WEEK, DAYS.index(clock[1]) * _MINUTES + minute)
    try:
        once = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        once = None
    if once is None or once.tzinfo is not None:
        raise ValueError(f"expected a time such as 'fri 16:00', '22:00' or '2026-12-19 18:00', got {text!r:.80}")
    return Moment(Every.ONCE, once=once)


def _understood(text: str) -> str:
    moment_of(text)
    return text


def _known(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"expected a time zone such as Europe/Berlin, got {zone!r:.80}") from error
    return zone


Time = Annotated[str, AfterValidator(_understood)]


class Window(Section):
    """A time in which what is built waits. Going back works."""

    start: Time
    """`fri 16:00` every week, `22:00` every day, `2026-12-19` or `2026-12-19 18:00` once."""
    end: Time
    """In the same form; up to this moment, without it."""
    zone: Annotated[str, AfterValidator(_known)] = "UTC"
    """Time zone, as `Europe/Berlin`."""
    why: Annotated[str, Field(max_length=200)] = ""
    """For people."""

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        start, end = moment_of(self.start), moment_of(self.end)
        if start.every is not end.every:
            raise ValueError(f"expected start and end in one form, got {self.start!r} and {self.end!r}")
        if start == end or (start.once is not None and end.once is not None and end.once <= start.once):
            raise ValueError(f"expected an end after the start, got {self.start!r} and {self.end!r}")
        return self

    def end_s(self, now_s: float) -> float | None:
        """Unix time at which this window ends; None when now is not in it."""
        zone, start, end = ZoneInfo(self.zone), moment_of(self.start), moment_of(self.end)
        if start.once is not None and end.once is not None:
            inside = start.once.replace(tzinfo=zone).timestamp() <= now_s < end.once.replace(tzinfo=zone).timestamp()
            return end.once.replace(tzinfo=zone).timestamp() if inside else None
        wall = dt.datetime.fromtimestamp(now_s, zone).replace(tzinfo=None)
        period = start.every.value
        minute = 60 * wall.hour + wall.minute + (wall.weekday() * _MINUTES if start.every is Every.WEEK else 0)
        if (minute - start.minute) % period >= (end.minute - start.minute) % period:
            return None
        left = dt.timedelta(minutes=(end.minute - minute) % period)
        end_wall = (wall.replace(second=0, microsecond=0) + left).replace(tzinfo=zone)
        end_s = end_wall.timestamp()
        # In the night in which an hour comes twice, the second one.
        return end_s if end_s > now_s else end_wall.replace(fold=1).timestamp()


class Freeze(Section):
    """When nothing new is deployed."""

    windows: Annotated[tuple[Window, ...], Field(max_length=WINDOWS_MAX)] = ()


def window_at(windows: tuple[Window, ...], now_s: float) -> tuple[Window, float] | None:
    """The window that now is in and ends last, with that time; None when now is in none."""
    found = [(window, end_s) for window in windows if (end_s := window.end_s(now_s)) is not None]
    return max(found, key=lambda each: each[1], default=None)
