"""The pure version machine and services that are declared, retired or removed."""

from __future__ import annotations

import pytest

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import (
    Action,
    RetireService,
    VersionBuilt,
)
from henslowe.actors.versions import (
    TryAgain,
)
from henslowe.errors import Conflict
from tests.actors.versions.life import HELLO, Service, declared

# -- declared services ----------------


def test_a_declared_service_is_active_once_it_is_up_and_permanent(hello: Service) -> None:
    assert hello.do(declared("time-server")).reply == VersionKey(HELLO, 1)
    hello.up(1)
    assert hello.states() == {1: "ACTIVE"}
    assert hello.row.permanent == 1


def test_the_same_declaration_again_changes_nothing(hello: Service) -> None:
    hello.do(declared("time-server"))
    hello.up(1)
    assert not hello.do(declared("time-server")).events


def test_a_changed_declaration_is_swapped_in_when_it_is_up_and_leaves_nothing_warm(hello: Service) -> None:
    hello.do(declared("time-server"))
    hello.up(1)
    hello.do(declared("time-server", "--utc"))
    assert hello.row.active == 1
    hello.up(2)
    assert hello.row.wanted == {2}
    assert not hello.row.probation_until_s


def test_a_declaration_that_failed_to_start_is_tried_again_when_declared_again(hello: Service) -> None:
    hello.do(declared("time-server"))
    hello.broken(1)
    assert hello.do(declared("time-server")).reply == VersionKey(HELLO, 2)


def test_a_declared_service_that_failed_to_start_is_tried_again_by_itself(hello: Service) -> None:
    hello.do(declared("time-server"))
    hello.broken(1)
    assert hello.states() == {1: "FAILED"}
    hello.do(TryAgain(HELLO, 1))
    assert (hello.states(), hello.effects()) == ({1: "STAGED"}, ["ensure:1", "links:0"])
    hello.up(1)
    assert hello.states() == {1: "ACTIVE"}


def test_an_active_version_that_cannot_be_kept_running_is_tried_again(hello: Service) -> None:
    hello.ship("a")
    hello.broken(1)
    hello.do(TryAgain(HELLO, 1))
    assert (hello.effects(), hello.last.events) == (["ensure:1"], ())


def test_a_developed_version_that_never_started_waits_for_the_next_edit(hello: Service) -> None:
    hello.build("a")
    hello.broken(1)
    hello.do(TryAgain(HELLO, 1))
    assert hello.states() == {1: "FAILED"}
    assert not hello.effects()


def test_a_retired_service_stops_and_can_be_declared_again(hello: Service) -> None:
    hello.do(declared("time-server"))
    hello.up(1)
    hello.do(RetireService(HELLO))
    assert (hello.states(), hello.row.wanted) == ({1: "ARCHIVED"}, frozenset())
    assert hello.effects() == ["routes:0", "links:0", "release:1"]
    hello.do(declared("time-server"))
    assert hello.states() == {1: "ARCHIVED", 2: "STAGED"}


def test_a_retired_service_that_never_started_is_not_tried_again(hello: Service) -> None:
    hello.do(declared("time-server"))
    hello.broken(1)
    hello.do(RetireService(HELLO))
    assert not hello.do(TryAgain(HELLO, 1)).effects
    assert not hello.do(RetireService(HELLO)).events


# -- removed services ----------------


def test_a_removed_service_stops_whole_and_keeps_its_history(canary: Service) -> None:
    canary.command(Action.HOLD)
    canary.create("being built")
    numbers = set(canary.states())
    reply = canary.command(Action.REMOVE, reason="renamed")
    assert (reply["state"], reply["version"]) == ("", 0)
    assert {"routes:0", "links:0", "release:1", "release:2"} <= set(canary.effects())
    assert canary.row.retired
    assert not canary.row.wanted
    assert not canary.row.held
    assert set(canary.states()) == numbers
    assert not any(row.state.live for row in canary.state.versions.values())
    assert canary.events()[0] == "COMMAND SUCCESS"
    assert canary.last.events[-1].data["reason"] == "renamed"


def test_what_is_built_while_its_service_is_removed_is_not_deployed(hello: Service) -> None:
    number = hello.create("a")
    hello.command(Action.REMOVE)
    built = VersionBuilt(VersionKey(HELLO, number), BuildId("b"), "1.0.0", LaunchSpec(command=("run",)), Contract())
    assert not hello.do(built).events
    assert hello.states() == {number: "SUPERSEDED"}


def test_a_removed_service_goes_on_with_the_next_number_when_the_same_sources_come_back(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.command(Action.ROLLBACK)
    hello.command(Action.REMOVE)
    assert hello.ship("b") == 3
    assert (hello.row.active, hello.row.retired) == (3, False)


def test_removing_twice_is_removing_once_and_other_commands_say_that_it_was_removed(hello: Service) -> None:
    hello.ship("a")
    hello.command(Action.REMOVE)
    assert "already" in hello.command(Action.REMOVE)["message"]
    assert not hello.last.events
    with pytest.raises(Conflict, match="it was removed"):
        hello.command(Action.RESTART)


def test_a_declared_service_is_not_removed_but_taken_out_of_its_file(hello: Service) -> None:
    hello.do(declared("time-server"))
    with pytest.raises(Conflict, match=r"declared in henslowe\.toml") as caught:
        hello.command(Action.REMOVE)
    assert "[services.hello]" in caught.value.hint


def test_a_folder_and_a_declaration_of_one_name_are_a_conflict(hello: Service) -> None:
    hello.do(declared("time-server"))
    with pytest.raises(Conflict, match="is declared"):
        hello.create("a")
