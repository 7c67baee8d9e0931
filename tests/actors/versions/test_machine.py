"""The pure version machine: the life of versions, told as behaviour."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, InstanceId, ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import (
    Action,
    Command,
    CreateVersion,
    Decision,
    DeclareService,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    RetireService,
    Strategy,
    Verdict,
    VersionBroken,
    VersionBuilt,
)
from henslowe.actors.routes import bucket
from henslowe.actors.versions import (
    Boot,
    EffectKind,
    Facts,
    Policy,
    State,
    TimeUp,
    Transition,
    TryAgain,
    VersionState,
)
from henslowe.actors.versions.machine import transition
from henslowe.errors import Conflict, NotFound

HELLO = ServiceName("hello")
LAUNCH = LaunchSpec(command=("python", "server.py"))
MANY = tuple(f"unit-{i}" for i in range(40))


class Service:
    """One service and the rows that its messages leave behind; instances are up when the test says so."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.state = State()
        self.now_s = 1_000.0
        self.units: tuple[str, ...] = ()
        self.ready: set[int] = set()
        self.policy = policy or Policy()
        self.last = Transition(self.state)

    def do(self, message: Any) -> Transition:
        facts = Facts(self.now_s, self.units, frozenset(self.ready), self.policy)
        self.last = transition(self.state, message, facts)
        self.state = self.last.state
        self.ready -= {effect.version for effect in self.last.effects if effect.kind is EffectKind.RELEASE}
        return self.last

    @property
    def row(self) -> Any:
        return self.state.service

    def states(self) -> dict[int, str]:
        return {number: row.state.value for number, row in sorted(self.state.versions.items())}

    def effects(self) -> list[str]:
        return [effect.effect for effect in self.last.effects]

    def events(self) -> list[str]:
        return [f"{event.type} {event.status}" for event in self.last.events]

    def create(self, source: str, strategy: Strategy = Strategy.AUTO, **fields: Any) -> int:
        reply = self.do(CreateVersion(HELLO, source, strategy, 1_000, **fields)).reply
        return int(reply.version.number)

    def build(self, source: str, strategy: Strategy = Strategy.AUTO) -> int:
        number = self.create(source, strategy)
        self.do(VersionBuilt(VersionKey(HELLO, number), BuildId(f"build-{source}"), "1.0.0", LAUNCH, Contract()))
        return number

    def up(self, number: int, digest: str = "") -> Transition:
        self.ready.add(number)
        key = VersionKey(HELLO, number)
        return self.do(InstanceUp(key, InstanceId(f"{key}#1"), Contract(digest=digest), "modern", 0.2))

    def down(self, number: int, *, expected: bool = False) -> Transition:
        self.ready.discard(number)
        return self.do(InstanceDown(VersionKey(HELLO, number), InstanceId("i"), "exit 1", expected))

    def broken(self, number: int) -> Transition:
        self.ready.discard(number)
        return self.do(InstanceBroken(VersionKey(HELLO, number), "ImportError: no module named x"))

    def ship(self, source: str) -> int:
        number = self.build(source, Strategy.IMMEDIATE)
        self.up(number)
        return number

    def verdict(self, number: int, decision: Decision, epoch: int | None = None) -> Transition:
        epoch = self.row.epoch if epoch is None else epoch
        return self.do(Verdict(HELLO, VersionKey(HELLO, number), epoch, decision, "31 of 40 calls failed"))

    def command(self, action: Action, **fields: Any) -> dict[str, Any]:
        reply: dict[str, Any] = self.do(Command(HELLO, action, "ann", **fields)).reply
        return reply

    def pass_probation(self) -> None:
        self.now_s = self.row.probation_until_s
        self.do(TimeUp(HELLO))


@pytest.fixture
def hello() -> Service:
    return Service()


@pytest.fixture
def canary() -> Service:
    """Version 1 is permanent, version 2 its canary."""
    service = Service()
    service.ship("a")
    service.units = MANY
    service.up(service.build("b"))
    assert service.states() == {1: "ACTIVE", 2: "CANARY"}
    return service


# -- forward ----------------


def test_a_built_version_waits_staged_until_its_instance_is_up(hello: Service) -> None:
    hello.build("a")
    assert hello.states() == {1: "STAGED"}
    assert hello.effects() == ["ensure:1", "links:0"]
    assert hello.row.active == 0


