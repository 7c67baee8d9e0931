"""A sequential test on calls that several copies answered: does the new version fail where the others do not?

One call goes to the new version and, at the same time and in random order, to one or more copies of the other version.
If the new version changes nothing, its answer is exchangeable with theirs: of m answers of which k failed, the new
version's is among the failed ones with probability k/m, whatever the call, its arguments and the day. So

    factor = P1 / P0, with P0 = k/m and P1 = k w / (k w + m - k) for odds w of failing

has expectation 1 (likewise for "it is not among them"), the product over calls is a martingale, and it ever reaches 1/x
with probability x at most (Ville): looking after each call is safe. Calls on which all fail or all succeed say nothing,
so a caller's bad arguments and a shared outage cancel out. This is McNemar's test, made sequential.

One call may be asked again as often as one likes, also because of how it ended: what comes next is exchangeable again.
That holds only if the copies are alike in everything but their version. One that has run for days has a state that a
fresh one lacks, and is no fair copy for a failure that depends on it (`henslowe.actors.rehearsal` sees to that).
Runs in: the loop. Source: Ville (1939); McNemar (1947); Grünwald, de Heide, Koolen, "Safe Testing" (2024).
"""

from __future__ import annotations

import math
from typing import Any, Final

ODDS: Final = (4.0, 12.0, 2_000.0)
"""Alternatives: how many times the odds of failing. The middle one is about that of 1 % -> 10 %."""
SHARES: Final = (0.15, 0.45, 0.4)
"""Their weights. Any that add up to 1 are valid; these were found by simulation (`bench/canary_sim.py`)."""
POOLED: Final = 0.6
"""The share of all calls together; the j-th tool by itself has (1 - POOLED) / (j (j + 1))."""
TOOLS_MAX: Final = 50


class PairedTest:
    """One stream: an e-value against "the new version fails as the other does"."""

    __slots__ = ("_log_e", "against", "discordant")

    def __init__(self) -> None:
        self._log_e = [0.0] * len(ODDS)
        self.discordant = 0
        """Calls on which some failed and some did not."""
        self.against = 0
        """Of those, on which the new version did."""

    def add(self, *, new_failed: bool, others_failed: int, others: int) -> None:
        """One call that the new version and `others` copies answered, `others_failed` of them with a failure."""
        copies, failed = others + 1, others_failed + new_failed
        if failed in (0, copies):
            return
        self.discordant += 1
        self.against += new_failed
        expected = failed / copies
        for k, odds in enumerate(ODDS):
            among = failed * odds / (failed * odds + copies - failed)
            self._log_e[k] += math.log(among / expected if new_failed else (1.0 - among) / (1.0 - expected))

    @property
    def evidence(self) -> float:
        """How many times likelier it is that the new version fails more; 1/alpha is enough."""
        return sum(share * math.exp(min(600.0, log_e)) for share, log_e in zip(SHARES, self._log_e, strict=True))

    def dump(self) -> list[Any]:
        """Plain data for `load`."""
        return [self._log_e, self.discordant, self.against]

    @classmethod
    def load(cls, dumped: list[Any]) -> PairedTest:
        """The test that `dump` described."""
        test = cls()
        log_e, test.discordant, test.against = dumped
        test._log_e = list(log_e)
        return test


class PairedEvidence:
    """All calls together and each tool by itself: an average of e-values is one, and one broken tool does not drown."""

    __slots__ = ("_all", "_tools")

    def __init__(self) -> None:
        self._all = PairedTest()
        self._tools: dict[str, PairedTest] = {}

    def add(self, tool: str, *, new_failed: bool, others_failed: int, others: int) -> None:
        """One call of a tool, as `PairedTest.add`. A tool has its place by its first call, not by how that ended."""
        found = self._tools.get(tool)
        if found is None and len(self._tools) < TOOLS_MAX:
            found = self._tools[tool] = PairedTest()
        for test in (self._all, found):
            if test is not None:
                test.add(new_failed=new_failed, others_failed=others_failed, others=others)

    @property
    def discordant(self) -> int:
        """Calls on which some failed and some did not."""
        return self._all.discordant

    @property
    def evidence(self) -> float:
        """As `PairedTest.evidence`."""
        total, left = POOLED * self._all.evidence, 1.0
        for place, test in enumerate(self._tools.values(), 1):
            share = 1.0 / (place * (place + 1))
            left -= share
            total += (1.0 - POOLED) * share * test.evidence
        return total + (1.0 - POOLED) * left

    def dump(self) -> dict[str, Any]:
        """What was learned so far, as plain data for `load`; tools keep their places."""
        return {"all": self._all.dump(), "tools": [[tool, test.dump()] for tool, test in self._tools.items()]}

    @classmethod
    def load(cls, dumped: dict[str, Any]) -> PairedEvidence:
        """The evidence that `dump` described."""
        evidence = cls()
        evidence._all = PairedTest.load(dumped["all"])
        evidence._tools = {tool: PairedTest.load(test) for tool, test in dumped["tools"]}
        return evidence
