"""The verdict against simulated traffic: a seeded subset of what `bench/canary_sim.py` runs in full.

Limits are those of the bench, widened where so few runs cannot tell: with 40 runs, one false rollback is 2.5 %.
"""

from __future__ import annotations

import pytest

from bench.verdict_proof.rollouts import NEVER, quantile, run
from bench.verdict_proof.scenarios import CALLS_PER_S, CLIMB, FEW, FORTY, RUSH, SHORT, STAYING, STAYING_1
from bench.verdict_proof.traffic import long_sessions, short_sessions, single_calls


def test_a_version_that_fails_one_call_in_ten_is_rolled_back_within_tens_of_canary_calls() -> None:
    found = run(40, 101, single_calls(0.01, 0.10), calls_max=4_000)
    assert len(found.rollbacks) >= 39
    assert quantile(found.rollbacks, 0.5, found.runs) <= 80
    assert quantile(found.rollbacks, 0.95, found.runs) <= 180


def test_a_version_that_fails_always_serves_few_failing_calls() -> None:
    found = run(40, 102, single_calls(0.01, 1.0), calls_max=2_000)
    assert len(found.rollbacks) == 40
    assert quantile(found.failed_calls, 0.5, found.runs) <= 3


def test_a_good_version_is_promoted_and_not_rolled_back() -> None:
    found = run(40, 103, single_calls(0.01, 0.01), calls_max=6_000)
    assert len(found.promotions) >= 39
    assert quantile(found.promotions, 0.9, found.runs) <= 300


def test_an_incident_that_hits_both_versions_is_not_held_against_the_new_one() -> None:
    traffic = single_calls(0.01, 0.01, incident=(200, 700, 0.3))
    assert len(run(40, 104, traffic, calls_max=1_000, rules=NEVER).rollbacks) <= 1


@pytest.mark.parametrize("icc", [0.0, 0.6])
def test_sessions_whose_calls_fail_together_roll_no_good_version_back(icc: float) -> None:
    found = run(30, 105, short_sessions(0.02, 0.02, icc=icc), calls_max=1_000, past=SHORT, rules=NEVER)
    assert len(found.rollbacks) <= 1


def test_forty_sessions_that_stay_decide_within_two_minutes_of_traffic() -> None:
    found = run(30, 106, long_sessions(0.0, 0.10), calls_max=9_000, known_units=FORTY, past=STAYING)
    assert len(found.rollbacks) >= 29
    assert quantile(found.calls_until, 0.9, found.runs) / CALLS_PER_S <= 120


def test_forty_sessions_that_stay_roll_no_good_version_back_and_promote_it() -> None:
    found = run(20, 107, long_sessions(0.02, 0.02), calls_max=6_000, known_units=FORTY, past=STAYING)
    assert len(found.rollbacks) == 0
    assert len(found.promotions) >= 18


def test_one_client_alone_is_enough_to_take_a_broken_version_back() -> None:
    traffic = long_sessions(0.01, 1.0, sessions=1)
    found = run(10, 108, traffic, calls_max=50, probation=True, past=FEW)
    assert len(found.rollbacks) == 10
    assert max(found.failed_calls) <= 5


def test_one_client_alone_takes_no_good_version_back() -> None:
    traffic = long_sessions(0.01, 0.01, sessions=1)
    assert not run(40, 109, traffic, calls_max=300, probation=True, past=FEW).rollbacks


def test_a_holdback_finds_during_probation_what_the_canary_did_not_show() -> None:
    found = run(10, 110, single_calls(0.01, 0.3), calls_max=4_000, weight=500, holdback=True, rules=NEVER)
    assert len(found.rollbacks) >= 9


def test_a_rollout_in_steps_finds_a_bad_version_at_its_small_weights() -> None:
    found = run(40, 111, single_calls(0.01, 0.10), calls_max=4_000, steps=CLIMB)
    assert len(found.rollbacks) >= 39
    assert quantile(found.rollbacks, 0.5, found.runs) <= 70
    assert quantile(found.rollbacks, 0.9, found.runs) <= 150


def test_sessions_that_stay_do_not_keep_a_rollout_at_a_step_at_which_all_was_said() -> None:
    kept = {"calls_max": 9_000, "known_units": FORTY, "past": STAYING_1, "steps": CLIMB}
    assert len(run(12, 112, long_sessions(0.01, 0.10), **kept).rollbacks) >= 11


def test_a_rollout_in_hasty_steps_rolls_no_good_version_back() -> None:
    found = run(30, 107, short_sessions(0.02, 0.02), calls_max=1_000, past=SHORT, rules=NEVER, steps=RUSH)
    assert len(found.rollbacks) <= 1
