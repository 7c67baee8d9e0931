"""The recorder: takes exchanges from the gateway without ever making it wait.

`wants` and `record` run in the loop for each call and cost some microseconds: nothing is copied, encoded or redacted
there. What does not fit is dropped and counted, in this order of reasons: the service or method is not recorded, the
unit is not in the sample, the service had its share of this second, too many bytes wait.

The writer takes from the other end in its own thread. Not here: what is stored (`record`, `writer`).
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from henslowe.config.settings import CaptureSettings
from henslowe.storage.capture.record import Exchange, Waiting, about_bytes

SERVICES_MAX: Final = 4_096
UNRECORDED_S: Final = 1.0
"""How long a service that is not recorded is not looked at again."""
COST_BYTES: Final = 8_192
"""A larger exchange uses up as much of its service's share as several: what recording costs grows with the bytes."""
_SCALE: Final = 10_000


@dataclass(frozen=True, slots=True)
class CaptureCounts:
    """What became of the exchanges of services that are recorded, since the node's start."""

    recorded: int = 0
    """Handed over to the writer."""
    sampled_out: int = 0
    over_rate: int = 0
    dropped: int = 0
    """The queue was full."""
    waiting: int = 0
    waiting_bytes: int = 0


class _Share:
    """What a service may still record: a token bucket that holds one second's worth."""

    __slots__ = ("at_s", "closed_until_s", "recorded", "tokens")

    def __init__(self, tokens: float, at_s: float) -> None:
        self.tokens, self.at_s = tokens, at_s
        self.recorded = True
        self.closed_until_s = at_s
        """Until then nothing of the service is recorded: most calls of a busy node end at this one comparison."""


class Recorder:
    """The gateway's side of the capture. Runs in: the loop, but for `take`.

    Args:
        settings: What is recorded, and the limits.
        tick: The node's clock: nanoseconds, and a hybrid logical reading.
        is_developed: Whether a service is developed here: those are recorded unless the settings name others.
        monotonic: Seconds, for the rate.
    """

    def __init__(
        self,
        settings: CaptureSettings,
        tick: Callable[[], tuple[int, int]],
        *,
        is_developed: Callable[[str], bool] = lambda _service: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._tick = tick
        self.is_developed = is_developed
        """Set by the composition root: storage does not know what a service is."""
        self._monotonic = monotonic
        self._methods = frozenset(settings.methods) if settings.enabled else frozenset()
        self._sample = round(settings.sample_percent * _SCALE / 100)
        self._shares: dict[str, _Share] = {}
        self._share_max = max(1.0, settings.per_second_max)
        self._waiting: deque[Waiting] = deque()
        # Each counter is written by one thread: the difference is what waits.
        self._bytes_in = self._bytes_out = 0
        self._recorded = self._sampled_out = self._over_rate = self._dropped = 0
        self._wake: Callable[[], None] | None = None
        self._woken = False

    def wants(self, service: str, method: str, unit: str) -> bool:
        """Whether this exchange is to be recorded: ask before making an `Exchange`."""
        if method not in self._methods:
            return False
        now_s = self._monotonic()
        share = self._shares.get(service)
        if share is None:
            share = self._new_share(service, now_s)
        elif now_s < share.closed_until_s:
            self._over_rate += share.recorded
            return False
        share.recorded = self._is_recorded(service)
        if not share.recorded:
            share.closed_until_s = now_s + UNRECORDED_S
            return False
        if self._sample < _SCALE and zlib.crc32(unit.encode(errors="surrogatepass")) % _SCALE >= self._sample:
            self._sampled_out += 1
            return False
        return True

    def record(self, exchange: Exchange) -> None:
        """Queues an exchange; drops it when too much waits."""
        params_bytes, answer_bytes = about_bytes(exchange.params), about_bytes(exchange.answer)
        size_bytes = params_bytes + answer_bytes
        self._charge(exchange.service, size_bytes)
        if self._bytes_in - self._bytes_out + size_bytes > self._settings.queue_bytes_max:
            self._dropped += 1
            return
        self._bytes_in += size_bytes
        self._recorded += 1
        self._waiting.append(Waiting(*self._tick(), params_bytes, answer_bytes, exchange))
        if not self._woken and self._wake is not None:
            self._woken = True
            self._wake()

    def counts(self) -> CaptureCounts:
        """Figures now. Any thread."""
        return CaptureCounts(
            recorded=self._recorded,
            sampled_out=self._sampled_out,
            over_rate=self._over_rate,
            dropped=self._dropped,
            waiting=len(self._waiting),
            waiting_bytes=self._bytes_in - self._bytes_out,
        )

    # -- the writer ----------------

    def attach(self, wake: Callable[[], None]) -> None:
        """Makes `wake` (called in the loop) what tells the writer that something waits."""
        self._wake = wake
        self._woken = bool(self._waiting)
        if self._waiting:
            wake()

    def detach(self) -> None:
        """No writer: exchanges wait, as many as may."""
        self._wake = None

    def take(self, count_max: int) -> list[Waiting]:
        """Removes and returns the oldest, at most `count_max`. Runs in: the writer's thread."""
        # First, so that an exchange arriving meanwhile wakes the writer again.
        self._woken = False
        taken: list[Waiting] = []
        while self._waiting and len(taken) < count_max:
            waiting = self._waiting.popleft()
            self._bytes_out += waiting.params_bytes + waiting.answer_bytes
            taken.append(waiting)
        return taken

    def _is_recorded(self, service: str) -> bool:
        if not self._settings.services:
            return self.is_developed(service)
        return any(fnmatchcase(service, pattern) for pattern in self._settings.services)

    def _new_share(self, service: str, now_s: float) -> _Share:
        if len(self._shares) >= SERVICES_MAX:
            self._shares.clear()
        share = self._shares[service] = _Share(self._share_max, now_s)
        return share

    def _charge(self, service: str, size_bytes: int) -> None:
        """Takes an exchange off its service's share, and closes that until there is one more token in it."""
        now_s, per_s = self._monotonic(), self._settings.per_second_max
        share = self._shares.get(service) or self._new_share(service, now_s)
        tokens = min(self._share_max, share.tokens + (now_s - share.at_s) * per_s)
        tokens -= max(1.0, min(size_bytes, self._settings.record_bytes_max) / COST_BYTES)
        share.tokens, share.at_s = tokens, now_s
        if tokens < 1:
            share.closed_until_s = now_s + (1 - tokens) / per_s
