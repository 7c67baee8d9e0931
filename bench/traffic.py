"""What the clients of a proof met: figures that every proof with a load has."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.e2e.load import Load

FAILURES_SHOWN_MAX = 10


@dataclass(slots=True, kw_only=True)
class Traffic:
    """The figures of one load."""

    calls: int = 0
    failed_calls: int = 0
    """Calls that failed, and sessions that ended by themselves: each is a failure of its own."""
    sessions_lost: int = 0
    retries: int = 0
    """Requests that patient clients sent again."""
    call_p50_ms: float = 0.0
    call_p99_ms: float = 0.0
    gap_ms_max: float = 0.0
    """Longest time without any successful call."""
    failures: list[str] = field(default_factory=list)
    """The first few, in words."""

    def take_traffic(self, load: Load) -> None:
        """Fill in what a finished load met."""
        tally = load.tally
        self.calls, self.failed_calls = tally.calls, len(tally.failures)
        self.sessions_lost, self.retries = tally.sessions_lost, tally.retries
        self.call_p50_ms, self.call_p99_ms = round(tally.latency_ms(0.5), 2), round(tally.latency_ms(0.99), 2)
        self.gap_ms_max = round(1_000 * tally.gap_s_max, 1)
        shown = tally.failures[:FAILURES_SHOWN_MAX]
        self.failures = [f"{f.at_s:.1f} s, client {f.client} ({f.era}): {f.what}" for f in shown]