def test_the_first_version_is_active_and_permanent_once_it_is_up(hello: Service) -> None:
    hello.build("a")
    hello.up(1)
    assert hello.states() == {1: "ACTIVE"}
    assert (hello.row.active, hello.row.permanent, hello.row.probation_until_s) == (1, 1, 0.0)
    assert hello.events() == ["DEPLOY_COMPLETE SUCCESS"]


def test_with_few_units_of_traffic_an_edit_goes_live_at_once_on_probation(hello: Service) -> None:
    hello.ship("a")
    hello.up(hello.build("b"))
    assert hello.states() == {1: "ARCHIVED", 2: "ACTIVE"}
    assert (hello.row.previous, hello.row.permanent) == (1, 1)
    assert hello.row.probation_until_s == hello.now_s + 300
    assert hello.state.versions[2].probation


def test_routes_change_before_anything_is_released(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.ship("c")
    assert hello.effects() == ["ensure:3", "routes:0", "links:0", "release:1"]


def test_the_previous_version_stays_warm_and_the_one_before_it_is_released(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    assert "release:1" not in hello.effects()
    hello.ship("c")
    assert hello.row.wanted == {2, 3}


def test_with_enough_units_a_version_becomes_a_canary(canary: Service) -> None:
    assert (canary.row.canary, canary.row.active, canary.row.canary_weight) == (2, 1, 1_000)
    assert canary.events() == ["CANARY_DEPLOY SUCCESS"]


def test_a_small_canary_gets_about_its_share_of_the_units_that_are_there(canary: Service) -> None:
    met = sum(bucket(unit, canary.row.salt) < canary.row.canary_weight for unit in MANY)
    assert 3 <= met <= 5
    assert 0.5 <= canary.row.balance < 1


def test_strategy_immediate_never_makes_a_canary(hello: Service) -> None:
    hello.ship("a")
    hello.units = MANY
    hello.ship("b")
    assert hello.states() == {1: "ARCHIVED", 2: "ACTIVE"}


def test_strategy_canary_makes_one_without_traffic(hello: Service) -> None:
    hello.ship("a")
    hello.up(hello.build("b", Strategy.CANARY))
    assert hello.states() == {1: "ACTIVE", 2: "CANARY"}


def test_a_promoting_verdict_makes_the_canary_active_with_a_holdback(canary: Service) -> None:
    canary.verdict(2, Decision.PROMOTE)
    assert canary.states() == {1: "ARCHIVED", 2: "ACTIVE"}
    assert (canary.row.previous, canary.row.holdback) == (1, 500)
    assert canary.events()[-1] == "PROMOTE SUCCESS"


def test_a_verdict_about_other_routes_changes_nothing(canary: Service) -> None:
    assert not canary.verdict(2, Decision.PROMOTE, epoch=canary.row.epoch - 1).events


def test_a_verdict_that_comes_twice_promotes_once(canary: Service) -> None:
    epoch = canary.row.epoch
    canary.verdict(2, Decision.PROMOTE, epoch)
    assert not canary.verdict(2, Decision.PROMOTE, epoch).events


def test_a_canary_whose_instance_is_down_is_not_promoted(canary: Service) -> None:
    canary.down(2)
    canary.verdict(2, Decision.PROMOTE)
    assert canary.states()[2] == "CANARY"


def test_probation_ends_with_the_version_permanent_and_the_holdback_gone(canary: Service) -> None:
    canary.verdict(2, Decision.PROMOTE)
    epoch = canary.row.epoch
    canary.pass_probation()
    assert (canary.row.permanent, canary.row.holdback, canary.row.probation_until_s) == (2, 0, 0.0)
    assert canary.row.epoch == epoch + 1
    assert canary.row.previous == 1


def test_a_probation_timer_that_fires_early_changes_nothing(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    assert not hello.do(TimeUp(HELLO)).events


# -- newer ones ----------------


def test_a_newer_staged_version_supersedes_an_older_one(hello: Service) -> None:
    hello.ship("a")
    hello.build("b")
    hello.build("c")
    assert hello.states() == {1: "ACTIVE", 2: "SUPERSEDED", 3: "STAGED"}
    assert "release:2" in hello.effects()


def test_a_newer_version_replaces_the_canary_only_once_it_is_up(canary: Service) -> None:
    canary.build("c")
    assert canary.states()[2] == "CANARY"
    canary.up(3)
    assert canary.states() == {1: "ACTIVE", 2: "SUPERSEDED", 3: "CANARY"}
    assert canary.effects() == ["routes:0", "links:0", "release:2"]


def test_each_rollout_has_a_salt_of_its_own(canary: Service) -> None:
    salt = canary.row.salt
    canary.up(canary.build("c"))
    assert canary.row.salt != salt


def test_a_newer_change_supersedes_what_is_being_built(hello: Service) -> None:
    hello.create("a")
    hello.create("b")
    assert hello.states() == {1: "SUPERSEDED", 2: "DEVELOPMENT"}


def test_a_build_that_was_overtaken_changes_nothing(hello: Service) -> None:
    hello.create("a")
    hello.create("b")
    late = VersionBuilt(VersionKey(HELLO, 1), BuildId("x"), "1.0.0", LAUNCH, Contract())
    assert not hello.do(late).events


def test_the_same_source_again_is_the_same_version(hello: Service) -> None:
    hello.ship("a")
    reply = hello.do(CreateVersion(HELLO, "a", Strategy.AUTO, 1_000)).reply
    assert (reply.version.number, reply.unchanged) == (1, True)


def test_going_back_to_older_source_while_a_newer_one_is_staged_makes_a_new_version(hello: Service) -> None:
    hello.ship("a")
    hello.build("b")
    assert hello.create("a") == 3


def test_a_rolled_back_source_is_not_deployed_again_by_a_restart_but_on_demand(canary: Service) -> None:
    canary.verdict(2, Decision.ROLL_BACK)
    assert canary.do(CreateVersion(HELLO, "b", Strategy.AUTO, 1_000)).reply.unchanged
    assert canary.create("b", force=True) == 3


def test_a_failed_source_is_built_again(hello: Service) -> None:
    hello.create("a")
    hello.do(VersionBroken(VersionKey(HELLO, 1), "test", "1 failed"))
    assert hello.states() == {1: "FAILED"}
    assert hello.create("a") == 2


def test_the_same_semver_of_another_build_gets_a_number(hello: Service) -> None:
    for source in "abc":
        hello.ship(source)
    assert [row.semver for row in hello.state.versions.values()] == ["1.0.0", "1.0.0+2", "1.0.0+3"]


def test_the_same_build_keeps_its_name(hello: Service) -> None:
    hello.ship("a")
    hello.ship("b")
    hello.ship("a")
    assert hello.state.versions[3].semver == "1.0.0"


# -- back ----------------


def test_a_canary_is_rolled_back_by_its_verdict(canary: Service) -> None:
    canary.verdict(2, Decision.ROLL_BACK)
    assert canary.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
    assert canary.effects() == ["routes:0", "links:0", "release:2"]
    assert canary.state.versions[2].reason == "31 of 40 calls failed"


def test_a_canary_that_cannot_be_kept_running_is_rolled_back(canary: Service) -> None:
    canary.broken(2)
    assert canary.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


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


# -- people ----------------


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


# -- declared services ----------------


def declared(*command: str) -> DeclareService:
    return DeclareService(HELLO, LaunchSpec(command=command), "2.0.0")


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


# -- garbage ----------------


def test_old_versions_are_forgotten_beyond_the_number_to_keep() -> None:
    hello = Service(Policy(keep_versions=2, probation_s=0))
    for source in "abcdef":
        hello.ship(source)
    assert hello.states() == {4: "ARCHIVED", 5: "ARCHIVED", 6: "ACTIVE"} | {3: "ARCHIVED"}
    assert hello.last.removed == (2,)
    assert "discard:2" in hello.effects()
    discarded = [effect for effect in hello.last.effects if effect.kind is EffectKind.DISCARD]
    assert [effect.folder for effect in discarded] == ["v1.0.0+2"]


def test_the_permanent_version_is_kept_however_many_edits_follow() -> None:
    hello = Service(Policy(keep_versions=2))
    for source in "abcdef":
        hello.ship(source)
    assert hello.row.permanent == 1
    assert VersionState(hello.states()[1]) is VersionState.ARCHIVED


def test_numbers_are_never_used_again() -> None:
    hello = Service(Policy(keep_versions=2))
    for n in range(1, 9):
        assert hello.create(f"source-{n}") == n
        hello.do(VersionBroken(VersionKey(HELLO, n), "lint", "no"))
    assert len(hello.states()) == 3


def test_whoever_serves_next_is_ensured_even_if_it_was_up_when_that_was_decided(hello: Service) -> None:
    for source in "abc":
        hello.ship(source)
    hello.up(1)  # announced while it was being released, and heard of afterwards
    hello.command(Action.ROLLBACK, to_version=1)
    assert (hello.row.active, hello.effects()[0]) == (1, "ensure:1")
