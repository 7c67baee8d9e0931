"""The verdict on a rollout in steps: one evidence over all weights, each unit weighed with those that it met."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Decision
from henslowe.actors.router import Evidence, Past, Rules, Trial
from henslowe.actors.router.pieces import at_once
from henslowe.actors.router.randomised import LEVELS, RandomisedStream
from henslowe.actors.router.units import ODDS
from henslowe.actors.router.verdict import ALL
from henslowe.actors.routes import Arm, CallRecord, Outcome

SERVICE = ServiceName("hello")
OLD, NEW = VersionKey(SERVICE, 1), VersionKey(SERVICE, 2)
FIRST = Trial(SERVICE, 7, NEW, OLD, 0.1, ramp=((7, 0.1),), step=1, steps=3, step_calls=20)
SECOND = replace(FIRST, epoch=8, share_new=0.25, ramp=((7, 0.1), (8, 0.25)), step=2, step_calls=5)
LAST = replace(SECOND, epoch=9, share_new=0.5, ramp=((7, 0.1), (8, 0.25), (9, 0.5)), step=3)
BUSY = Past(units=1_000, calls_per_unit=1.0, calls=300, failures=3)


def feed(evidence: Evidence, calls: int, outcome: Outcome = Outcome.OK, arm: Arm = Arm.CANARY, unit: str = "") -> None:
    epoch = evidence.trial.epoch
    for at in range(calls):
        name = unit or f"{arm}-{outcome}-{epoch}-{at}"
        version = NEW if arm is Arm.CANARY else OLD
        evidence.update(CallRecord(version, arm, name, True, "echo", outcome, 0.01, 100.0, epoch, "boom"))


# -- the promise ----------------


@st.composite
def lives(draw: st.DrawFn) -> list[tuple[float, list[bool]]]:
    """What one unit does: at each weight that it meets, its calls and whether they fail."""
    shares = sorted(draw(st.sets(st.sampled_from([0.01, 0.05, 0.1, 0.3, 0.5, 0.9, 1.0]), min_size=1, max_size=4)))
    return [(share, draw(st.lists(st.booleans(), min_size=1, max_size=50))) for share in shares]


@given(life=lives())
def test_over_all_ways_that_the_coin_may_fall_the_evidence_of_a_unit_is_one_on_average(
    life: list[tuple[float, list[bool]]],
) -> None:
    bounds = [0.0, *(share for share, _ in life), 1.0]
    mean = [[0.0] * len(ODDS) for _ in LEVELS]
    for low, high in pairwise(bounds):
        stream = RandomisedStream(life[0][0] if life[0][0] < 1 else 0.5)
        for share, failures in life:
            for failed in failures:
                stream.add("unit", new=low < share, failed=failed, time_s=0.0, share=share)
        stream.close(before_s=1.0)
        for level, products in enumerate(stream.log_e):
            for k, log_e in enumerate(products):
                mean[level][k] += (high - low) * math.exp(log_e)
    assert mean == [[pytest.approx(1.0)] * len(ODDS)] * len(LEVELS)


def test_a_unit_that_moves_to_the_new_version_and_fails_there_speaks_against_it() -> None:
    moved, stayed = RandomisedStream(0.1), RandomisedStream(0.1)
    for stream, new in ((moved, True), (stayed, False)):
        for _ in range(5):
            stream.add("unit", new=False, failed=False, time_s=0.0, share=0.1)
        for _ in range(5):
            stream.add("unit", new=new, failed=True, time_s=0.0, share=0.5)
    counted_after_ten_calls = 1
    assert max(moved.log_e[counted_after_ten_calls]) > 0.5 > max(stayed.log_e[counted_after_ten_calls])


def test_a_unit_whose_coin_is_spent_as_stable_has_the_rest_of_it_left_at_a_greater_weight() -> None:
    stream = RandomisedStream(0.1)
    stream.add("unit", new=False, failed=False, time_s=0.0)
    stream.close(before_s=1.0)
    stream.add("unit", new=False, failed=True, time_s=0.0)
    assert not stream.units, "at the same weight nothing is left to learn"
    stream.add("unit", new=True, failed=True, time_s=0.0, share=0.5)
    assert stream.units["unit"].floor == 0.1
    stream.close(before_s=1.0)
    stream.add("unit", new=True, failed=True, time_s=0.0, share=0.9)
    assert not stream.units, "on the new version it stays there: its coin is spent"


def test_a_call_that_was_under_way_when_the_weight_grew_belongs_to_the_step_before() -> None:
    stream = RandomisedStream(0.1)
    stream.add("unit", new=False, failed=False, time_s=0.0, share=0.1)
    stream.add("unit", new=True, failed=False, time_s=0.0, share=0.5)
    before = list(stream.units["unit"].log_r)
    stream.add("unit", new=False, failed=True, time_s=0.0, share=0.1)
    unit = stream.units["unit"]
    assert (unit.log_r, unit.new_at, unit.share) == (before, 1, 0.5)


# -- the steps ----------------


def test_a_step_is_over_when_its_calls_were_answered_and_nothing_speaks_against_the_next() -> None:
    evidence = Evidence(FIRST, Rules(), BUSY)
    feed(evidence, 19)
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 1, unit="one more")
    finding = evidence.find()
    assert finding.decision is Decision.ADVANCE
    assert finding.why.startswith("0 of 20 calls failed, 20 of them at 10 %; evidence ")


def test_a_step_that_is_in_doubt_goes_on() -> None:
    evidence = Evidence(FIRST, Rules(), BUSY)
    feed(evidence, 16)
    feed(evidence, 4, Outcome.INTERNAL_ERROR)
    assert 10 < evidence.numbers()["evidence"] < 100
    assert evidence.find().decision is Decision.HOLD


def test_a_step_goes_on_while_its_calls_look_more_like_a_bad_versions() -> None:
    evidence = Evidence(FIRST, Rules(), BUSY)
    feed(evidence, 19)
    feed(evidence, 1, Outcome.INTERNAL_ERROR)
    assert evidence.numbers()["evidence"] < 10
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 20, unit="of one more client")
    assert evidence.find().decision is Decision.ADVANCE


def test_where_units_stay_only_evidence_holds_a_step_up() -> None:
    evidence = Evidence(FIRST, Rules(), replace(BUSY, calls_per_unit=50.0))
    feed(evidence, 19)
    feed(evidence, 1, Outcome.INTERNAL_ERROR)
    assert evidence.find().decision is Decision.ADVANCE
    for client in ("one", "another"):
        feed(evidence, 8, Outcome.TOOL_ERROR, unit=client)
    assert 10 < evidence.numbers()["evidence"] < 100
    assert evidence.find().decision is Decision.HOLD


def test_only_the_last_step_ends_in_promotion_and_all_calls_before_count_for_it() -> None:
    evidence = Evidence(FIRST, Rules(), BUSY)
    feed(evidence, 60)
    assert evidence.find().decision is Decision.ADVANCE
    evidence.move_on(SECOND)
    assert (evidence.step_calls, evidence.new.calls) == (0, 60)
    feed(evidence, 5)
    assert evidence.find().decision is Decision.ADVANCE
    evidence.move_on(LAST)
    assert evidence.find().decision is Decision.HOLD
    feed(evidence, 5)
    assert evidence.find().decision is Decision.PROMOTE


def test_failures_at_any_step_roll_back_with_what_was_seen_before() -> None:
    evidence = Evidence(FIRST, Rules(), BUSY)
    feed(evidence, 1, Outcome.INTERNAL_ERROR)
    before = evidence.log_evidence
    evidence.move_on(SECOND)
    assert evidence.log_evidence == before
    feed(evidence, 4, Outcome.INTERNAL_ERROR)
    assert evidence.find().decision is Decision.ROLL_BACK


def test_calls_of_an_earlier_step_count_with_the_weight_that_they_met_but_not_for_the_step() -> None:
    evidence = Evidence(SECOND, Rules(), BUSY)
    evidence.update(CallRecord(NEW, Arm.CANARY, "late", True, "echo", Outcome.OK, 0.01, 100.0, 7))
    evidence.update(CallRecord(NEW, Arm.CANARY, "older", True, "echo", Outcome.OK, 0.01, 100.0, 6))
    assert (evidence.new.calls, evidence.step_calls) == (1, 0)
    assert evidence._of(ALL).units["late"].share == 0.1


def test_with_all_of_the_traffic_on_it_a_version_is_judged_by_its_own_failures() -> None:
    whole = replace(LAST, share_new=1.0, ramp=((7, 0.1), (8, 0.25), (9, 1.0)))
    evidence = Evidence(FIRST, Rules(), BUSY)
    evidence.move_on(whole)
    for at in range(8):
        feed(evidence, 1, Outcome.INTERNAL_ERROR, unit=f"u{at}")
    finding = evidence.find()
    assert (finding.decision, "with no control group" in finding.why) == (Decision.ROLL_BACK, True)


def test_after_a_restart_the_evidence_goes_on_in_the_middle_of_a_rollout() -> None:
    evidence = Evidence(FIRST, Rules(), BUSY)
    feed(evidence, 10, arm=Arm.STABLE, unit="stays")
    feed(evidence, 3, Outcome.INTERNAL_ERROR)
    evidence.move_on(SECOND)
    feed(evidence, 4, unit="stays")
    again = Evidence.load(SECOND, Rules(), at_once(evidence.dump()))
    assert (again.log_evidence, again.step_calls) == (evidence.log_evidence, 4)
    for one in (evidence, again):
        feed(one, 2, Outcome.INTERNAL_ERROR, unit="stays")
    assert again.log_evidence == evidence.log_evidence
    later = Evidence.load(LAST, Rules(), at_once(evidence.dump()))
    assert (later.step_calls, later.new.calls) == (0, evidence.new.calls)


def test_a_trial_knows_which_weight_a_call_met() -> None:
    assert [LAST.share_at(epoch) for epoch in (6, 7, 8, 9, 10)] == [None, 0.1, 0.25, 0.5, None]
    configured = replace(LAST, epoch=11)
    assert (configured.share_at(11), configured.step_since) == (0.5, 9)
    assert LAST.follows(SECOND)
    assert configured.follows(LAST)
    assert not SECOND.follows(LAST)
    assert not replace(FIRST, epoch=9, ramp=((9, 0.1),)).follows(FIRST)
