"""The version machine and the replay of captured calls: when it comes first, and what becomes of its result."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, VersionKey
from henslowe.actors.messages import Action, Rehearsed, Resemblance, Strategy, VersionBuilt
from henslowe.actors.versions import Facts, Transition, transition
from henslowe.config.exposure import AbTest, Exposure, Mirror
from tests.actors.versions.life import HELLO, LAUNCH, Service


class Captured(Service):
    """A service of which calls were captured."""

    captured = True

    def do(self, message: Any) -> Transition:
        facts = Facts(self.now_s, self.units, frozenset(self.ready), self.policy, captured=self.captured)
        self.last = transition(self.state, message, facts)
        self.state = self.last.state
        return self.last

    def edit(self, source: str = "b", strategy: Strategy = Strategy.IMMEDIATE, **exposure: Any) -> int:
        """A version that is staged and up."""
        number = self.create(source, strategy, exposure=Exposure(**exposure))
        key = VersionKey(HELLO, number)
        self.do(VersionBuilt(key, BuildId(f"build-{source}"), "1.0.0", LAUNCH, Contract()))
        self.up(number)
        return number

    def found(self, number: int, found: Resemblance, against: int = 1) -> Transition:
        return self.do(Rehearsed(VersionKey(HELLO, number), against, found, "3 of 4 fail", {"calls": 4}))


@pytest.fixture
def hello() -> Captured:
    service = Captured()
    service.ship("a")
    return service


def test_a_first_version_has_nothing_to_be_compared_with(hello: Captured) -> None:
    assert hello.states() == {1: "ACTIVE"}


def test_a_staged_version_waits_for_the_replay_of_captured_calls(hello: Captured) -> None:
    hello.edit()
    assert hello.states() == {1: "ACTIVE", 2: "STAGED"}
    assert hello.effects() == ["rehearse:2"]
    assert hello.events() == ["REPLAY_START PENDING"]
    row = hello.state.versions[2]
    assert row.rehearsal is not None
    assert (row.rehearsal.against, row.rehearsal.short, row.rehearsal.found) == (1, True, "")


def test_there_is_more_time_before_a_canary(hello: Captured) -> None:
    hello.edit(strategy=Strategy.CANARY)
    assert hello.state.versions[2].rehearsal is not None
    assert not hello.state.versions[2].rehearsal.short


def test_without_captures_or_where_it_is_off_it_goes_on_as_ever(hello: Captured) -> None:
    hello.edit(replay="off")
    hello.captured = False
    hello.edit("c")
    assert hello.states() == {1: "ARCHIVED", 2: "ARCHIVED", 3: "ACTIVE"}
    assert all(row.rehearsal is None for row in hello.state.versions.values())


def test_an_active_version_that_is_down_cannot_be_compared_with(hello: Captured) -> None:
    hello.down(1)
    hello.edit()
    assert hello.row.active == 2


@pytest.mark.parametrize("found", [Resemblance.ALIKE, Resemblance.DIFFERS, Resemblance.UNKNOWN])
def test_a_version_that_does_not_fail_goes_live_and_keeps_the_result(hello: Captured, found: Resemblance) -> None:
    hello.edit()
    hello.found(2, found)
    assert hello.row.active == 2
    row = hello.state.versions[2]
    assert row.rehearsal is not None
    assert (row.rehearsal.found, row.rehearsal.why, row.rehearsal.report) == (found, "3 of 4 fail", {"calls": 4})


def test_a_version_that_fails_is_taken_back_before_it_meets_anybody(hello: Captured) -> None:
    hello.edit()
    hello.found(2, Resemblance.FAILS)
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    assert (hello.state.versions[2].stage, hello.state.versions[2].reason) == ("replay", "3 of 4 fail")
    assert hello.events() == ["REPLAY_COMPLETE FAILED", "ROLLBACK SUCCESS"]
    assert "release:2" in hello.effects()
    assert hello.row.epoch == 1, "routes stay as they are"


def test_a_policy_may_only_report_or_have_a_person_look(hello: Captured) -> None:
    hello.edit(replay="report")
    hello.found(2, Resemblance.FAILS)
    assert hello.row.active == 2
    hello.edit("c", replay="hold")
    hello.found(3, Resemblance.FAILS, against=2)
    assert (hello.row.staged, hello.row.held, hello.row.active) == (3, True, 2)
    hello.command(Action.RESUME)
    assert hello.row.active == 3, "it is not rehearsed twice"


def test_differences_can_be_made_to_matter(hello: Captured) -> None:
    hello.edit(replay_differences="gate")
    hello.found(2, Resemblance.DIFFERS)
    assert hello.states()[2] == "ROLLED_BACK"


def test_a_person_who_promotes_does_not_wait_and_the_result_is_kept(hello: Captured) -> None:
    hello.edit()
    hello.command(Action.PROMOTE)
    assert hello.row.active == 2
    hello.found(2, Resemblance.FAILS)
    assert hello.row.active == 2
    assert hello.state.versions[2].rehearsal is not None
    assert hello.state.versions[2].rehearsal.found == "fails"


def test_an_instance_that_restarts_meanwhile_asks_again_and_says_nothing_new(hello: Captured) -> None:
    hello.edit()
    hello.up(2)
    assert (hello.effects(), hello.events()) == (["rehearse:2"], [])


def test_a_result_that_comes_twice_or_about_another_pair_changes_nothing(hello: Captured) -> None:
    hello.edit()
    assert not hello.found(2, Resemblance.FAILS, against=7).events
    hello.found(2, Resemblance.ALIKE)
    assert not hello.found(2, Resemblance.FAILS).events
    assert hello.row.active == 2


def test_a_held_service_is_rehearsed_and_stays_held(hello: Captured) -> None:
    hello.command(Action.HOLD)
    hello.edit()
    hello.found(2, Resemblance.ALIKE)
    assert (hello.row.staged, hello.row.active) == (2, 1)


# -- what else an exposure says ----------------


def test_an_ab_test_is_beside_the_active_version_however_little_traffic_there_is(hello: Captured) -> None:
    hello.edit(replay="off", strategy=Strategy.AUTO, ab=AbTest(header="x-variant", values={"b": "candidate"}))
    assert (hello.row.canary, hello.row.canary_weight) == (2, 0)
    assert hello.row.exposure.ab is not None


def test_the_share_of_an_ab_test_is_its_own(hello: Captured) -> None:
    hello.edit(replay="off", strategy=Strategy.AUTO, ab=AbTest(percent=20))
    assert (hello.row.canary, hello.row.canary_weight) == (2, 2_000)


def test_what_a_version_said_ends_with_it(hello: Captured) -> None:
    hello.edit(replay="off", strategy=Strategy.AUTO, ab=AbTest(percent=20), sticky="client")
    assert hello.row.exposure.sticky == "client"
    hello.command(Action.ROLLBACK)
    assert hello.row.exposure == Exposure()
    hello.edit("c", replay="off", sticky="principal")
    assert hello.row.exposure.sticky == "principal"
    hello.command(Action.ROLLBACK)
    assert (hello.row.active, hello.row.exposure) == (1, Exposure())


def test_a_mirrored_version_gets_its_share_of_traffic_or_nothing_but_copies(hello: Captured) -> None:
    hello.edit(replay="off", strategy=Strategy.AUTO, mirror=Mirror())
    assert (hello.row.canary, hello.row.canary_weight) == (2, 1_000)
    hello.edit("c", replay="off", strategy=Strategy.AUTO, mirror=Mirror(only=True))
    assert (hello.row.canary, hello.row.canary_weight) == (3, 0)
