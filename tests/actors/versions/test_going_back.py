"""The pure version machine going back: verdicts, broken instances, a node that dies."""

from __future__ import annotations

from henslowe.actors.ids import VersionKey
from henslowe.actors.messages import (
    Action,
    Decision,
    VersionOutgrown,
)
from henslowe.actors.versions import (
    Boot,
)
from tests.actors.versions.life import HELLO, Service

# -- back ----------------


def test_a_canary_is_rolled_back_by_its_verdict(canary: Service) -> None:
    canary.verdict(2, Decision.ROLL_BACK)
    assert canary.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    assert canary.effects() == ["routes:0", "links:0", "release:2"]
    assert canary.state.versions[2].reason == "31 of 40 calls failed"


def test_a_canary_that_cannot_be_kept_running_is_rolled_back(canary: Service) -> None:
    canary.broken(2)
    assert canary.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


def test_a_version_that_outgrows_its_memory_is_taken_back_from_its_trial_and_kept_after_it(
    canary: Service, hello: Service
) -> None:
    canary.do(VersionOutgrown(VersionKey(HELLO, 2), "130 MiB"))
    assert (canary.states(), canary.state.versions[2].reason) == ({1: "ACTIVE", 2: "ROLLED_BACK"}, "130 MiB")
    hello.ship("a")
    hello.ship("b")
    hello.do(VersionOutgrown(VersionKey(HELLO, 2), "130 MiB"))
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    hello.do(VersionOutgrown(VersionKey(HELLO, 1), "130 MiB"))
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


def test_an_active_version_on_probation_goes_back_to_the_warm_previous_one(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.broken(2)
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    assert (hello.row.active, hello.row.previous, hello.row.permanent) == (1, 0, 1)


def test_going_back_waits_until_the_old_instance_is_up(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.down(1)
    hello.verdict(2, Decision.ROLL_BACK)
    assert hello.states() == {1: "ARCHIVED", 2: "ACTIVE"}
    assert hello.effects() == ["ensure:1"]
    hello.up(1)
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


def test_going_back_fails_visibly_when_the_old_version_does_not_start(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.ship("c")
    hello.command(Action.ROLLBACK, to_version=1)
    hello.broken(1)
    assert hello.events() == ["ROLLBACK FAILED"]
    assert (hello.row.active, hello.row.rollback_to) == (3, 0)


def test_a_permanent_version_that_cannot_be_kept_running_is_shown_unhealthy_until_it_is_up(hello: Service) -> None:
    hello.ship("a")
    hello.broken(1)
    assert hello.states() == {1: "ACTIVE"}
    assert hello.state.versions[1].reason
    hello.up(1)
    assert not hello.state.versions[1].reason


def test_a_staged_version_that_does_not_start_fails_and_nothing_else_happens(hello: Service) -> None:
    hello.ship("a")
    hello.build("b")
    hello.broken(2)
    assert hello.states() == {1: "ACTIVE", 2: "FAILED"}
    assert hello.row.wanted == {1}


def test_losing_the_warm_previous_version_costs_nothing_but_the_way_back(canary: Service) -> None:
    canary.verdict(2, Decision.PROMOTE)
    canary.broken(1)
    assert (canary.row.active, canary.row.previous, canary.row.holdback) == (2, 0, 0)
    assert canary.effects() == ["routes:0", "links:0", "release:1"]


# -- the node dies ----------------


def test_a_node_that_dies_between_two_edits_comes_back_with_the_version_that_served(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.ready.clear()
    hello.do(Boot(HELLO, unclean=True))
    assert (hello.row.active, hello.row.wanted) == (2, {1, 2})
    assert not hello.last.events


def test_a_version_that_crashed_on_probation_before_the_node_died_is_taken_back_at_boot(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.down(2)
    hello.ready.clear()
    hello.do(Boot(HELLO, unclean=True))
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    assert "ROLLBACK SUCCESS" in hello.events()


def test_after_an_orderly_stop_a_crash_on_probation_is_forgiven(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.down(2)
    hello.do(Boot(HELLO, unclean=False))
    assert hello.row.active == 2


def test_a_crash_after_probation_is_nothing_to_boot_the_old_version_for(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.pass_probation()
    hello.down(2)
    hello.do(Boot(HELLO, unclean=True))
    assert hello.row.active == 2


def test_what_was_being_built_when_the_node_stopped_is_superseded(hello: Service) -> None:
    hello.create("a")
    hello.do(Boot(HELLO, unclean=True))
    assert hello.states() == {1: "SUPERSEDED"}
    assert hello.create("a") == 2
