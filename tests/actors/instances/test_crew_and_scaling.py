"""Who serves, how many there should be, and what that takes: without processes, with the time passed in."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from henslowe.actors.endpoints import Contract, EndpointDirectory
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.instances import Crew, Duty, Member
from henslowe.actors.instances.planning import Plan, plan
from henslowe.actors.instances.scaling import PAUSE_FIRST_S, QUIET_S, Load, Replacements, Scaling
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import EnsureInstance, InstanceUp
from henslowe.config.upkeep import ScaleSettings

ONE = VersionKey(ServiceName("hello"), 1)


class Handle:
    """As much of an endpoint as a crew looks at."""

    def __init__(self, instance: str, in_flight: int = 0) -> None:
        self.version, self.instance, self.in_flight = ONE, instance, in_flight
        self.told: list[Any] = []

    def woken(self, endpoint: Any) -> None:
        self.told.append(endpoint)

    def failed(self, reason: str) -> None:
        self.told.append(reason)


def crew_of(serving: int, standby: int = 0) -> Crew:
    return Crew(
        EnsureInstance(ONE, LaunchSpec(command=("x",)), None),
        EndpointDirectory(),
        itertools.count(1),
        serving=serving,
        standby=standby,
    )


def join(crew: Crew, slot: int | None = None, in_flight: int = 0) -> Member:
    member = crew.enter(slot or crew.free_slot())
    crew.ready(member, Handle(member.instance, in_flight), InstanceUp(ONE, member.instance, Contract(), "modern", 0.1))  # type: ignore[arg-type]
    return member


def serving(crew: Crew) -> list[str]:
    return [str(endpoint.instance).partition("#")[2] for endpoint in crew.directory.of(ONE)]


def test_a_version_is_up_once_as_many_serve_as_it_begins_with() -> None:
    crew = crew_of(2)
    join(crew)
    assert not crew.ready_once
    join(crew)
    assert crew.ready_once
    assert serving(crew) == ["1", "2"]


def test_where_one_is_lost_there_is_no_moment_with_fewer_in_the_directory() -> None:
    crew = crew_of(1, standby=1)
    first, _ = join(crew), join(crew)
    assert serving(crew) == ["1"]
    seen: list[int] = []
    crew.directory.on_change(lambda version: seen.append(len(crew.directory.of(version))))
    (successor,) = crew.leave(first)
    assert seen == [2, 1]
    assert (successor.slot, serving(crew)) == (2, ["2"])
    again = join(crew, 1)
    assert (again.duty, again.instance) == (Duty.STANDBY, "hello@1#3")
    assert crew.leave(successor, Duty.DRAINING) == [again]
    assert crew.leave(successor, Duty.DRAINING) == []


def test_one_that_is_started_again_before_it_said_that_it_was_lost_is_out_of_the_directory() -> None:
    crew = crew_of(1)
    join(crew)
    crew.enter(1)
    assert serving(crew) == []


def test_sleep_puts_what_wakes_it_into_the_directory_and_the_first_that_is_up_takes_its_place() -> None:
    crew, dormant = crew_of(1), Handle("asleep")
    member = join(crew)
    crew.sleep(dormant)  # type: ignore[arg-type]
    assert crew.directory.of(ONE) == (member.endpoint, dormant)
    crew.leave(member, Duty.DRAINING)
    assert crew.directory.of(ONE) == (dormant,)
    late = join(crew)  # asked for before it was put to sleep
    assert late.duty is Duty.STANDBY
    assert crew.directory.of(ONE) == (dormant,)
    crew.want(1, 0)
    assert crew.directory.of(ONE) == (late.endpoint,)
    assert dormant.told == [late.endpoint]
    assert crew.dormant is None


def test_a_crew_as_wanted_has_nothing_to_do() -> None:
    crew = crew_of(2, standby=1)
    assert plan(crew) == Plan(start=3)
    for _ in range(3):
        join(crew)
    assert plan(crew) == Plan()


def test_who_does_least_goes_first_and_who_holds_sessions_last() -> None:
    crew = crew_of(3)
    for in_flight in (0, 5, 2):
        join(crew, in_flight=in_flight)
    crew.enter(4)
    crew.serving = 1
    sessions = {"hello@1#1": 9, "hello@1#3": 1}
    assert plan(crew, lambda instance: sessions.get(instance, 0)).release == (4, 2, 3)
    crew.serving = 3
    assert plan(crew).release == (4,)


def test_one_that_is_to_be_replaced_stays_until_its_successor_is_up() -> None:
    crew = crew_of(1)
    old = join(crew)
    old.retiring = "too big"
    assert plan(crew) == Plan(start=1)
    crew.enter(2)
    assert plan(crew) == Plan()
    new = join(crew, 2)
    assert (new.duty, plan(crew)) == (Duty.STANDBY, Plan(release=(1,)))
    crew.leave(old, Duty.DRAINING)
    assert serving(crew) == ["3"]
    assert plan(crew) == Plan()


# -- how many ----------------

SCALE = ScaleSettings(min=1, max=6, target_queue=4.0, down_s=60.0)


def run(scaling: Scaling, instances: int, calls: list[int], start_s: float = 0.0) -> list[int]:
    """What is wanted at each look, half a second apart, where each wish is fulfilled at once."""
    wanted = []
    for at, each in enumerate(calls):
        instances = scaling.wanted(Load(instances, each), start_s + at / 2)
        wanted.append(instances)
    return wanted


def test_a_load_that_lasts_two_looks_gets_all_the_instances_that_it_needs_at_once() -> None:
    assert run(Scaling(SCALE), 1, [20, 20, 20]) == [1, 5, 5]
    assert run(Scaling(SCALE), 1, [1_000, 1_000]) == [1, 6]


def test_a_single_moment_of_load_starts_nothing() -> None:
    assert run(Scaling(SCALE), 1, [0, 20, 0, 20, 0, 20, 0]) == [1] * 7


def test_it_goes_down_one_at_a_time_and_only_after_a_while() -> None:
    wanted = run(Scaling(SCALE), 1, [24, 24] + [0] * 400)
    assert wanted[1] == 6
    first = wanted.index(5)
    assert first / 2 >= SCALE.down_s
    changes = [at / 2 for at in range(1, len(wanted)) if wanted[at] != wanted[at - 1]][1:]
    assert all(after - before >= SCALE.down_s / 4 for before, after in itertools.pairwise(changes))
    assert wanted[-1] == 1
    assert {before - after for before, after in itertools.pairwise(wanted[2:])} <= {0, 1}


def test_a_load_that_swings_around_a_boundary_changes_nothing() -> None:
    wanted = run(Scaling(SCALE), 1, [8, 9] * 20 + [8, 9, 7, 8] * 200)
    assert set(wanted[100:]) == {wanted[100]}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_load_it_stays_within_its_bounds(seed: int) -> None:
    draw, scale = random.Random(seed), ScaleSettings(min=2, max=5, target_queue=3.0, down_s=10.0)
    wanted = run(Scaling(scale), 1, [draw.choice((0, 1, 5, 50, 500)) for _ in range(500)])
    assert set(wanted) <= {2, 3, 4, 5}


def test_a_limit_that_no_instance_can_keep_does_not_replace_without_end() -> None:
    replacements = Replacements()
    done_s = [now_s for now_s in range(0, 3_600, 5) if replacements.may(float(now_s))]
    assert done_s[:4] == [0, PAUSE_FIRST_S, 3 * PAUSE_FIRST_S, 7 * PAUSE_FIRST_S]
    assert len(done_s) < 12
    assert replacements.may(done_s[-1] + QUIET_S)
    assert not replacements.may(done_s[-1] + QUIET_S + 5)
