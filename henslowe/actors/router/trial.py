"""What a verdict is about: the trial, the traffic before it, the rules. Data, of which `verdict` makes a finding."""

from __future__ import annotations

from dataclasses import dataclass

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.router.latency import Bounds
from henslowe.actors.routes import Arm


@dataclass(slots=True, frozen=True)
class Trial:
    """What is being judged: one version beside another, from `epoch` on, with the rules for it."""

    service: ServiceName
    epoch: int
    new: VersionKey
    old: VersionKey | None
    """The control; None when all traffic meets the new version."""
    share_new: float
    """Probability that a unit is on the new version; 1 without a control."""
    probation: bool = False
    """The new version is ACTIVE already: there is nothing to promote."""
    holdback: bool = False
    """Arms turned around: the route's canary is the old version."""
    balance: float = 1.0
    """Probability of the event that the salt was chosen for."""

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
