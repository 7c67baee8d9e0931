"""A token bucket per client: how much one client may ask for, and how long it must wait when that was too much.

Pure arithmetic over a clock that is passed in; it knows nothing of HTTP. The admin API and the gateway each own one
limiter and translate a refusal into their own protocol's words (429 with `Retry-After`, a JSON-RPC error).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at_s: float


@dataclass(slots=True)
class RateLimiter:
    """Grants each client `rate_per_s` requests per second on average, and `burst` at once.

    A bucket starts full, fills with `rate_per_s` and holds at most `burst` tokens. At most `clients_max` clients are
    remembered; beyond that the one seen longest ago is forgotten, which gives it a full bucket again.

    Runs in: one loop or thread; not locked.

    Args:
        rate_per_s: Tokens added per second; must be above 0.
        burst: Most tokens in a bucket; default twice the rate, at least 1.
        clients_max: Most clients remembered.
        clock: Monotonic seconds.
    """

    rate_per_s: float
    burst: float = 0.0
    clients_max: int = 10_000
    clock: Callable[[], float] = time.monotonic
    refused: int = 0
    """Requests refused so far, for metrics."""
    _buckets: OrderedDict[str, _Bucket] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.rate_per_s <= 0 or self.clients_max < 1:
            raise ValueError(
                f"expected a rate above 0 and room for a client, got: {self.rate_per_s}/s, {self.clients_max}"
            )
        if self.burst <= 0:
            self.burst = max(1.0, 2 * self.rate_per_s)

    def take(self, client: str, cost: float = 1.0) -> float:
        """Take `cost` tokens from the client's bucket; the reply is the seconds to wait, 0.0 when granted.

        A refusal takes nothing, so a client that waits as told is granted. A cost above `burst` is charged as `burst`.
        """
        bucket = self._bucket(client)
        cost = min(cost, self.burst)
        if bucket.tokens >= cost:
            bucket.tokens -= cost
            return 0.0
        self.refused += 1
        return (cost - bucket.tokens) / self.rate_per_s

    def wait_s(self, client: str) -> float:
        """The seconds that `take` would ask for now; nothing is taken."""
        bucket = self._buckets.get(client)
        if bucket is None:
            return 0.0
        filled = bucket.tokens + (self.clock() - bucket.filled_at_s) * self.rate_per_s
        return max(0.0, (min(1.0, self.burst) - filled) / self.rate_per_s)

    def _bucket(self, client: str) -> _Bucket:
        """The client's bucket, filled up to now."""
        now = self.clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self.burst, now)
            if len(self._buckets) > self.clients_max:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(client)
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.filled_at_s) * self.rate_per_s)
        bucket.filled_at_s = now
        return bucket

    def __len__(self) -> int:
        return len(self._buckets)
