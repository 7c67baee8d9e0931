"""What a rehearsal found, in a word, in a sentence and in numbers: pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from henslowe.actors.messages import Resemblance
from henslowe.actors.pairing import Ledger
from henslowe.actors.rehearsal.selecting import Skipped
from henslowe.words import counted, differ, fail

PATHS_TOLD: Final = 10


def resemblance(first: Ledger, doubts: Ledger | None, *, needed: float) -> Resemblance:
    """What the calls have shown.

    Args:
        first: All calls, beside the active version as it runs.
        doubts: Those that failed, beside a fresh copy of it; None where there were none or no copy could be had.
        needed: Evidence from which failures are the version's doing.
    """
    if doubts is not None and doubts.evidence.evidence >= needed:
        return Resemblance.FAILS
    if not first.calls:
        return Resemblance.UNKNOWN
    # Failures that a copy of the active version shares are the lack of a state, and come with any new process.
    unexplained = first.failed_new and (doubts is None or doubts.failed_new)
    return Resemblance.DIFFERS if unexplained or first.refused_new or first.different_paths else Resemblance.ALIKE


def words(
    first: Ledger, doubts: Ledger | None, skipped: Skipped, found: Resemblance, *, against: int, fresh: bool = True
) -> str:
    """The result as a person reads it: `40 calls replayed beside v3: 38 alike, 2 differ (greet: content[].text)`."""
    if not first.calls:
        return f"nothing to replay{_left_out(skipped)}"
    parts = [f"{first.alike} alike"]
    if first.failed_new:
        parts.append(f"{fail(first.failed_new)} on this version only")
    if first.failed_old:
        parts.append(f"{first.failed_old} failed on v{against} only")
    if first.failed_both:
        parts.append(f"{fail(first.failed_both)} on both")
    if first.refused_new:
        parts.append(f"{first.refused_new} refused by its new contract")
    differing = first.different_paths
    if differing:
        places = ", ".join(f"{tool}: {path}" for tool, path in list(differing)[:2])
        parts.append(f"{differ(first.differing)} ({places}{', ...' if len(differing) > 2 else ''})")
    elif first.differing:
        parts.append(f"{differ(first.differing)} as v{against} does from itself")
    text = f"{counted(first.calls, 'call')} replayed beside v{against}: {', '.join(parts)}"
    if doubts is not None:
        text += f"; {_doubts(doubts, found, f'a fresh copy of v{against}' if fresh else f'v{against}')}"
    example = next((each for each in first.examples if each["path"] == "(outcome)"), None)
    if found is Resemblance.FAILS and example is not None:
        text += f"; {example['tool']}: {example['new']}"
    return text + _left_out(skipped)


def figures(first: Ledger, doubts: Ledger | None, skipped: Skipped, *, needed: float, took_s: float) -> dict[str, Any]:
    """The numbers behind it, small enough to be kept with the version."""
    return {
        "calls": first.calls,
        "alike": first.alike,
        "failed_new": first.failed_new,
        "failed_old": first.failed_old,
        "failed_both": first.failed_both,
        "refused_new": first.refused_new,
        "differing": first.differing,
        "confirmed": None if doubts is None else {"calls": doubts.calls, "failed_new": doubts.failed_new},
        "evidence": _rounded(doubts.evidence.evidence if doubts is not None else 1.0),
        "evidence_needed": needed,
        "paths": [
            {"tool": tool, "path": path, "calls": calls}
            for (tool, path), calls in sorted(first.different_paths.items(), key=lambda each: -each[1])[:PATHS_TOLD]
        ],
        "examples": first.examples,
        "skipped": asdict(skipped),
        "took_ms": round(took_s * 1000),
    }


def _doubts(doubts: Ledger, found: Resemblance, other: str) -> str:
    if found is Resemblance.FAILS:
        return (
            f"asked again beside {other}, {doubts.failed_new} of {doubts.calls} failed on this version only "
            f"(evidence {_times(doubts.evidence.evidence)})"
        )
    if not doubts.failed_new:
        return f"{other} fails them too: they need what the running one remembers"
    return f"asked again beside {other}, {doubts.failed_new} of {doubts.calls} failed, which decides nothing"


def _left_out(skipped: Skipped) -> str:
    reasons = (
        (skipped.redacted, "with secrets"),
        (skipped.writing, "not read-only"),
        (skipped.gone, "of tools that are gone"),
        (skipped.refused, "that its new schema refuses"),
        (skipped.stateful, "that need what a process remembers"),
    )
    told = [f"{count} {why}" for count, why in reasons if count]
    return f"; left out: {', '.join(told)}" if told else ""


def _times(evidence: float) -> str:
    return "over a million x" if evidence >= 1e6 else f"{evidence:.0f}x"


def _rounded(evidence: float) -> float:
    return round(min(evidence, 1e12), 2)
