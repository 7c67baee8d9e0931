"""The route table: an immutable snapshot that says which versions get which share of a service's traffic.

The canary router owns and replaces it; the gateway reads `RouteTable.current` for each call without a message.
Published snapshots outlive the actor that published them, so routing goes on while the router restarts. The choice of
an arm is a pure, sticky hash: the same unit, salt and weight give the same arm, on any node.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.variants import Rule

WEIGHT_SCALE = 10_000
"""Weights are integers in ten-thousandths: 1_000 is 10 %."""
NO_INSTANCE: Final = InstanceId("")
_BALANCE_UNITS_MAX = 30
"""Expected canary units from which chance alone is even enough."""
_BALANCE_N_MAX = 1_000
_SALTS_MAX = 64
"""Tries for a balanced salt, each met with probability 1/2 or more."""


class Arm(StrEnum):
    """Which side of a rollout a unit of traffic is on."""

    STABLE = "stable"
    CANARY = "canary"


@dataclass(slots=True, frozen=True)
class Route:
    """Where one service's traffic goes.

    `canary_weight` is in ten-thousandths; `salt` changes with every rollout, so that the same clients are not always
    the first to meet a new version. `holdback` turns the arms around during probation: stable is then the new version
    and canary the previous one, kept as its control.
    """

    service: ServiceName
    stable: VersionKey
    canary: VersionKey | None = None
    canary_weight: int = 0
    salt: str = ""
    epoch: int = 0
    holdback: bool = False
    rule: Rule | None = None
    """What its service says beyond that: stickiness, A/B. None for nearly all."""
    mirror: int = 0
    """Share of the live calls of read-only tools that are also sent to the canary, in ten-thousandths."""

    def pick(self, unit: str) -> tuple[Arm, VersionKey]:
        """The arm and version for a unit (a session id, or a sticky key with its five-minute epoch)."""
        if self.canary is not None and self.canary_weight > 0 and bucket(unit, self.salt) < self.canary_weight:
            return Arm.CANARY, self.canary
        return Arm.STABLE, self.stable


def bucket(unit: str, salt: str) -> int:
    """A uniform number in [0, WEIGHT_SCALE) from the unit and the rollout's salt."""
    digest = hashlib.blake2b(unit.encode(), key=salt.encode()[:64], digest_size=8).digest()
    return int.from_bytes(digest, "big") % WEIGHT_SCALE


class Outcome(StrEnum):
    """How one call ended, in separate streams of evidence."""

    OK = "ok"
    TOOL_ERROR = "tool_error"
    """A result with `isError`: often the caller's own doing, compared between arms only."""
    INTERNAL_ERROR = "internal_error"
    """JSON-RPC -32603 or another server-side code."""
    INVALID_PARAMS = "invalid_params"
    """-32602: the caller's fault; informational."""
    TRANSPORT = "transport"
    """The connection broke, or what came was not JSON-RPC."""
    TIMEOUT = "timeout"
    CRASH = "crash"

    __hash__ = str.__hash__  # an enumeration's own is Python code, and every call looks outcomes up several times


FAILURES: frozenset[Outcome] = frozenset(
    {Outcome.TOOL_ERROR, Outcome.INTERNAL_ERROR, Outcome.TRANSPORT, Outcome.TIMEOUT, Outcome.CRASH}
)
"""Outcomes that count against a version."""


@dataclass(slots=True)
class CallRecord:
    """One finished call, as evidence for the verdict and for the statistics.

    Nobody changes one. It is not frozen because one is made per call, and a frozen one takes three times as long.
    """

    version: VersionKey
    arm: Arm
    unit: str
    unit_is_session: bool
    tool: str
    """The tool's name for `tools/call`, else the method."""
    outcome: Outcome
    latency_s: float
    time_s: float
    """Unix time at the end of the call."""
    epoch: int
    error: str = ""
    principal: str = ""
    """Who called; "" for anybody."""
    instance: InstanceId = NO_INSTANCE
    """Which instance had it; "" for a call that reached none."""
    chosen: bool = False
    """Its caller chose the arm, no coin did: it says how the version does, and nothing by comparison."""


