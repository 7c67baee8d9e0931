"""The paired test against simulated calls: how soon it finds what, and how rarely it is wrong. Seeded."""

from __future__ import annotations

import pytest

from bench.verdict_proof.replays import paired_runs
from henslowe.actors.pairing import PairedEvidence, PairedTest

NEEDED = 100.0


@pytest.mark.parametrize(("others", "most"), [(1, 9), (2, 6)])
def test_total_failure_is_found_within_nine_calls(others: int, most: int) -> None:
    assert paired_runs(1, 200, 0.0, 1.0, others=others)[-1] <= most
    assert paired_runs(2, 200, 0.01, 1.0, others=others)[190] <= most


@pytest.mark.parametrize(("others", "median"), [(1, 125), (2, 85)])
def test_one_failure_in_ten_is_found_within_about_a_hundred_calls(others: int, median: int) -> None:
    found = paired_runs(3, 200, 0.01, 0.10, others=others)
    assert found[100] <= median
    assert found[-1] <= 1_000


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.6])
def test_a_version_that_fails_like_the_other_is_hardly_ever_blamed(others: int, rate: float) -> None:
    found = paired_runs(4, 120, rate, rate, others=others, calls_max=150, tools=5)
    assert sum(calls <= 150 for calls in found) <= 4, "more than 1 %, by more than chance"


def test_one_broken_tool_of_twenty_does_not_drown_in_the_sum() -> None:
    found = paired_runs(5, 50, 0.0, 1.0, others=2, tools=20, broken=7)
    assert found[25] <= 150


def test_what_fails_on_all_copies_or_on_none_says_nothing() -> None:
    test = PairedTest()
    for _ in range(1_000):
        test.add(new_failed=True, others_failed=2, others=2)
        test.add(new_failed=False, others_failed=0, others=2)
    assert test.evidence == pytest.approx(1.0)
    assert test.discordant == 0


@pytest.mark.parametrize("others", [1, 2, 3])
def test_the_expectation_of_each_factor_is_one_for_a_version_like_the_others(others: int) -> None:
    for failed in range(1, others + 1):
        expected = 0.0
        for new_failed in (False, True):
            evidence = PairedEvidence()
            evidence.add("t", new_failed=new_failed, others_failed=failed - new_failed, others=others)
            share = failed / (others + 1)
            expected += evidence.evidence * (share if new_failed else 1 - share)
        assert expected == pytest.approx(1.0)


def test_more_tools_than_have_a_stream_of_their_own_are_counted_together() -> None:
    evidence = PairedEvidence()
    for at in range(1_000):
        evidence.add(f"t{at}", new_failed=True, others_failed=0, others=1)
    assert evidence.evidence >= NEEDED
