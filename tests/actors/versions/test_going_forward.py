"""The pure version machine going forward: builds, canaries, promotion, newer versions, garbage."""

from __future__ import annotations

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, VersionKey
from henslowe.actors.messages import (
    Action,
    CreateVersion,
    Decision,
    Strategy,
    VersionBroken,
    VersionBuilt,
)
from henslowe.actors.routes import bucket
from henslowe.actors.versions import (
    EffectKind,
    Policy,
    TimeUp,
    VersionState,
)
from tests.actors.versions.life import HELLO, LAUNCH, MANY, Service

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
