"""What a verdict is about: the trial, the traffic before it, the rules. Data, of which `verdict` makes a finding."""

from __future__ import annotations

from dataclasses import dataclass

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.router.latency import Bounds
from henslowe.actors.routes import Arm


@dataclass(slots=True, frozen=True)
class Trial:
    """What is being judged: one version beside another, with the shares of traffic that it had so far."""

    service: ServiceName
    epoch: int
    """Of the routes of now; a rollout in steps has had others before (`ramp`)."""
    new: VersionKey
    old: VersionKey | None
    """The control; None when all traffic meets the new version."""
    share_new: float
    """Probability that a unit is on the new version, now; 1 without a control."""
    probation: bool = False
    """The new version is ACTIVE already: there is nothing to promote."""
    holdback: bool = False
    """Arms turned around: the route's canary is the old version."""
    balance: float = 1.0
    """Probability of the event that the salt was chosen for."""
    ramp: tuple[tuple[int, float], ...] = ()
    """Epochs from which on it had which share, each more than the one before; none: the share of now, since `epoch`."""
    step: int = 1
    steps: int = 1
    step_calls: int = 0
    """Calls of the new version before this step may end."""
    by_person: bool = False
    """Only a person promotes it: an A/B test, or a version that gets nothing but copies."""

    @property
    def since(self) -> int:
        """The epoch in which it began."""
        return self.ramp[0][0] if self.ramp else self.epoch

    @property
    def last_step(self) -> bool:
        """Whether it ends in promotion."""
        return self.step >= self.steps

    def share_at(self, epoch: int) -> float | None:
        """The share in an epoch; None for one that is not of this trial."""
        if not self.since <= epoch <= self.epoch:
            return None
        if not self.ramp or epoch >= self.ramp[-1][0]:  # nearly always
            return self.ramp[-1][1] if self.ramp else self.share_new
        return next(share for since, share in reversed(self.ramp) if since <= epoch)

    @property
    def step_since(self) -> int:
        """The epoch in which its step began."""
        return self.ramp[-1][0] if self.ramp else self.epoch

    def follows(self, other: Trial) -> bool:
        """Whether this is the same rollout later on, at its next step or not: what was learned there is good here."""
        same = (self.since, self.new, self.old, self.probation) == (other.since, other.new, other.old, other.probation)
        return same and self.ramp[: len(other.ramp)] == other.ramp

    def is_new(self, arm: Arm) -> bool:
        """Whether a call on this arm met the new version."""
        return self.old is None or (arm is Arm.CANARY) is not self.holdback


@dataclass(slots=True, frozen=True)
class Past:
    """What the service's traffic was like before the rollout; decides how the tests are set, never what they find."""

    units: int = 0
    """Different units in the window."""
    calls_per_unit: float = 0.0
    """On average."""
    calls: int = 0
    """Of the version before, lately; the next two are those of them that failed."""
    failures: int = 0
    hard_failures: int = 0
    usual: Bounds = ()
    """From which latency on a call of a tool is slow, in seconds."""
    timed: int = 0
    slow: int = 0
    """Of the calls that succeeded and have such a bound, those that were slow."""
    healthy: tuple[str, ...] = ()
    """Units that made some calls without a failure, where units are few enough to be known one by one."""


@dataclass(slots=True, frozen=True)
class Rules:
    """The settings that the verdict depends on, as fractions."""

    alpha: float = 0.01
    beta: float = 0.05
    margin: float = 0.05
    units_min: int = 10
    breaker_failures: int = 5
    slow_factor: float = 1.5
    """A call is slow beyond so many times the third quartile before; 0 for not looking at latencies."""
    few_units: int = 20
    """With fewer in the window, there is no comparison to rely on: the absolute test judges as well."""
