"""What the router keeps of one service: its traffic, and where its trial stands.

Not here: who fills it (`henslowe.actors.router.actor`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from henslowe.actors.health import Breach, ServiceWindows
from henslowe.actors.ids import VersionKey
from henslowe.actors.messages import Decision
from henslowe.actors.router.copies import Mirrorings
from henslowe.actors.router.counters import ServiceCounter
from henslowe.actors.router.derive import RoutedService
from henslowe.actors.router.reasons import FailingCalls
from henslowe.actors.router.verdict import Evidence, Finding
from henslowe.actors.routes import CallRecord, Outcome
from henslowe.actors.traffic import TrialStatus

DOUBT: Final = 3.0
"""Evidence from which a trial is shown as degraded."""


@dataclass(slots=True)
class Watched:
    """What the router keeps of one service."""

    counter: ServiceCounter
    row: RoutedService | None = None
    """The service's row that the trial was last derived from."""
    evidence: Evidence | None = None
    copies: Mirrorings | None = None
    finding: Finding | None = None
    fresh: bool = False
    """Calls came since health was said."""
    unsaved: bool = False
    saving: Generator[int, None, None] | None = None
    """The write of the evidence that was begun last; closed with its trial."""
    traffic_unsaved: bool = False
    traffic_saved_s: float = 0.0
    saved_busy: bool = False
    """Whether it had enough units for a canary, as of then."""
    said: tuple[int, Decision] | None = None
    """Epoch and decision of the last verdict that was said."""
    sent_s: float = 0.0
    failures_said: int = 0
    failures_silent: int = 0
    windows: ServiceWindows = field(default_factory=ServiceWindows)
    failing: FailingCalls = field(default_factory=FailingCalls)
    """Of the version on trial."""
    passed: dict[VersionKey, Breach] = field(default_factory=dict)
    """Versions that serve for good, and are beyond a limit of their own."""
    seen_up: set[int] = field(default_factory=set)
    """Versions that answered in this life of the router: after a restart of the node, a version that is still starting
    is not one that crashed."""

    def may_blame(self, record: CallRecord) -> bool:
        """Whether a call says something about its version."""
        number = record.version.number
        if record.outcome is not Outcome.CRASH:
            self.seen_up.add(number)
        return number in self.seen_up

    @property
    def status(self) -> TrialStatus | None:
        """The trial as it is published; None without one, or before its first verdict."""
        if self.evidence is None or self.finding is None:
            return None
        trial, finding = self.evidence.trial, self.finding
        return TrialStatus(
            trial.new,
            trial.old,
            trial.probation,
            finding.decision.value,
            finding.why,
            finding_is_well(finding),
            MappingProxyType(finding.numbers),
        )


def finding_is_well(finding: Finding) -> bool:
    """Whether nothing much speaks against the version."""
    return finding.decision is not Decision.ROLL_BACK and finding.numbers["evidence"] < DOUBT
