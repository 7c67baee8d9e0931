"""When to look: many hints become one scan, at the first quiet moment, but not later than a limit.

Pure: the clock is passed in. What a scan finds may still be half an edit: `sources.unsettled_s` decides that.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Debouncer:
    """Per key: due `quiet_s` after the last hint, at the latest `longest_s` after the first one.

    A lower `quiet_s` scans in the middle of multi-file saves; a higher one delays each edit by as much.
    """

    quiet_s: float
    longest_s: float
    _spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """First and last hint."""

    def hint(self, key: str, now_s: float) -> None:
        """Something may have changed."""
        first_s, _ = self._spans.get(key, (now_s, now_s))
        self._spans[key] = (first_s, now_s)

    def defer(self, key: str, now_s: float, wait_s: float) -> None:
        """Look again in `wait_s`, as if the quiet time ended then; later hints count as usual."""
        self._spans[key] = (now_s, now_s + wait_s - self.quiet_s)

    def forget(self, key: str) -> None:
        """Nothing is waited for any more."""
        self._spans.pop(key, None)

    def next_at(self) -> float | None:
        """When the next key is due; None when nothing is waited for."""
        return min((self._due_at(span) for span in self._spans.values()), default=None)

    def take_due(self, now_s: float) -> list[str]:
        """The keys that are due, in order of their first hints; they are no longer waited for."""
        due = sorted((span[0], key) for key, span in self._spans.items() if self._due_at(span) <= now_s)
        for _, key in due:
            del self._spans[key]
        return [key for _, key in due]

    def _due_at(self, span: tuple[float, float]) -> float:
        first_s, last_s = span
        return max(first_s, min(last_s + self.quiet_s, first_s + max(self.longest_s, self.quiet_s)))
