"""How long clients think: the time in which a server waits for its client's answer, and which is not the server's.

Kept per session, since a server of the handshake era does not say which call it asks for. Questions at the same time
count once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

SESSIONS_MAX: Final = 10_000
"""Sessions that were asked something; the one asked longest ago is forgotten first."""


@dataclass(slots=True)
class _Thinker:
    open: int = 0
    since_s: float = 0.0
    total_s: float = 0.0


@dataclass(slots=True)
class Thinking:
    """All sessions that were asked something. Runs in: the node's loop.

    Args:
        now_s: Monotonic seconds.
    """

    now_s: Callable[[], float]
    _of: OrderedDict[str, _Thinker] = field(default_factory=OrderedDict)

    def total_s(self, session_id: str) -> float:
        """How long a session's client has thought so far."""
        thinker = self._of.get(session_id)
        if thinker is None:
            return 0.0
        return thinker.total_s + (self.now_s() - thinker.since_s if thinker.open else 0.0)

    @contextmanager
    def question(self, session_id: str) -> Iterator[None]:
        """While a question is open."""
        thinker = self._of.setdefault(session_id, _Thinker())
        self._of.move_to_end(session_id)
        if len(self._of) > SESSIONS_MAX:
            self._of.popitem(last=False)
        if not thinker.open:
            thinker.since_s = self.now_s()
        thinker.open += 1
        try:
            yield
        finally:
            thinker.open -= 1
            if not thinker.open:
                thinker.total_s += self.now_s() - thinker.since_s
