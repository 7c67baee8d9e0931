"""The pure version machine and rollouts in steps: how a canary climbs, what it waits for, and how it ends."""

from __future__ import annotations

import pytest

from henslowe.actors.messages import Action, CreateVersion, Decision, Strategy
from henslowe.actors.routes import bucket
from henslowe.actors.versions import Policy, VersionState
from henslowe.config.ramp import Plan, Step
from henslowe.errors import Conflict
from tests.actors.versions.life import HELLO, MANY, Service

CLIMB = Plan(steps=(Step(weight=5, min_calls=50), Step(weight=25), Step(weight=50, hold=600)))
GATED = Plan(steps=(Step(weight=5), Step(weight=25, gate="owner"), Step(weight=50)), gate_last="board")
FIRST = Plan(gate_first="owner")


def climbing(plan: Plan = CLIMB) -> Service:
    """Version 1 is permanent, version 2 its canary at the first step."""
    service = Service()
    service.ship("a")
    service.units = MANY
    service.up(service.build("b", Strategy.CANARY, plan))
    assert service.states() == {1: "ACTIVE", 2: "CANARY"}
    return service


def at(service: Service) -> tuple[int, int]:
    return service.row.step, service.row.canary_weight


# -- climbing ----------------


def test_a_canary_begins_at_its_first_step_and_goes_on_when_it_has_shown_its_calls() -> None:
    hello = climbing()
    assert (at(hello), hello.row.steps, hello.row.step_calls) == ((1, 500), 3, 50)
    hello.verdict(2, Decision.ADVANCE)
    assert (at(hello), hello.row.step_calls) == ((2, 2_500), 20)
    assert hello.events() == ["CANARY_STEP SUCCESS"]
    assert hello.effects() == ["routes:0", "links:0"]


def test_a_step_moves_units_to_the_canary_and_none_back() -> None:
    hello = climbing()
    salt, met = hello.row.salt, set()
    for _ in range(2):
        now = {unit for unit in MANY if bucket(unit, hello.row.salt) < hello.row.canary_weight}
        assert met <= now
        met = now
        hello.verdict(2, Decision.ADVANCE)
    assert hello.row.salt == salt


def test_the_row_remembers_which_weight_the_canary_had_from_which_epoch_on() -> None:
    hello = climbing()
    began = hello.row.epoch
    hello.verdict(2, Decision.ADVANCE)
    assert hello.row.weights == ((began, 500), (began + 1, 2_500))


def test_a_step_is_taken_once_however_often_its_verdict_comes() -> None:
    hello = climbing()
    epoch = hello.row.epoch
    hello.verdict(2, Decision.ADVANCE, epoch)
    assert not hello.verdict(2, Decision.ADVANCE, epoch).events
    assert at(hello) == (2, 2_500)


def test_a_verdict_to_promote_before_the_last_step_is_one_step() -> None:
    hello = climbing()
    hello.verdict(2, Decision.PROMOTE)
    assert (at(hello), hello.states()[2]) == ((2, 2_500), "CANARY")


def test_after_the_last_step_the_verdict_promotes_and_the_steps_are_gone() -> None:
    hello = climbing(Plan(steps=(Step(weight=5), Step(weight=25))))
    hello.verdict(2, Decision.ADVANCE)
    assert not hello.verdict(2, Decision.ADVANCE).events
    hello.verdict(2, Decision.PROMOTE)
    assert hello.states() == {1: "ARCHIVED", 2: "ACTIVE"}
    assert (hello.row.step, hello.row.steps, hello.row.weights) == (0, 0, ())


def test_a_canary_is_taken_back_at_any_step() -> None:
    for steps in range(3):
        hello = climbing(GATED.model_copy(update={"gate_last": ""}))
        for _ in range(steps):
            hello.command(Action.PROMOTE)
        hello.verdict(2, Decision.ROLL_BACK)
        assert (hello.states(), hello.row.step) == ({1: "ACTIVE", 2: "ROLLED_BACK"}, 0)


def test_a_step_is_not_taken_while_the_canary_is_down() -> None:
    hello = climbing()
    hello.down(2)
    assert not hello.verdict(2, Decision.ADVANCE).events


def test_a_newer_version_replaces_a_canary_that_waits_and_inherits_nothing_of_it() -> None:
    hello = climbing(GATED)
    hello.verdict(2, Decision.ADVANCE)
    hello.command(Action.APPROVE)
    hello.up(hello.build("c", Strategy.CANARY, GATED))
    assert hello.states() == {1: "ACTIVE", 2: "SUPERSEDED", 3: "CANARY"}
    assert (at(hello), hello.row.weights) == ((1, 500), ((hello.row.epoch, 500),))
    hello.verdict(3, Decision.ADVANCE)
    assert not hello.state.versions[3].approved


