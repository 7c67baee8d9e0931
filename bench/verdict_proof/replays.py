"""Simulated replays: captured calls asked of the new version and of copies of the old one, judged by the real pairs."""

from __future__ import annotations

import random

from bench.verdict_proof.rollouts import Outcomes
from henslowe.actors.pairing import PairedEvidence
from henslowe.actors.router import Rules


def paired_calls(
    rng: random.Random,
    old: float,
    new: float,
    *,
    others: int = 2,
    calls_max: int = 3_000,
    tools: int = 1,
    broken: int = -1,
) -> int:
    """Replayed calls until the new version is blamed, `calls_max + 1` where it never is.

    Args:
        rng: Seeded.
        old: Failure rate of the active version.
        new: That of the new one; of the tool `broken` alone, where there is one.
        others: Copies of the active version that are asked, too.
        calls_max: When to give up.
        tools: Tools that take turns by chance.
        broken: Which of them the new version breaks; -1 for all.
    """
    evidence = PairedEvidence()
    for at in range(1, calls_max + 1):
        tool = rng.randrange(tools)
        failed = sum(rng.random() < old for _ in range(others))
        rate = new if broken in (-1, tool) else old
        evidence.add(f"t{tool}", new_failed=rng.random() < rate, others_failed=failed, others=others)
        if evidence.evidence >= 1 / Rules().alpha:
            return at
    return calls_max + 1


def paired_runs(seed: int | str, runs: int, old: float, new: float, **options: int) -> list[int]:
    """So many replays, the shortest first."""
    rng = random.Random(seed)
    return sorted(paired_calls(rng, old, new, **options) for _ in range(runs))


def replays(runs: int, seed: str, old: float, new: float, *, calls_max: int = 3_000, **options: int) -> Outcomes:
    """The same as outcomes: a version that is blamed is one that is rolled back."""
    found = paired_runs(seed, runs, old, new, calls_max=calls_max, **options)
    blamed = [calls for calls in found if calls <= calls_max]
    return Outcomes(rollbacks=blamed, undecided=len(found) - len(blamed))
