"""The pure verdict: its judges one by one, and its words."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Decision
from henslowe.actors.router import Evidence, Past, Rules, Trial
from henslowe.actors.router.latency import Usual, bound_of, past_bounds
from henslowe.actors.router.pieces import at_once
from henslowe.actors.router.randomised import (
    Baseline,
)
from henslowe.actors.router.sequential import Acceptance, bad_rate
from henslowe.actors.router.verdict import ALL, OWN, SHARE_ALL, SHARE_HARD
from henslowe.actors.routes import Arm, CallRecord, Outcome

SERVICE = ServiceName("hello")
OLD, NEW = VersionKey(SERVICE, 1), VersionKey(SERVICE, 2)
CANARY = Trial(SERVICE, 7, NEW, OLD, 0.1)
ALONE = Trial(SERVICE, 7, NEW, None, 1.0, probation=True)
HOLDBACK = Trial(SERVICE, 7, NEW, OLD, 0.95, probation=True, holdback=True)
BUSY = Past(units=1_000, calls_per_unit=1.0, calls=300, failures=3)
TIMED = replace(BUSY, usual=(("echo", 0.15),), timed=300, slow=3)


def call(
    unit: str, outcome: Outcome = Outcome.OK, arm: Arm = Arm.CANARY, *, epoch: int = 7, tool: str = "echo"
) -> CallRecord:
    version = NEW if arm is Arm.CANARY else OLD
    return CallRecord(version, arm, unit, True, tool, outcome, 0.01, 100.0, epoch, "boom")


def feed(evidence: Evidence, calls: int, outcome: Outcome, arm: Arm = Arm.CANARY, unit: str = "") -> None:
    for at in range(calls):
        evidence.update(call(unit or f"{arm}-{outcome}-{at}", outcome, arm))


# -- hold ----------------


def test_no_traffic_is_no_evidence_either_way() -> None:
    finding = Evidence(CANARY, Rules(), BUSY).find()
    assert finding.decision is Decision.HOLD
    assert finding.numbers["calls"] == 0


def test_calls_by_other_routes_are_ignored() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    for at in range(50):
        evidence.update(call(f"u{at}", Outcome.CRASH, epoch=6))
    assert evidence.numbers()["calls"] == 0


def test_the_words_say_how_far_it_is() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 31, Outcome.OK)
    why = evidence.find().why
    assert why.startswith("31 of about 58 calls; evidence 0.")
    assert why.endswith("rolls back at 100x")


# -- the breaker ----------------


def test_five_broken_calls_in_a_row_roll_back_at_once() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 4, Outcome.TRANSPORT, unit="one session")
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 1, Outcome.CRASH, unit="one session")
    finding = evidence.find()
    assert finding.decision is Decision.ROLL_BACK
    assert "last 5 calls never reached the server" in finding.why


def test_the_breaker_starts_anew_after_a_call_that_came_through() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 4, Outcome.TRANSPORT, unit="one session")
    feed(evidence, 1, Outcome.TOOL_ERROR, unit="one session")
    feed(evidence, 4, Outcome.TRANSPORT, unit="one session")
    assert evidence.find().decision is Decision.HOLD


def test_the_breaker_does_not_blame_the_new_version_when_the_old_one_is_cut_off_too() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 5, Outcome.TRANSPORT, Arm.STABLE, unit="another session")
    feed(evidence, 9, Outcome.TRANSPORT, unit="one session")
    assert evidence.find().decision is Decision.HOLD


# -- total failure ----------------

FEW = Past(units=9, calls_per_unit=40.0, calls=300, healthy=("the one client",))


@pytest.mark.parametrize("outcome", [Outcome.TOOL_ERROR, Outcome.INTERNAL_ERROR])
def test_a_client_that_was_well_and_fails_always_now_speaks_for_itself(outcome: Outcome) -> None:
    evidence = Evidence(CANARY, Rules(), FEW)
    feed(evidence, 30, Outcome.OK, Arm.STABLE, unit="another")
    feed(evidence, 19, outcome, unit="the one client")
    assert "calls all failed" not in evidence.find().why
    feed(evidence, 1, outcome, unit="the one client")
    finding = evidence.find()
    assert finding.decision is Decision.ROLL_BACK


def test_two_clients_of_which_nothing_is_known_are_believed_together_and_one_alone_is_not() -> None:
    evidence = Evidence(CANARY, Rules(), Past(units=9, calls_per_unit=40.0, calls=300))
    feed(evidence, 30, Outcome.OK, Arm.STABLE, unit="another")
    feed(evidence, 40, Outcome.TOOL_ERROR, unit="a new client")
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 1, Outcome.TOOL_ERROR, unit="a second one")
    assert "the last 41 calls all failed, beside 0 of 30" in evidence.find().why


def test_a_single_answer_is_no_total_failure() -> None:
    evidence = Evidence(CANARY, Rules(), FEW)
    feed(evidence, 30, Outcome.OK, Arm.STABLE, unit="another")
    feed(evidence, 19, Outcome.TOOL_ERROR, unit="the one client")
    feed(evidence, 1, Outcome.OK, unit="the one client")
    feed(evidence, 19, Outcome.TOOL_ERROR, unit="the one client")
    assert evidence.find().decision is Decision.HOLD


def test_a_total_failure_of_both_versions_is_not_held_against_the_new_one() -> None:
    evidence = Evidence(CANARY, Rules(), FEW)
    feed(evidence, 30, Outcome.TOOL_ERROR, Arm.STABLE, unit="another")
    feed(evidence, 40, Outcome.TOOL_ERROR, unit="the one client")
    assert evidence.find().decision is Decision.HOLD


def test_a_total_failure_is_remembered_over_a_restart() -> None:
    evidence = Evidence(CANARY, Rules(), FEW)
    feed(evidence, 30, Outcome.OK, Arm.STABLE, unit="another")
    feed(evidence, 19, Outcome.TOOL_ERROR, unit="the one client")
    evidence = Evidence.load(CANARY, Rules(), at_once(evidence.dump()))
    feed(evidence, 1, Outcome.TOOL_ERROR, unit="the one client")
    assert evidence.find().decision is Decision.ROLL_BACK


# -- never answered ----------------


def answering(calls: int = 10) -> Evidence:
    evidence = Evidence(CANARY, Rules(), Past(units=9, calls_per_unit=40.0, calls=300))
    feed(evidence, calls, Outcome.OK, Arm.STABLE, unit="another")
    return evidence


def test_three_calls_that_all_fail_in_the_server_are_enough_of_a_version_that_never_answered() -> None:
    evidence = answering()
    feed(evidence, 2, Outcome.INTERNAL_ERROR)
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 1, Outcome.TIMEOUT)
    finding = evidence.find()
    assert finding.decision is Decision.ROLL_BACK
    assert finding.why == "all of its 3 calls failed in the server, beside none of the last 10 on version 1"


@pytest.mark.parametrize(
    "otherwise",
    [
        "it answered once",
        "the tool said so itself",
        "one unknown client",
        "the other version fails, too",
        "the other version was not asked",
    ],
)
def test_it_did_answer_or_nobody_knows_or_it_is_not_the_version(otherwise: str) -> None:
    evidence = answering(9 if otherwise == "the other version was not asked" else 10)
    if otherwise == "it answered once":
        feed(evidence, 1, Outcome.OK)
    if otherwise == "the other version fails, too":
        feed(evidence, 1, Outcome.INTERNAL_ERROR, Arm.STABLE, unit="a third")
        feed(evidence, 8, Outcome.OK, Arm.STABLE, unit="another")
    outcome = Outcome.TOOL_ERROR if otherwise == "the tool said so itself" else Outcome.INTERNAL_ERROR
    feed(evidence, 3, outcome, unit="the same" if otherwise == "one unknown client" else "")
    assert "all of its" not in evidence.find().why


# -- the comparison ----------------


def test_server_failures_are_seen_where_tools_fail_all_the_time_for_reasons_of_their_own() -> None:
    evidence = Evidence(CANARY, Rules(), Past(units=1_000, calls_per_unit=1.0, calls=300, failures=120))
    rng = random.Random(9)
    for at in range(600):
        arm = Arm.CANARY if rng.random() < 0.1 else Arm.STABLE
        noise = Outcome.TOOL_ERROR if rng.random() < 0.4 else Outcome.OK
        broken = arm is Arm.CANARY and rng.random() < 0.3
        evidence.update(call(f"u{at}", Outcome.INTERNAL_ERROR if broken else noise, arm, tool=f"t{at % 20}"))
    finding = evidence.find()
    assert finding.decision is Decision.ROLL_BACK
    assert "(server failures)" in finding.why


def test_what_the_first_calls_say_of_all_failures_and_of_the_servers_own_is_added() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 3, Outcome.INTERNAL_ERROR)
    together, own = evidence._of(ALL).log_levels[0], evidence._of(OWN).log_levels[0]
    added = math.exp(together) * SHARE_ALL + math.exp(own) * SHARE_HARD
    assert math.exp(evidence.log_evidence) == pytest.approx(added)


def test_what_is_said_at_other_moments_is_not_added() -> None:
    evidence = Evidence(CANARY, Rules(), replace(BUSY, calls_per_unit=50.0))
    for unit in ("one", "two", "three"):
        feed(evidence, 60, Outcome.INTERNAL_ERROR, unit=unit)
    strongest = max(share + stream.log_evidence for share, stream in evidence._streams.values())
    assert evidence._of(ALL).log_levels.index(max(evidence._of(ALL).log_levels)) > 0
    assert evidence.log_evidence == pytest.approx(strongest)


def test_evidence_is_multiplied_by_the_probability_of_the_salt_that_was_chosen() -> None:
    plain, chosen = (Evidence(replace(CANARY, balance=balance), Rules(), BUSY) for balance in (1.0, 0.6))
    for evidence in (plain, chosen):
        feed(evidence, 3, Outcome.TOOL_ERROR)
    assert chosen.log_evidence == pytest.approx(plain.log_evidence + math.log(0.6))


def test_what_is_expected_is_learned_from_the_stable_version_alone() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    before = evidence._acceptance.bad_rate
    feed(evidence, 20, Outcome.TOOL_ERROR)
    assert evidence._acceptance.bad_rate == before
    feed(evidence, 20, Outcome.TOOL_ERROR, Arm.STABLE)
    assert evidence._acceptance.bad_rate > before


def test_failures_that_gather_on_the_canary_roll_it_back_and_the_reason_has_the_numbers() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 200, Outcome.OK, Arm.STABLE)
    feed(evidence, 5, Outcome.TOOL_ERROR)
    finding = evidence.find()
    assert finding.decision is Decision.ROLL_BACK
    assert "5 of 5 calls failed, beside 0 of 200 on version 1" in finding.why


def test_callers_bad_arguments_are_no_failure() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 40, Outcome.INVALID_PARAMS)
    assert evidence.numbers()["failures"] == 0


def test_one_session_that_fails_all_day_does_not_roll_back() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    feed(evidence, 200, Outcome.TOOL_ERROR, unit="one session")
    feed(evidence, 10, Outcome.OK)
    feed(evidence, 90, Outcome.OK, Arm.STABLE)
    assert evidence.find().decision is Decision.HOLD


def test_a_broken_tool_is_found_by_its_own_stream() -> None:
    evidence = Evidence(CANARY, Rules(), Past(units=1_000, calls_per_unit=1.0, calls=300, failures=60))
    rng = random.Random(5)
    for at in range(1_500):
        arm = Arm.CANARY if rng.random() < 0.1 else Arm.STABLE
        noisy = rng.random() < 0.25
        evidence.update(call(f"n{at}", Outcome.TOOL_ERROR if noisy else Outcome.OK, arm, tool="noisy"))
        if at % 20 == 0:
            outcome = Outcome.TOOL_ERROR if arm is Arm.CANARY else Outcome.OK
            evidence.update(call(f"b{at}", outcome, arm, tool="broken"))
        if evidence.find().decision is Decision.ROLL_BACK:
            break
    assert "(tool broken)" in evidence.find().why


def test_in_a_holdback_the_arms_are_turned_around() -> None:
    evidence = Evidence(HOLDBACK, Rules(), BUSY)
    for at in range(400):
        arm = Arm.CANARY if at % 20 == 0 else Arm.STABLE
        evidence.update(call(f"u{at}", Outcome.OK if arm is Arm.CANARY else Outcome.TOOL_ERROR, arm))
    assert evidence.numbers()["failures"] == 380
    assert evidence.find().decision is Decision.ROLL_BACK


# -- alone ----------------


def test_without_a_control_group_server_failures_roll_back_a_version_on_probation() -> None:
    evidence = Evidence(ALONE, Rules(), Past(units=1, calls=50))
    feed(evidence, 3, Outcome.INTERNAL_ERROR, Arm.STABLE, unit="me")
    assert "3 of 3 calls failed in the server" in evidence.find().why


def test_with_few_units_a_server_failure_on_both_sides_is_nobodys() -> None:
    evidence = Evidence(CANARY, Rules(breaker_failures=100), Past(units=2, calls=50))
    feed(evidence, 1, Outcome.TIMEOUT, Arm.STABLE, unit="other")
    feed(evidence, 5, Outcome.TIMEOUT, unit="me")
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 10, Outcome.OK, Arm.STABLE, unit="other")
    assert evidence.find().decision is Decision.ROLL_BACK


def test_without_a_control_group_a_tools_own_errors_decide_nothing() -> None:
    evidence = Evidence(ALONE, Rules(), Past(units=1, calls=50))
    feed(evidence, 40, Outcome.TOOL_ERROR, Arm.STABLE, unit="me")
    assert evidence.find().decision is Decision.HOLD


def test_a_version_on_probation_is_never_promoted() -> None:
    evidence = Evidence(ALONE, Rules(), BUSY)
    feed(evidence, 500, Outcome.OK, Arm.STABLE)
    assert evidence.find().decision is Decision.HOLD


# -- promotion ----------------


def test_promotion_needs_units_and_not_calls_alone() -> None:
    evidence = Evidence(CANARY, Rules(), BUSY)
    for at in range(400):
        evidence.update(call(f"session-{at % 3}"))
    assert evidence.find().decision is Decision.HOLD


def test_where_there_are_few_units_as_many_as_there_are_will_do() -> None:
    evidence = Evidence(CANARY, Rules(), Past(units=40, calls_per_unit=50.0, calls=300))
    for at in range(400):
        evidence.update(call(f"session-{at % 3}"))
    finding = evidence.find()
    assert finding.decision is Decision.PROMOTE
    assert "0 of 400 calls failed" in finding.why


def test_a_version_is_bad_from_the_margin_on_or_a_multiple_of_the_rate() -> None:
    assert bad_rate(0.01, 0.05) == pytest.approx(0.06)
    assert bad_rate(0.2, 0.05) == pytest.approx(0.32)


def test_the_announced_number_of_calls_is_what_a_faultless_version_takes() -> None:
    acceptance = Acceptance(0.05, 0.05, 1, Baseline(0.0, 1_000.0))
    calls = 0
    while not acceptance.accepts:
        acceptance.add(f"u{calls}", failed=False)
        calls += 1
    assert calls == acceptance.calls_expected


# -- latency ----------------


def timed(unit: str, took_s: float, arm: Arm) -> CallRecord:
    return replace(call(unit, arm=arm), latency_s=took_s)


def test_calls_that_are_slow_where_the_coin_put_the_canary_roll_it_back() -> None:
    evidence = Evidence(CANARY, Rules(), TIMED)
    for at in range(400):
        canary = at % 10 == 0
        evidence.update(timed(f"u{at}", 0.3 if canary else 0.1, Arm.CANARY if canary else Arm.STABLE))
    finding = evidence.find()
    assert finding.decision is Decision.ROLL_BACK
    assert "40 of 40 calls were slow, beside 0 of 360 on version 1" in finding.why
    assert "(slow calls)" in finding.why


def test_a_slowdown_of_both_versions_is_nobodys() -> None:
    evidence = Evidence(CANARY, Rules(), TIMED)
    for at in range(400):
        evidence.update(timed(f"u{at}", 0.3, Arm.CANARY if at % 10 == 0 else Arm.STABLE))
    assert evidence.find().decision is not Decision.ROLL_BACK


def test_latencies_decide_nothing_where_they_are_not_wanted() -> None:
    evidence = Evidence(CANARY, Rules(slow_factor=0.0), TIMED)
    for at in range(400):
        evidence.update(timed(f"u{at}", 3.0 if at % 10 == 0 else 0.1, Arm.CANARY if at % 10 == 0 else Arm.STABLE))
    assert evidence.numbers()["slow"] == 0
    assert evidence.find().decision is not Decision.ROLL_BACK


def test_a_tool_without_a_past_gets_its_bound_from_the_first_calls_of_both_versions() -> None:
    usual = Usual(factor=1.5)
    assert [usual.is_slow("new", 0.1) for _ in range(40)] == [None] * 40
    assert (usual.is_slow("new", 0.149), usual.is_slow("new", 0.2)) == (False, True)


def test_a_quick_tool_has_some_slack() -> None:
    assert bound_of([0.001] * 40, 1.5) == pytest.approx(0.006)
    assert bound_of([0.001] * 39, 1.5) is None


def test_bounds_of_the_past_are_by_tool() -> None:
    bounds, slow, timed_calls = past_bounds([("quick", 0.1), ("long", 2.0)] * 40 + [("quick", 1.0)], 1.5)
    assert dict(bounds) == {"quick": pytest.approx(0.15), "long": pytest.approx(3.0)}
    assert (slow, timed_calls) == (1, 81)