PILE: Final = 200
"""Calls that are taken in before there are more of them: in a busy second there are thousands, and taking all of those
in at once would hold up every call for a twentieth of a second."""


@dataclass(slots=True)
class Observations:
    """Finished calls on their way from the gateway to the canary router: a bounded hand-over without messages.

    Runs in: the node's loop only.
    """

    limit: int = 100_000
    dropped: int = 0
    _records: list[CallRecord] = field(default_factory=list)
    _wake: Callable[[bool], None] | None = None

    def __len__(self) -> int:
        return len(self._records)

    def record(self, record: CallRecord) -> None:
        """Add a finished call; wakes the router when it failed, or when it makes a pile. Dropped beyond `limit`."""
        records = self._records
        if len(records) >= self.limit:
            self.dropped += 1
            return
        records.append(record)
        if self._wake is not None and (record.outcome in FAILURES or len(records) == PILE):
            self._wake(record.outcome in FAILURES)

    def take(self) -> list[CallRecord]:
        """All records since the last call, in order."""
        records, self._records = self._records, []
        return records

    def wake_with(self, wake: Callable[[bool], None] | None) -> None:
        """Set who is woken, and told whether by a failure (cheap, idempotent until the next `take`)."""
        self._wake = wake


_EMPTY: Mapping[ServiceName, Route] = MappingProxyType({})


@dataclass(slots=True)
class RouteTable:
    """The holder of the current snapshot. `current` is replaced as a whole, never changed."""

    current: Mapping[ServiceName, Route] = field(default_factory=lambda: _EMPTY)
    version: int = 0
    ruled: bool = False
    """Whether any route has a `Rule`: only then anybody needs to know who calls."""
    _listeners: list[Callable[[Mapping[ServiceName, Route], Mapping[ServiceName, Route]], None]] = field(
        default_factory=list
    )

    def publish(self, routes: Mapping[ServiceName, Route]) -> None:
        """Replace the snapshot and tell the listeners (old, new)."""
        old, self.current = self.current, MappingProxyType(dict(routes))
        self.ruled = any(route.rule is not None for route in routes.values())
        self.version += 1
        for listener in tuple(self._listeners):
            listener(old, self.current)

    def on_change(
        self, listener: Callable[[Mapping[ServiceName, Route], Mapping[ServiceName, Route]], None]
    ) -> Callable[[], None]:
        """Call `listener(old, new)` after each publication; returns a cancel function."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None


def balanced_salt(units: Sequence[str], weight: int, base: str) -> tuple[str, float]:
    """A salt that puts about `weight` of the known units on the canary, and the probability of such a salt.

    With few units a plain coin may leave the canary without any. Salts are tried until the number of canary units is
    within the narrowest range around the expected one that at least every second salt meets (and at least two units,
    where two can be expected). The verdict's evidence is multiplied by the probability, which keeps its promise.
    """
    share = weight / WEIGHT_SCALE
    n = len(set(units))
    expected = n * share
    if not 0 < weight < WEIGHT_SCALE or expected < 1 or expected > _BALANCE_UNITS_MAX:
        return base, 1.0
    mass = [math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(n + 1)] if n < _BALANCE_N_MAX else []
    if not mass:
        return base, 1.0
    low = high = max(round(expected), 1)
    fewest = 2 if expected >= 2 else 1
    while sum(mass[low : high + 1]) < 0.5 and (low > fewest or high < n):
        low, high = max(fewest, low - 1), min(n, high + 1)
    probability = sum(mass[low : high + 1])
    for attempt in range(_SALTS_MAX):
        salt = f"{base}.{attempt}"
        if low <= sum(bucket(unit, salt) < weight for unit in set(units)) <= high:
            return salt, probability
    return base, 1.0
