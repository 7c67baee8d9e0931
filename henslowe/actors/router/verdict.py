"""The verdict on a rollout: finished calls in, a decision with its reasons and numbers out. No clock, no I/O.

Six judges, each with its own question:

| judge | asks | decides |
|---|---|---|
| evidence | do failures gather where the coin put the new version? (`randomised`) | roll back at 1/alpha |
| acceptance | is it unlikely that a bad version would do so well? (`sequential.Acceptance`) | promote |
| absolute test | does it fail more than may be, with no control group? (`sequential.AbsoluteTest`) | roll back |
| breaker | did the last N calls all fail on the way, and not on the other version? | roll back at once |
| never answered | did all of its calls fail in the server, and none on the other version? | roll back at once |
| total failure | does every call fail, of clients whose calls did not, while the other version answers? | roll back |

Undecided means hold. No traffic is no evidence, either way.

**The unit is the unit of routing.** The gateway routes a handshake-era session as a whole, and a stateless client for
one sticky epoch (five minutes), after which the coin is tossed again. Calls inside a unit are not independent: counting
each as a unit rolls good versions back in 10 to 64 % of rollouts (simulated). `randomised` counts units, at moments
that their arm has no say in, so its promise holds for any dependence inside a unit.

**Streams of evidence.** All failures together, the server's own failures (`HARD`), each tool by itself (one broken tool
of twenty drowns in the sum) and calls that are slow (`latency`) look at the same coins, so each has its share of alpha.
What the first two say of a unit's first call is added, since it is the same moment; elsewhere the strongest decides.
Callers' bad arguments are no failure; a tool's `isError` is one, but only ever in comparison: a language model's calls
fail for reasons of their own.

**Few units that stay.** Forty sessions open for hours, 10 % on the canary: that may be two sessions or seven, and with
probability 1.5 % none. The rollout's salt is therefore chosen so that the canary gets about its share of the units
that are there (`balanced_salt`); conditioning the coins on an event of probability q multiplies an e-value's
expectation by at most 1/q, so the evidence is multiplied by q, and the promise stays. During a trial nobody is moved
back and forth to gain evidence: a session stays with the version that its coin gave it. Simulated with 30 calls/s over
forty such sessions, beside a stable version that does not fail: a canary that fails one call in ten is caught after
50 s at the median and within two minutes in 95 % of rollouts, one that fails always after 4 s and 13 s. Where all units
are used up and the evidence says neither yes nor no, the verdict holds, and a person decides.

**Total failure** is for the few: with three clients, one of them on the canary, the coin alone can never say more than
ten to one, however often that client fails. What speaks then is its own past: it was well until the rollout, and so are
the others still. That is no proof against a client that changed its ways in that very moment, so it is asked for twenty
calls in a row, of two clients or of one that was known to be well.

**Steps.** A rollout in steps is one trial with one verdict: what was learned at 5 % counts at 50 %, each unit weighed
with the share that it met. A step is over when the new version has answered the calls that it asks for and nothing
speaks against it: evidence below the half of the way, in logarithms, and, where calls are the unit, calls no likelier
for a bad version than for a good one. Promotion is decided at the last one.

**Promotion needs units too**: `units_min` of them, or as many as there are where there are fewer, and one unit speaks
for itself with 50 calls (more where units are few). It is not the last word: the version is then on probation, with a
holdback on the previous version as control, arms turned around (`Trial.holdback`), or under the absolute test where
units are few.

Source: the rule and its figures were simulated with `bench/canary_sim.py`, which runs this code.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from henslowe.actors.messages import Decision
from henslowe.actors.router.latency import Usual
from henslowe.actors.router.pieces import packed, unpacked
from henslowe.actors.router.randomised import LONG_CALLS, Baseline, RandomisedStream
from henslowe.actors.router.sequential import AbsoluteTest, Acceptance
from henslowe.actors.router.trial import Past, Rules, Trial
from henslowe.actors.routes import FAILURES, CallRecord, Outcome
from henslowe.words import counted

HARD: Final = frozenset({Outcome.TRANSPORT, Outcome.TIMEOUT, Outcome.CRASH, Outcome.INTERNAL_ERROR})
"""Failures that are never the caller's doing."""
BROKEN: Final = frozenset({Outcome.TRANSPORT, Outcome.CRASH})
"""Failures on the way: what the breaker counts."""
TOOLS_MAX: Final = 20
"""Tools with a stream of their own, in the order of their first call."""
ALL: Final = "all failures"
OWN: Final = "server failures"
SLOW: Final = "slow calls"
SHARE_ALL: Final = 0.55
SHARE_HARD: Final = 0.15
SHARE_SLOW: Final = 0.10
SHARE_TOOLS: Final = 0.20
"""Shares of alpha; the j-th tool gets SHARE_TOOLS / (j * (j + 1))."""
OTHER_CALLS: Final = 10
"""Calls of the other version that have to be free of server failures, or the new one is not to blame alone."""
ABSOLUTE_FAILURES_MIN: Final = 3
"""Without a control group, two failures are an accident."""
NEVER_ANSWERED_MIN: Final = 3
"""Calls, all there were, that failed in the server before that is believed. By chance it happens to one good version in
a million where one call in a hundred fails, and in three thousand where fifteen do, before the other conditions."""
TOTAL_FAILURES_MIN: Final = 20
"""Calls that fail in a row before a total failure is believed."""
UNITS_NEEDED_MIN: Final = 2
LISTED: Final = 8
"""Units that are listed, or written once they are packed, in the time in which one is packed."""
LIGHT: Final = 4
"""Names, or hashes, with a number each, that are packed in that time."""
AVAILABLE_PART: Final = 0.75
"""Of the units that the new version can expect: a balanced salt gives it about its share, not exactly."""