def test_a_rollback_of_the_active_version_below_a_canary_begins_its_evidence_anew() -> None:
    hello = climbing()
    hello.verdict(2, Decision.ADVANCE)
    hello.command(Action.PROMOTE_FULL)
    hello.up(hello.build("c", Strategy.CANARY, CLIMB))
    hello.command(Action.ROLLBACK, to_version=1)
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK", 3: "CANARY"}
    assert hello.row.weights == ((hello.row.epoch, 500),)


def test_auto_climbs_where_there_is_traffic_and_is_immediate_where_there_is_none(hello: Service) -> None:
    hello.ship("a")
    hello.up(hello.build("b", Strategy.AUTO, CLIMB))
    assert hello.states()[2] == "ACTIVE"
    hello.units = MANY
    hello.up(hello.build("c", Strategy.AUTO, CLIMB))
    assert at(hello) == (1, 500)


# -- time ----------------


def test_a_step_lasts_at_least_its_time() -> None:
    hello = climbing()
    hello.verdict(2, Decision.ADVANCE)
    hello.verdict(2, Decision.ADVANCE)
    assert (at(hello), hello.row.step_until_s) == ((3, 5_000), hello.now_s + 600)
    assert not hello.verdict(2, Decision.PROMOTE).events
    hello.now_s += 600
    hello.verdict(2, Decision.PROMOTE)
    assert hello.states()[2] == "ACTIVE"


def test_a_step_that_lasts_for_ever_ends_when_a_person_resumes_it() -> None:
    hello = climbing(Plan(steps=(Step(weight=5, hold="forever"), Step(weight=50))))
    hello.now_s += 1e6
    assert not hello.verdict(2, Decision.ADVANCE).events
    assert hello.command(Action.RESUME)["changed"]
    assert hello.command(Action.RESUME)["message"] == "hello is not held"
    hello.verdict(2, Decision.ADVANCE)
    assert at(hello) == (2, 5_000)


# -- gates ----------------


def test_a_step_with_a_gate_waits_for_a_person_and_says_so_once() -> None:
    hello = climbing(GATED)
    hello.verdict(2, Decision.ADVANCE)
    hello.verdict(2, Decision.ADVANCE)
    assert hello.events() == ["GATE_REACHED PENDING"]
    assert hello.state.versions[2].gate == "owner"
    assert not hello.verdict(2, Decision.ADVANCE).events
    assert hello.command(Action.APPROVE)["message"] == "the gate `owner` is open for hello@2"
    assert not hello.command(Action.APPROVE)["changed"]
    hello.verdict(2, Decision.ADVANCE)
    assert (at(hello), hello.state.versions[2].gate) == ((3, 5_000), "")


def test_a_gate_that_is_approved_early_keeps_the_rest_of_the_step() -> None:
    hello = climbing(GATED)
    hello.verdict(2, Decision.ADVANCE)
    hello.command(Action.APPROVE)
    assert at(hello) == (2, 2_500)


def test_the_gate_before_promotion_is_at_the_last_step() -> None:
    hello = climbing(GATED)
    hello.command(Action.PROMOTE)
    hello.command(Action.PROMOTE)
    hello.verdict(2, Decision.PROMOTE)
    assert (hello.states()[2], hello.state.versions[2].gate) == ("CANARY", "board")
    hello.command(Action.APPROVE)
    hello.verdict(2, Decision.PROMOTE)
    assert hello.states()[2] == "ACTIVE"


def test_a_version_with_a_gate_before_its_traffic_waits_staged_and_running(hello: Service) -> None:
    hello.ship("a")
    hello.units = MANY
    hello.up(hello.build("b", Strategy.CANARY, FIRST))
    assert (hello.states()[2], hello.events()) == ("STAGED", ["GATE_REACHED PENDING"])
    assert 2 in hello.row.wanted
    hello.command(Action.APPROVE, reason="seen it")
    assert hello.states()[2] == "CANARY"
    assert hello.last.events[0].data["reason"] == "seen it"


def test_a_version_that_takes_all_traffic_at_once_waits_for_the_gate_before_promotion(hello: Service) -> None:
    hello.ship("a")
    hello.up(hello.build("b", Strategy.IMMEDIATE, Plan(gate_first="x", gate_last="board")))
    assert hello.state.versions[2].gate == "board"
    hello.command(Action.APPROVE)
    assert hello.states()[2] == "ACTIVE"


def test_a_newer_build_replaces_the_one_that_waits_at_a_gate(hello: Service) -> None:
    hello.ship("a")
    hello.up(hello.build("b", Strategy.CANARY, FIRST))
    hello.build("c", Strategy.CANARY, FIRST)
    assert hello.states() == {1: "ACTIVE", 2: "SUPERSEDED", 3: "STAGED"}
    assert "release:2" in hello.effects()


def test_what_waits_at_no_gate_cannot_be_approved(canary: Service) -> None:
    with pytest.raises(Conflict, match="it waits at no gate"):
        canary.command(Action.APPROVE)


# -- people ----------------


