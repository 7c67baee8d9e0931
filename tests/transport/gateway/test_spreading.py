"""Which instance of a version a call goes to: pure, over a directory and a board."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from henslowe.actors.endpoints import EndpointDirectory, EndpointState, Era
from henslowe.actors.health import BreakerPolicy, HealthBoard, HealthPolicy, LimiterPolicy
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.routes import Outcome
from henslowe.transport.gateway import spreading
from henslowe.transport.gateway.spreading import Absence, Spreading, Why
from henslowe.transport.gateway.sticky import Unit

ONE = VersionKey(ServiceName("hello"), 1)
ANYBODY = Unit("c:somebody", is_session=False)


class Facts:
    def __init__(self, era: Era) -> None:
        self.era = era


class Handle:
    """As much of an endpoint as is looked at."""

    def __init__(self, name: str, in_flight: int = 0, era: Era = Era.LEGACY) -> None:
        self.version, self.instance, self.in_flight = ONE, f"hello@1#{name}", in_flight
        self.facts, self.state = Facts(era), EndpointState.READY


class Bench:
    """Some instances, and where calls go."""

    def __init__(self, *handles: Handle) -> None:
        self.now_s = 0.0
        self.directory = EndpointDirectory()
        policy = HealthPolicy(BreakerPolicy(failures=1, open_s=5.0), limiter=LimiterPolicy(start=4, least=4))
        self.health = HealthBoard(self.directory, policy, now_s=lambda: self.now_s)
        self.spreading = Spreading(self.directory, self.health)
        for handle in handles:
            self.directory.add(handle)  # type: ignore[arg-type]

    def pick(self, unit: Unit = ANYBODY) -> str:
        found = self.spreading.pick(ONE, unit)
        return found.why.value if isinstance(found, Absence) else str(found.instance).partition("#")[2]

    def fail(self, handle: Any) -> None:
        self.health.ended(self.health.began(handle), Outcome.CRASH)


def session(name: str) -> Unit:
    return Unit(f"s:{name}", is_session=True)


def test_the_instance_with_the_least_in_flight_is_called() -> None:
    a, b, c = Handle("a", 3), Handle("b", 1), Handle("c", 2)
    bench = Bench(a, b, c)
    assert bench.pick() == "b"
    b.in_flight = 9
    assert bench.pick() == "c"


def test_one_that_does_not_answer_is_left_alone_and_tried_when_there_is_no_other() -> None:
    a, b = Handle("a"), Handle("b", 2)
    bench = Bench(a, b)
    bench.fail(a)
    assert bench.pick() == "b"
    bench.fail(b)
    found = bench.spreading.pick(ONE, ANYBODY)
    assert found == Absence(ONE, Why.OPEN, 5.0)
    bench.now_s = 5.0
    assert bench.pick() == "a"


def test_full_ones_are_waited_for_rather_than_those_that_do_not_answer() -> None:
    a, b = Handle("a", 4), Handle("b")
    bench = Bench(a, b)
    for handle in (a, b):
        bench.health.ended(bench.health.began(handle), Outcome.OK)  # type: ignore[arg-type]
    bench.fail(b)
    bench.now_s = 60.0
    assert bench.pick() == "full"


@pytest.mark.parametrize("count", [1, 2])
def test_one_that_is_on_its_way_out_is_not_called(count: int) -> None:
    handles = [Handle(str(at)) for at in range(count)]
    for handle in handles:
        handle.state = EndpointState.DRAINING
    assert Bench(*handles).pick() == "down"
    assert Bench().pick() == "down"


def test_a_session_stays_with_its_instance_whatever_that_has_to_do() -> None:
    a, b = Handle("a"), Handle("b", 1)
    bench = Bench(a, b)
    assert bench.pick(session("x")) == "a"
    a.in_flight = 3
    assert (bench.pick(session("x")), bench.pick(session("y")), bench.pick()) == ("a", "b", "b")
    bench.health.ended(bench.health.began(a), Outcome.OK)  # type: ignore[arg-type]
    a.in_flight = 4
    assert bench.pick(session("x")) == "full"


def test_sessions_are_spread_evenly_where_nobody_is_busy() -> None:
    bench = Bench(*(Handle(name) for name in "abc"))
    homes = Counter(bench.pick(session(str(at))) for at in range(30))
    assert homes == {"a": 10, "b": 10, "c": 10}
    assert bench.spreading.sessions_at(bench.directory.of(ONE)[0].instance) == 10


def test_a_session_whose_instance_is_gone_finds_another_and_stays_there() -> None:
    a, b, c = Handle("a"), Handle("b"), Handle("c")
    bench = Bench(a, b, c)
    assert bench.pick(session("x")) == "a"
    bench.directory.remove(a)  # type: ignore[arg-type]
    home = bench.pick(session("x"))
    (other,) = {"b", "c"} - {home}
    {"b": b, "c": c}[home].in_flight = 2
    assert bench.pick(session("x")) == home != other
    assert bench.spreading.sessions_at(a.instance) == 0  # type: ignore[arg-type]


def test_a_stateless_server_keeps_no_session() -> None:
    a, b = Handle("a", era=Era.MODERN), Handle("b", 1, era=Era.MODERN)
    bench = Bench(a, b)
    assert bench.pick(session("x")) == "a"
    a.in_flight = 3
    assert bench.pick(session("x")) == "b"


def test_homes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spreading, "HOMES_MAX", 5)
    bench = Bench(Handle("a"), Handle("b"))
    for at in range(20):
        bench.pick(session(str(at)))
    assert sum(bench.spreading.sessions_at(each.instance) for each in bench.directory.of(ONE)) == 5
