"""The pure version machine and the commands of people."""

from __future__ import annotations

import pytest

from henslowe.actors.ids import VersionKey
from henslowe.actors.messages import (
    Action,
    Decision,
    VersionBroken,
)
from henslowe.actors.versions import (
    Policy,
)
from henslowe.errors import Conflict, NotFound
from tests.actors.versions.life import HELLO, Service


def test_a_double_promote_with_the_epoch_that_was_seen_promotes_once(canary: Service) -> None:
    epoch = canary.row.epoch
    assert canary.command(Action.PROMOTE, expected_epoch=epoch)["changed"]
    again = canary.command(Action.PROMOTE, expected_epoch=epoch)
    assert (again["changed"], canary.row.active) == (False, 2)
    assert not canary.last.events


def test_a_promote_with_nothing_to_promote_says_what_is_active(hello: Service) -> None:
    hello.ship("a")
    reply = hello.command(Action.PROMOTE)
    assert reply["message"] == "nothing to promote: hello@1 is active"


def test_a_person_promotes_everybody_without_a_holdback(canary: Service) -> None:
    canary.command(Action.PROMOTE)
    assert (canary.row.active, canary.row.holdback) == (2, 0)
    assert canary.row.probation_until_s > 0


def test_promoting_a_version_that_is_not_up_is_a_conflict(hello: Service) -> None:
    hello.ship("a")
    hello.build("b")
    with pytest.raises(Conflict, match="its instance is not up"):
        hello.command(Action.PROMOTE)


def test_rollback_takes_the_canary_first_then_the_active_version(canary: Service) -> None:
    canary.command(Action.ROLLBACK)
    assert canary.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    with pytest.raises(Conflict, match="no version before hello@1"):
        canary.command(Action.ROLLBACK)


def test_rollback_to_an_archived_version_starts_it_first(hello: Service) -> None:
    for source in "abc":
        hello.ship(source)
    hello.ready.discard(1)
    assert "starting" in hello.command(Action.ROLLBACK, to_version=1)["message"]
    assert hello.row.active == 3
    hello.up(1)
    assert hello.states() == {1: "ACTIVE", 2: "ARCHIVED", 3: "ROLLED_BACK"}
    assert hello.row.wanted == {1}


def test_a_person_can_go_forward_again_to_what_was_rolled_back(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.command(Action.ROLLBACK)
    hello.command(Action.ROLLBACK, to_version=2)
    hello.up(2)
    assert hello.states() == {1: "ROLLED_BACK", 2: "ACTIVE"}


def test_rolling_back_to_a_version_that_never_served_is_a_conflict(hello: Service) -> None:
    hello.ship("a")
    hello.create("b")
    hello.do(VersionBroken(VersionKey(HELLO, 2), "lint", "E501"))
    with pytest.raises(Conflict, match="got one that is FAILED"):
        hello.command(Action.ROLLBACK, to_version=2)
    with pytest.raises(NotFound):
        hello.command(Action.ROLLBACK, to_version=9)


def test_a_held_service_promotes_nothing_but_still_rolls_back(canary: Service) -> None:
    canary.command(Action.HOLD)
    canary.verdict(2, Decision.PROMOTE)
    assert canary.states()[2] == "CANARY"
    canary.verdict(2, Decision.ROLL_BACK)
    assert canary.states()[2] == "ROLLED_BACK"


def test_a_version_that_comes_up_while_held_goes_on_at_resume(hello: Service) -> None:
    hello.ship("a")
    hello.command(Action.HOLD)
    hello.up(hello.build("b"))
    assert hello.states()[2] == "STAGED"
    hello.command(Action.RESUME)
    assert hello.states() == {1: "ARCHIVED", 2: "ACTIVE"}


def test_a_restart_runs_the_same_build_under_a_new_number_and_swaps_when_it_is_up(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.command(Action.RESTART)
    assert hello.states()[2] == "ACTIVE"
    hello.up(3)
    assert (hello.row.active, hello.row.previous) == (3, 1)
    assert hello.state.versions[3].build == "build-b"
    assert "release:2" in hello.effects()


def test_a_pinned_version_stays_however_many_come_until_it_is_unpinned() -> None:
    hello = Service(Policy(keep_versions=2, probation_s=0))
    hello.ship("a")
    assert hello.command(Action.PIN, to_version=1)["changed"]
    assert not hello.command(Action.PIN, to_version=1)["changed"]
    for source in "bcdefg":
        hello.ship(source)
    assert 1 in hello.state.versions
    assert 2 not in hello.state.versions
    assert hello.state.versions[1].pinned
    hello.command(Action.UNPIN, to_version=1)
    hello.ship("h")
    assert 1 not in hello.state.versions


def test_what_has_no_build_cannot_be_pinned(hello: Service) -> None:
    hello.create("a")
    with pytest.raises(Conflict, match="it has no build"):
        hello.command(Action.PIN, to_version=1)
    with pytest.raises(NotFound):
        hello.command(Action.PIN, to_version=9)


def test_commands_on_an_unknown_service_say_so(hello: Service) -> None:
    with pytest.raises(NotFound, match="cannot find service hello"):
        hello.command(Action.HOLD)
