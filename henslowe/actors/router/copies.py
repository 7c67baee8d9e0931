"""What copies of live calls have shown of a canary: beside the verdict on its own calls, with its own alpha. Pure.

A copy asks the candidate what a client asked the stable version. A candidate that has not seen the writes that the
stable one has may lack what is asked for, and say so: so only failures that are never a tool's own word count
as evidence; the others are told. How the evidence is weighed: `henslowe.actors.pairing`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from henslowe.actors.messages import Decision
from henslowe.actors.pairing import Asked, Ledger
from henslowe.actors.pairing.ledger import Clean
from henslowe.actors.router.verdict import Finding
from henslowe.words import differ, fail

PATHS_TOLD: Final = 5


class Mirrorings:
    """The copies of one rollout. Runs in: the loop."""

    def __init__(self, clean: Clean) -> None:
        self._ledger = Ledger(clean, blames=lambda answer: answer.broke)
        self._dropped_before: int | None = None
        self.dropped = 0
        self._dropped_earlier = 0
        """In lives of the node before this one: the gateway counts from its start."""

    def add(self, asked: Asked, dropped: int) -> None:
        """One more copy; `dropped` counts those that were not made, since the gateway's start."""
        if self._dropped_before is None:
            self._dropped_before = dropped
        self.dropped = self._dropped_earlier + max(0, dropped - self._dropped_before)
        self._ledger.add(asked)

    def dump(self) -> dict[str, Any]:
        """What the copies have shown, as plain data for `load`."""
        return {"dropped": self.dropped, "ledger": self._ledger.dump()}

    def load(self, dumped: dict[str, Any]) -> None:
        """Goes on from where `dump` was called."""
        self.dropped = self._dropped_earlier = dumped["dropped"]
        self._ledger.load(dumped["ledger"])

    def beside(self, finding: Finding, *, alpha: float) -> Finding:
        """The finding on the canary's own calls, with what its copies say: they may speak against it, too."""
        ledger = self._ledger
        numbers = {**finding.numbers, "mirror": self.numbers()}
        if finding.decision is not Decision.ROLL_BACK and ledger.evidence.evidence >= 1.0 / alpha:
            why = f"{self.words}; evidence {ledger.evidence.evidence:.0f}x, rolls back at {1.0 / alpha:.0f}x"
            return Finding(Decision.ROLL_BACK, why, numbers)
        return replace(finding, why=f"{finding.why}; {self.words}", numbers=numbers)

    @property
    def words(self) -> str:
        """`40 mirrored: 38 alike, 2 differ (look: items[].price)`."""
        ledger = self._ledger
        parts = [f"{ledger.alike} alike"]
        if ledger.failed_new:
            parts.append(f"{fail(ledger.failed_new)} on the new version only")
        if ledger.failed_old:
            parts.append(f"{ledger.failed_old} on the stable one only")
        if different := ledger.different_paths:
            (tool, path), *_ = different
            parts.append(f"{differ(ledger.differing)} ({tool}: {path}{', ...' if len(different) > 1 else ''})")
        if self.dropped:
            parts.append(f"{self.dropped} dropped")
        return f"{ledger.calls} mirrored: {', '.join(parts)}"

    def numbers(self) -> dict[str, Any]:
        """The figures behind it."""
        ledger = self._ledger
        worst = sorted(ledger.different_paths.items(), key=lambda each: -each[1])[:PATHS_TOLD]
        return {
            "calls": ledger.calls,
            "alike": ledger.alike,
            "failed_new": ledger.failed_new,
            "failed_old": ledger.failed_old,
            "failed_both": ledger.failed_both,
            "refused_new": ledger.refused_new,
            "differing": ledger.differing,
            "dropped": self.dropped,
            "evidence": round(min(ledger.evidence.evidence, 1e12), 2),
            "paths": [{"tool": tool, "path": path, "calls": calls} for (tool, path), calls in worst],
            "examples": ledger.examples,
        }