def test_promote_is_one_step_and_promote_full_is_all_of_them() -> None:
    hello = climbing()
    assert hello.command(Action.PROMOTE)["message"] == "hello@2 is at step 2 of 3: 25 %"
    hello.command(Action.PROMOTE_FULL)
    assert (hello.states()[2], hello.row.held) == ("ACTIVE", False)


def test_a_held_rollout_is_led_by_hand_step_by_step() -> None:
    hello = climbing()
    hello.command(Action.HOLD)
    assert not hello.verdict(2, Decision.ADVANCE).events
    hello.command(Action.PROMOTE)
    assert (at(hello), hello.row.held) == ((2, 2_500), True)


def test_a_double_click_is_one_step() -> None:
    hello = climbing()
    epoch = hello.row.epoch
    hello.command(Action.PROMOTE, expected_epoch=epoch)
    assert not hello.command(Action.PROMOTE, expected_epoch=epoch)["changed"]
    assert at(hello) == (2, 2_500)


def test_an_aborted_rollout_leaves_what_serves_and_what_waits_behind_is_given_up_too() -> None:
    hello = climbing()
    hello.build("c", Strategy.CANARY, CLIMB)
    reply = hello.command(Action.ABORT, reason="wrong branch")
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK", 3: "FAILED"}
    assert reply["message"] == "hello@2 and hello@3 were given up, hello@1 serves everybody"
    assert hello.state.versions[3].reason == "wrong branch"
    assert {"release:2", "release:3", "routes:0"} <= set(hello.effects())
    with pytest.raises(Conflict, match="no rollout is under way"):
        hello.command(Action.ABORT)


def test_an_aborted_source_is_not_deployed_again_by_a_restart_of_the_node(hello: Service) -> None:
    hello.ship("a")
    hello.build("b", Strategy.CANARY, FIRST)
    hello.command(Action.ABORT)
    assert hello.do(CreateVersion(HELLO, "b", Strategy.AUTO, 1_000)).reply.unchanged


def test_a_retry_rolls_the_same_build_out_again_from_the_beginning() -> None:
    hello = climbing(GATED)
    hello.verdict(2, Decision.ADVANCE)
    hello.command(Action.APPROVE)
    hello.command(Action.ABORT)
    hello.command(Action.RETRY)
    again = hello.state.versions[3]
    assert (again.state, again.build, again.plan) == (VersionState.STAGED, "build-b", GATED)
    assert not again.approved
    hello.up(3)
    assert (hello.states()[3], at(hello)) == ("CANARY", (1, 500))


def test_what_serves_or_was_never_built_cannot_be_retried(hello: Service) -> None:
    hello.ship("a")
    with pytest.raises(Conflict, match="got one that is ACTIVE"):
        hello.command(Action.RETRY)
    hello.create("b")
    hello.create("c")
    with pytest.raises(Conflict, match="it was never built"):
        hello.command(Action.RETRY, to_version=2)


# -- blue-green ----------------


def test_blue_green_waits_without_traffic_and_then_takes_all_of_it(hello: Service) -> None:
    hello.ship("a")
    hello.units = MANY
    hello.up(hello.build("b", Strategy.BLUE_GREEN, FIRST))
    assert (hello.states()[2], hello.row.canary) == ("STAGED", 0)
    hello.command(Action.APPROVE)
    assert (hello.states(), hello.row.holdback) == ({1: "ARCHIVED", 2: "ACTIVE"}, 0)
    assert hello.last.events[-1].data["why"] == "blue-green"


def test_after_the_swap_the_version_before_is_let_go_when_its_time_is_up() -> None:
    hello = Service(Policy(probation_s=100.0))
    hello.ship("a")
    hello.up(hello.build("b", Strategy.BLUE_GREEN, Plan(warm_s=600)))
    hello.pass_probation()
    assert hello.row.wanted == {1, 2}
    hello.pass_until(hello.row.warm_until_s)
    assert (hello.row.wanted, hello.row.previous) == ({2}, 1)
    assert hello.effects() == ["release:1"]
    hello.command(Action.ROLLBACK)
    assert hello.effects() == ["ensure:1"]
    hello.up(1)
    assert hello.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


def test_the_version_before_stays_warm_as_long_as_the_new_one_is_on_probation() -> None:
    hello = Service(Policy(probation_s=900.0))
    hello.ship("a")
    hello.up(hello.build("b", Strategy.BLUE_GREEN, Plan(warm_s=60)))
    hello.pass_until(hello.now_s + 60)
    assert hello.row.wanted == {1, 2}
    hello.pass_until(hello.now_s + 840)
    assert hello.row.wanted == {2}


def test_the_next_swap_warms_its_own_version_before() -> None:
    hello = Service(Policy(probation_s=0.0))
    hello.ship("a")
    hello.up(hello.build("b", Strategy.BLUE_GREEN, Plan(warm_s=60)))
    hello.pass_until(hello.now_s + 60)
    hello.ship("c")
    assert (hello.row.wanted, hello.row.warm_until_s) == ({2, 3}, 0.0)
