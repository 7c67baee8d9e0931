"""Makes the calls: each to the new version and to copies of the other one, at once and in random order.

A call that takes too long is one that failed, if the copies of the other version answered it: how long is too long
follows from how long it took when it was captured. An instance that ended under a call is waited for, a moment, so that
one crash is one failure and not as many as there are calls.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, EndpointState, Era
from henslowe.actors.ids import VersionKey
from henslowe.actors.pairing import Answer, Asked, answer_of, lost
from henslowe.actors.rehearsal.selecting import Sample, marked
from henslowe.actors.routes import Outcome
from henslowe.errors import HensloweError, LimitReached, UpstreamLost

AT_ONCE: Final = 4
"""Calls at once: few enough to leave the active version to its clients."""
QUICK_S: Final = 0.1
"""Calls that took longer when they were captured are made one by one: behind a server that does one thing at a time a
client would wait for all of them."""
PATIENCE_S: Final = 5.0
"""Shortest time after which an answer counts as not coming."""
PATIENCE_MAX_S: Final = 15.0
PATIENCE_TIMES: Final = 10.0
"""Times of how long the call took when it was captured."""
BACK_S: Final = 2.0
"""Longest wait for an instance that ended."""
BACK_LOOK_S: Final = 0.02

Find = Callable[[], Endpoint | None]
"""The endpoint of a version now, if one is up."""


@dataclass(slots=True, frozen=True)
class Copies:
    """Where calls go."""

    new: Find
    others: Sequence[Find]


def finder(directory: EndpointDirectory, version: VersionKey) -> Find:
    """Finds the endpoint of a version with the least in flight."""

    def find() -> Endpoint | None:
        up = (each for each in directory.of(version) if each.state is EndpointState.READY)
        return min(up, key=lambda each: each.in_flight, default=None)

    return find


async def ask_all(
    samples: Iterable[Sample],
    copies: Copies,
    heard: Callable[[Asked], bool],
    *,
    until_s: float,
    rng: random.Random,
) -> bool:
    """Makes calls, slow ones last, until there is no more, `heard` returns False, a version is gone, or the time is up.

    Args:
        samples: The calls.
        copies: Whom to ask.
        heard: Told of each call that all answered; returns whether to go on.
        until_s: On `time.monotonic()`. A call whose answers have come from all copies but the new one is waited for.
        rng: Draws the order in which copies are asked.

    Returns:
        Whether all calls were made.
    """
    quick, slow, going_on = deque[Sample](), deque[Sample](), True
    for sample in samples:
        (quick if sample.usual_s <= QUICK_S else slow).append(sample)

    async def work(waiting: deque[Sample]) -> None:
        nonlocal going_on
        while waiting and going_on and time.monotonic() < until_s:
            sample = waiting.popleft()
            asked = await ask(sample, copies, until_s=until_s, rng=rng)
            if asked is None:
                waiting.appendleft(sample)
                going_on = False
            elif going_on and not heard(asked):
                going_on = False

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(quick))):
            group.create_task(work(quick))
    await work(slow)
    return not quick and not slow


async def ask(sample: Sample, copies: Copies, *, until_s: float, rng: random.Random) -> Asked | None:
    """One call of all copies; None where one could not be asked, or one of the other version took too long."""
    patience_s = min(PATIENCE_MAX_S, max(PATIENCE_S, PATIENCE_TIMES * sample.usual_s))
    finds = (copies.new, *copies.others)
    order = list(range(len(finds)))
    rng.shuffle(order)
    tasks: dict[int, asyncio.Task[Answer | None]] = {}
    async with asyncio.TaskGroup() as group:
        for at in order:
            tasks[at] = group.create_task(_answer(sample, finds[at], patience_s))
        new, others = tasks[0], [tasks[at] for at in range(1, len(finds))]
        await asyncio.wait(others, timeout=max(0.0, until_s - time.monotonic()))
        heard = [task.result() for task in others if task.done()]
        if len(heard) < len(others) or None in heard:
            for task in tasks.values():
                task.cancel()
            return None
        await asyncio.wait([new])
    answer = new.result()
    return None if answer is None else Asked(sample.subject, answer, [each for each in heard if each], id=sample.id)


async def _answer(sample: Sample, find: Find, patience_s: float) -> Answer | None:
    """How a call ended; None where it could not be made: an instance that stays away is its supervisor's to judge."""
    endpoint = find() or await _back(find)
    if endpoint is None:
        return None
    try:
        return answer_of(
            await endpoint.request(sample.method, marked(sample.params), era=Era.LEGACY, timeout_s=patience_s)
        )
    except TimeoutError:
        return lost(Outcome.TIMEOUT, f"no answer within {patience_s:g} s")
    except LimitReached:
        return None  # too busy to be asked
    except UpstreamLost as error:
        return lost(Outcome.CRASH if find() is None else Outcome.TRANSPORT, error.message)
    except HensloweError as error:
        return lost(Outcome.INTERNAL_ERROR, error.message)


async def _back(find: Find) -> Endpoint | None:
    """The endpoint of an instance that is starting again, if it comes back soon."""
    deadline_s = time.monotonic() + BACK_S
    while time.monotonic() < deadline_s:
        await asyncio.sleep(BACK_LOOK_S)
        endpoint = find()
        if endpoint is not None:
            return endpoint
    return None
