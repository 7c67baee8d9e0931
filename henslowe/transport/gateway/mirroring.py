"""Copies of live calls: what the stable version answered is also asked of the candidate, beside the traffic.

A client gets the stable version's answer and never waits for a copy: copies have a queue of their own, and beyond its
limits they are dropped and counted. Only calls that change nothing are copied. Each is asked of the candidate and once
more of the stable version, at once and in random order, so that the two answers are alike in everything but the
version; the live answer beside them tells what differs anyway. What they show is the router's to judge.

Copies go to the servers themselves: they are no traffic of any client, and no evidence about calls that were live.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory, JsonObject
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Mirrored
from henslowe.actors.pairing import answer_of
from henslowe.actors.rehearsal.running import Copies, ask, finder
from henslowe.actors.rehearsal.selecting import CONTINUED, METHODS, Sample
from henslowe.actors.routes import WEIGHT_SCALE, Arm, Route
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.selection import Choice

QUEUE_MAX: Final = 64
"""Copies that wait."""
REQUEST_BYTES_MAX: Final = 256 * 1024
"""Larger requests are not copied: the queue holds them in memory."""
WORKERS_MAX: Final = 4
COPY_S: Final = 60.0
"""Longest time for one copy."""

Tell = Callable[[Mirrored], None]


def tell_router(mirrored: Mirrored) -> None:
    """Hand on what a copy showed."""
    registry.via(names.ROUTER).cast(mirrored)


@dataclass(slots=True, frozen=True)
class _Copy:
    route: Route
    sample: Sample
    live: JsonObject


@dataclass(slots=True)
class Mirror:
    """Runs in: the node's loop."""

    directory: EndpointDirectory
    tell: Tell = tell_router
    rng: random.Random = field(default_factory=random.Random)
    dropped: int = 0
    """Since the gateway's start."""
    made: int = 0
    _waiting: deque[_Copy] = field(default_factory=deque)
    _workers: set[asyncio.Task[None]] = field(default_factory=set)

    def offer(self, asked: Ask, choice: Choice, answer: JsonObject, took_s: float) -> None:
        """A live call of a mirrored route was answered. Returns at once, whatever becomes of it."""
        route, params = choice.route, asked.params
        if choice.arm is not Arm.STABLE or route.canary is None or asked.method not in METHODS or params is None:
            return
        if self.rng.randrange(WEIGHT_SCALE) >= route.mirror or any(name in params for name in CONTINUED):
            return
        if not evidence.reads_only(asked.method, params, choice.endpoint.contract):
            return
        if len(self._waiting) >= QUEUE_MAX or asked.size > REQUEST_BYTES_MAX:
            self.dropped += 1
            return
        params = {name: value for name, value in params.items() if name != "_meta"}
        sample = Sample(0, asked.method, str(params.get("name") or params.get("uri") or ""), params, took_s)
        self._waiting.append(_Copy(route, sample, answer))
        if len(self._workers) < WORKERS_MAX:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def close(self) -> None:
        """Give up what waits and what is under way. Idempotent."""
        self._waiting.clear()
        for worker in self._workers:
            worker.cancel()

    async def _work(self) -> None:
        while self._waiting:
            await self._copy(self._waiting.popleft())

    async def _copy(self, copy: _Copy) -> None:
        route = copy.route
        assert route.canary is not None
        copies = Copies(finder(self.directory, route.canary), (finder(self.directory, route.stable),))
        asked = await ask(copy.sample, copies, until_s=time.monotonic() + COPY_S, rng=self.rng)
        if asked is None:
            self.dropped += 1
            return
        self.made += 1
        asked = replace(asked, beside=(answer_of(copy.live),))
        self.tell(Mirrored(route.canary, route.epoch, asked, self.dropped))