@dataclass(slots=True, frozen=True)
class Finding:
    """What the evidence says now."""

    decision: Decision
    why: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Side:
    """Counts of one arm."""

    calls: int = 0
    failures: int = 0
    slow: int = 0
    broken_in_a_row: int = 0
    since_hard: int = OTHER_CALLS
    """Calls since the server itself failed last, if ever."""
    failed_in_a_row: int = 0
    chosen: int = 0
    """Calls whose caller chose the version: of all, but of no comparison."""

    def add(self, outcome: Outcome) -> None:
        """One finished call."""
        self.calls += 1
        self.failures += outcome in FAILURES
        self.since_hard = 0 if outcome in HARD else self.since_hard + 1
        self.broken_in_a_row = self.broken_in_a_row + 1 if outcome in BROKEN else 0
        self.failed_in_a_row = self.failed_in_a_row + 1 if outcome in FAILURES else 0


class Evidence:
    """All that was learned during one trial. Feed it with `update`, ask it with `find`. Runs in: the loop."""

    def __init__(self, trial: Trial, rules: Rules, past: Past | None = None) -> None:
        self.trial = trial
        self.rules = rules
        self.past = past or Past()
        self.new, self.old = Side(), Side()
        all_past, hard_past = Baseline(), Baseline()
        all_past.seed(self.past.failures, self.past.calls)
        hard_past.seed(self.past.hard_failures, self.past.calls)
        self._streams: dict[str, tuple[float, RandomisedStream]] = {}
        self._tools: dict[str, RandomisedStream] = {}
        """The same streams by the tool alone: each call looks one up."""
        if 0.0 < (trial.share_at(trial.since) or trial.share_new) < 1.0:
            self._streams[ALL] = (math.log(SHARE_ALL), self._stream(all_past))
            self._streams[OWN] = (math.log(SHARE_HARD), self._stream(hard_past))
            slow_past = Baseline()
            slow_past.seed(self.past.slow, self.past.timed)
            self._streams[SLOW] = (math.log(SHARE_SLOW), self._stream(slow_past))
        self._usual = Usual(self.past.usual, factor=rules.slow_factor)
        self._acceptance = Acceptance(
            rules.margin, rules.beta, self.units_needed, Baseline(all_past.failures, all_past.calls)
        )
        self._absolute = AbsoluteTest(rules.margin, Baseline(hard_past.failures, hard_past.calls))
        self._hard_failures = 0
        self._healthy = frozenset(self.past.healthy)
        self._failing: set[str] = set()
        """Units of the new version's present run of failures, at most as many as are asked for."""
        self.step_calls = 0
        """Calls of the new version in this step."""

    def move_on(self, trial: Trial) -> None:
        """The same rollout goes on: everything learned stays, each unit weighed with the share that it met."""
        if trial.step_since != self.trial.step_since:
            self.step_calls = 0
        self.trial = trial
        self._acceptance.units_needed = self.units_needed

    def update(self, record: CallRecord) -> None:
        """One finished call of this trial; others are ignored."""
        share = self.trial.share_at(record.epoch)
        if share is None:
            return
        new = self.trial.is_new(record.arm)
        failed, hard = record.outcome in FAILURES, record.outcome in HARD
        side = self.new if new else self.old
        side.add(record.outcome)
        if record.chosen:
            side.chosen += 1  # the breaker and the words count it; nothing can be compared where no coin was tossed
            return
        if self._streams:
            time_s = math.inf if record.unit_is_session else record.time_s
            self._of(ALL).add(record.unit, new=new, failed=failed, time_s=time_s, share=share)
            self._of(OWN).add(record.unit, new=new, failed=hard, time_s=time_s, share=share)
            tool = self._tool(record.tool)
            if tool is not None:
                tool.add(record.unit, new=new, failed=failed, time_s=time_s, share=share)
            # One that failed fast was not fast.
            slow = None if failed or not self.rules.slow_factor else self._usual.is_slow(record.tool, record.latency_s)
            if slow is not None:
                side.slow += slow
                self._of(SLOW).add(record.unit, new=new, failed=slow, time_s=time_s, share=share)
        if new:
            self.step_calls += record.epoch >= self.trial.step_since
            if not failed:
                self._failing.clear()
            elif len(self._failing) < UNITS_NEEDED_MIN or record.unit in self._healthy:
                self._failing.add(record.unit)
            self._acceptance.add(record.unit, failed)
            self._absolute.add(hard)
            self._hard_failures += hard
        else:
            self._acceptance.baseline.add(failed)
            self._absolute.add_other(hard)

    def close_units(self, *, before_s: float) -> None:
        """Stateless units that began before `before_s` are complete: their sticky epoch is over."""
        for _, stream in self._streams.values():
            stream.close(before_s=before_s)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence against the new version from the comparison of arms."""
        if not self._streams:
            return 0.0
        (share_all, together), (share_own, own) = self._streams[ALL], self._streams[OWN]
        # The first call of a unit is the same moment in both, so that there the two may be added.
        first = _log_sum(share_all + together.log_levels[0], share_own + own.log_levels[0])
        best = max(share + one.log_evidence for share, one in self._streams.values())
        return math.log(self.trial.balance) + max(first, best)

    def find(self) -> Finding:
        """What to do now, why in words, and the numbers behind it."""
        threshold = 1.0 / self.rules.alpha
        log_evidence = self.log_evidence
        for judge in (self._breaker, self._never_answered, self._comparison, self._absolute_test, self._total_failure):
            why = judge(log_evidence)
            if why:
                return Finding(Decision.ROLL_BACK, why, self.numbers())
        judged = not self.trial.probation and not self.trial.by_person
        enough = judged and self.step_calls >= self.trial.step_calls and self._undoubted(log_evidence)
        if enough and not self.trial.last_step:
            why = (
                f"{self.new.failures} of {counted(self.new.calls, 'call')} failed, {self.step_calls} of them at "
                f"{100 * self.trial.share_new:g} %; evidence {_times(log_evidence)}, rolls back at {threshold:.0f}x"
            )
            return Finding(Decision.ADVANCE, why, self.numbers())
        if enough and self.trial.last_step and self._accepted:
            why = (
                f"{self.new.failures} of {counted(self.new.calls, 'call')} failed: a version that fails "
                f"{_percent(self._acceptance.bad_rate)} or more would do so well "
                f"with probability {self.rules.beta:.0%} at most"
            )
            return Finding(Decision.PROMOTE, why, self.numbers())
        if self.trial.by_person:
            return Finding(Decision.HOLD, self._side_by_side(log_evidence), self.numbers())
        expected = self._acceptance.calls_expected
        progress = (
            counted(self.new.calls, "call") if self.trial.probation else f"{self.new.calls} of about {expected} calls"
        )
        if not self._streams:
            why = f"{progress}, {self.new.failures} failed; no control group"
        else:
            why = f"{progress}; evidence {_times(log_evidence)}, rolls back at {threshold:.0f}x"
        return Finding(Decision.HOLD, why, self.numbers())

    def numbers(self) -> dict[str, Any]:
        """The figures, as `status` and the events show them."""
        return {
            "calls": self.new.calls,
            "failures": self.new.failures,
            "units": self._acceptance.units,
            "control_calls": self.old.calls,
            "slow": self.new.slow,
            "control_failures": self.old.failures,
            "control_slow": self.old.slow,
            "evidence": round(math.exp(min(700.0, self.log_evidence)), 4),
            "evidence_needed": round(1.0 / self.rules.alpha, 1),
            "calls_expected": self._acceptance.calls_expected,
            "bad_rate": round(self._acceptance.bad_rate, 4),
            "units_needed": self.units_needed,
            "probation": self.trial.probation,
            "chosen": self.new.chosen,
            "control_chosen": self.old.chosen,
            "step": self.trial.step,
            "steps": self.trial.steps,
            "step_calls": self.step_calls,
            "step_calls_needed": self.trial.step_calls,
        }

    @property
    def units_needed(self) -> int:
        """Fewest units of the new version before a promotion: `units_min`, or what there is to be had."""
        available = int(AVAILABLE_PART * self.past.units * self.trial.share_new)
        return min(self.rules.units_min, max(UNITS_NEEDED_MIN, available))

    def _side_by_side(self, log_evidence: float) -> str:
        new, old, number = self.new, self.old, self.trial.old.number if self.trial.old else 0
        compared = ""
        if self._streams:
            compared = f"evidence {_times(log_evidence)}, rolls back at {1.0 / self.rules.alpha:.0f}x; "
        return (
            f"v{self.trial.new.number}: {new.failures} of {counted(new.calls, 'call')} failed{_chosen(new)}; "
            f"v{number}: {old.failures} of {old.calls} failed{_chosen(old)}; {compared}a person decides"
        )

    # -- the judges; each returns why to roll back, or "" ----------------

    def _breaker(self, _: float) -> str:
        most = self.rules.breaker_failures
        if self.new.broken_in_a_row < most or self.old.broken_in_a_row >= most:
            return ""
        return f"the last {self.new.broken_in_a_row} calls never reached the server or broke on the way"

    def _never_answered(self, _: float) -> str:
        tossed, old = self.new.calls - self.new.chosen, self.old
        if self._hard_failures < NEVER_ANSWERED_MIN or self._hard_failures < tossed or not self._believed:
            return ""
        if old.calls < OTHER_CALLS or old.since_hard < OTHER_CALLS:
            return ""
        return (
            f"all of its {tossed} calls failed in the server, beside none of the last {OTHER_CALLS} on "
            f"version {self.trial.old.number if self.trial.old else 0}"
        )

    def _comparison(self, log_evidence: float) -> str:
        if log_evidence < -math.log(self.rules.alpha):
            return ""
        worst = max(self._streams, key=lambda name: self._streams[name][0] + self._streams[name][1].log_evidence)
        new, old, how = self.new.failures, self.old.failures, "failed"
        if worst == SLOW:
            new, old, how = self.new.slow, self.old.slow, "were slow"
        return (
            f"{new} of {counted(self.new.calls, 'call')} {how}, beside {old} of {self.old.calls} on "
            f"version {self.trial.old.number if self.trial.old else 0}; evidence {_times(log_evidence)} ({worst}), "
            f"rolls back at {1.0 / self.rules.alpha:.0f}x"
        )

    def _absolute_test(self, _: float) -> str:
        if not self._uses_absolute or self._hard_failures < ABSOLUTE_FAILURES_MIN:
            return ""
        if self.old.since_hard < OTHER_CALLS or self._absolute.log_evidence < -math.log(self.rules.alpha):
            return ""
        return (
            f"{self._hard_failures} of {counted(self.new.calls, 'call')} failed in the server; evidence "
            f"{_times(self._absolute.log_evidence)} with no control group, rolls back at {1.0 / self.rules.alpha:.0f}x"
        )

    def _total_failure(self, _: float) -> str:
        answers = self.old.calls >= OTHER_CALLS and 2 * self.old.failures < self.old.calls
        if self.new.failed_in_a_row < TOTAL_FAILURES_MIN or not self._believed or not answers:
            return ""
        return (
            f"the last {self.new.failed_in_a_row} calls all failed, beside {self.old.failures} of {self.old.calls} on "
            f"version {self.trial.old.number if self.trial.old else 0}"
        )

    @property
    def _believed(self) -> bool:
        """Whether its present run of failures is of two clients, or of one that was known to be well."""
        return len(self._failing) >= UNITS_NEEDED_MIN or bool(self._failing & self._healthy)

    @property
    def _accepted(self) -> bool:
        return self.new.calls >= self.rules.units_min and self._acceptance.accepts

    def _undoubted(self, log_evidence: float) -> bool:
        """Half of the way to a rollback is no time to promote, nor to go on to the next step.

        Nor are calls that look more like a bad version's than like a good one's. At a greater weight each call of the
        canary says less, so a version that is in doubt is found soonest where it is. Not so where units stay: there all
        of them may have said what they can, and only more weight brings others.
        """
        return log_evidence < -math.log(self.rules.alpha) / 2 and (self._units_stay or self._acceptance.llr <= 0.0)

    @property
    def _units_stay(self) -> bool:
        return self.past.calls_per_unit >= LONG_CALLS

    @property
    def _uses_absolute(self) -> bool:
        """Whether there is no comparison to rely on: too few units, or nobody left on the other version."""
        return self.trial.probation or self.trial.share_new >= 1.0 or self.past.units < self.rules.few_units

    # -- streams ----------------

    def _stream(self, baseline: Baseline) -> RandomisedStream:
        copy = Baseline(baseline.failures, baseline.calls)
        first = self.trial.share_at(self.trial.since) or self.trial.share_new
        return RandomisedStream(first, long_units=self._units_stay, baseline=copy)

    def _of(self, name: str) -> RandomisedStream:
        return self._streams[name][1]

    def _tool(self, tool: str) -> RandomisedStream | None:
        found = self._tools.get(tool)
        if found is None and len(self._tools) < TOOLS_MAX:
            place = len(self._tools) + 1
            found = self._tools[tool] = self._stream(Baseline())
            self._streams[f"tool {tool}"] = (math.log(SHARE_TOOLS / (place * (place + 1))), found)
        return found

    # -- across a restart ----------------

    def dump(self) -> Generator[int, None, dict[str, Any]]:
        """Makes plain data for `load` of what was learned when it is begun, a piece at a time.

        What is learned before it ends is not in it. Yields what each step cost, in entries packed.
        """
        # A tool's stream begins anew: twenty of them are too much to write every few seconds.
        streams = {name: one.dump() for name, (_, one) in self._streams.items() if name in (ALL, OWN, SLOW)}
        acceptance = self._acceptance.dump()
        dumped = {
            "past": asdict(self.past),
            "new": asdict(self.new),
            "old": asdict(self.old),
            "streams": streams,
            "usual": self._usual.dump(),
            "acceptance": acceptance,
            "absolute": self._absolute.dump(),
            "hard_failures": self._hard_failures,
            "failing": sorted(self._failing),
            "step": [self.trial.step, self.step_calls],
        }
        listed = sum(len(self._of(name).units) for name in streams) + self._acceptance.units
        yield listed // LISTED
        for one in streams.values():
            one["units"] = yield from packed(one["units"])
            one["spent"] = yield from packed(one["spent"], light=LIGHT)
        acceptance["units"] = yield from packed(acceptance["units"], light=LIGHT)
        yield listed // LISTED  # whoever gets it will write it
        return dumped

    @classmethod
    def load(cls, trial: Trial, rules: Rules, dumped: dict[str, Any]) -> Evidence:
        """The evidence that `dump` described, for the same trial."""
        evidence = cls(trial, rules, Past(**dumped["past"]))
        evidence.new, evidence.old = Side(**dumped["new"]), Side(**dumped["old"])
        evidence._usual.load(dumped["usual"])
        for name, state in dumped["streams"].items():
            if name in evidence._streams:
                many = {part: unpacked(state[part]) for part in ("units", "spent")}
                evidence._of(name).load({**state, **many})
        acceptance = dumped["acceptance"]
        evidence._acceptance.load({**acceptance, "units": unpacked(acceptance["units"])})
        evidence._absolute.load(dumped["absolute"])
        evidence._hard_failures = dumped["hard_failures"]
        evidence._failing = set(dumped.get("failing", ()))
        step, calls = dumped["step"]
        evidence.step_calls = calls if step == trial.step else 0
        return evidence


def _log_sum(a: float, b: float) -> float:
    return max(a, b) + math.log1p(math.exp(-abs(a - b)))


def _chosen(side: Side) -> str:
    return f" ({side.chosen} by choice)" if side.chosen else ""


def _times(log_evidence: float) -> str:
    value = math.exp(min(700.0, log_evidence))
    if value >= 1e6:
        return "over a million x"
    return f"{value:.0f}x" if value >= 100 else f"{value:.1f}x"


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"
