"""No ask is left unanswered, however it races with the end of the actor."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections import Counter
from typing import Any

import pykka

from henslowe.actors.kernel import KILL, LoopActor, Scheduler, ThreadActor

from .outcome import Outcome

ASKERS = 4
CHUNK = 100
ANSWER_S = 20.0
PER_LIFE = 300
"""Asks that one actor gets, about, before it is ended."""


class Answering:
    """Answers; every so often it waits, so that asks queue."""

    crash_on_call_error = True

    def handle_call(self, message: Any, _sender: Any) -> Any:
        """The message, or a crash."""
        if message == 97:
            raise ValueError(message)
        return message


class OnLoop(Answering, LoopActor):
    """On the loop."""


class Suspending(LoopActor):
    """Waits for a turn of the loop in each call."""

    async def handle_call(self, message: Any, _sender: Any) -> Any:
        """The message, later."""
        await asyncio.sleep(0)
        return message


class OnThread(Answering, ThreadActor):
    """On a thread."""


class _Race:
    """Askers in threads; about every `PER_LIFE` asks one of them ends the actor in the midst of the others' asks."""

    def __init__(self, kind: Any, total: int, seed: int) -> None:
        self.kind, self.total, self.seed = kind, total, seed
        self.current = kind.start()
        self.lives = 1
        self.outcomes: Counter[str] = Counter()
        self.lock = threading.Lock()

    def ask(self, number: int) -> None:
        """One asker's share, chunk by chunk: asks first, then the answers."""
        pick, found = random.Random(f"{self.seed}-{number}"), Counter[str]()
        for _ in range(self.total // ASKERS // CHUNK + 1):
            replies = []
            for message in range(CHUNK):
                replies.append(self.current.ask(message, block=False))
                if pick.random() * PER_LIFE < 1:
                    self.end(pick)
            for reply in replies:
                found[_outcome(reply)] += 1
            if not self.current.is_alive():  # it crashed
                self.end(pick)
        with self.lock:
            self.outcomes += found

    def end(self, pick: random.Random) -> None:
        """Puts another actor in the place of the present one, and ends that in one of two ways."""
        with self.lock:
            old, self.current = self.current, self.kind.start()
            self.lives += 1
        if pick.random() < 0.5:
            old.exit(KILL)
        else:
            old.stop(block=False)

    def run(self) -> None:
        """The whole race."""
        askers = [threading.Thread(target=self.ask, args=(number,)) for number in range(ASKERS)]
        for thread in askers:
            thread.start()
        for thread in askers:
            thread.join()
        self.current.exit(KILL)


def _outcome(reply: Any) -> str:
    try:
        reply.get(timeout=ANSWER_S)
    except pykka.ActorDeadError:
        return "actor_ended"
    except pykka.Timeout:
        return "unanswered"
    except ValueError:
        return "callee_raised"
    return "answered"


async def _calls(total: int, seed: int) -> Counter[str]:
    """The same from coroutines, by `call` without a time-out."""
    pick, outcomes = random.Random(seed), Counter[str]()
    ref = await Suspending.start_link()

    async def one(number: int) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await ref.call(number, None)
        except TimeoutError:
            outcomes["unanswered"] += 1
        except pykka.ActorDeadError:
            outcomes["actor_ended"] += 1
        else:
            outcomes["answered"] += 1

    for start in range(0, total, 100):
        calls = [asyncio.create_task(one(number)) for number in range(start, start + 100)]
        for _ in range(pick.randint(0, 60)):
            await asyncio.sleep(0)
        assert ref is not None
        if pick.random() < 0.5:
            ref.exit(KILL)
        else:
            ref.stop(block=False)
        await asyncio.gather(*calls)
        ref = await Suspending.start_link()
    assert ref is not None
    ref.exit(KILL)
    return outcomes


async def _prove(total: int, seed: int) -> Outcome:
    Scheduler.install()
    outcome = Outcome("asks", {"first_seed": seed})
    unanswered = asked = 0
    for kind, share in ((OnLoop, 0.45), (OnThread, 0.45)):
        race = _Race(kind, int(total * share), seed)
        await asyncio.to_thread(race.run)
        outcome.figures[kind.__name__] = dict(race.outcomes) | {"lives": race.lives}
        unanswered += race.outcomes["unanswered"]
        asked += race.outcomes.total()
    outcomes = await _calls(int(total * 0.1), seed)
    outcome.figures["coroutines"] = dict(outcomes)
    unanswered += outcomes["unanswered"]
    asked += outcomes.total()
    outcome.figures |= {"asked": asked, "unanswered": unanswered}
    outcome.expect(unanswered == 0, f"{unanswered} of {asked} asks were never answered")
    outcome.expect(asked >= total, f"expected {total} asks, got {asked}")
    return outcome


def prove(total: int, seed: int) -> Outcome:
    """Asks `total` times while actors end, with threads forced to switch often."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        return asyncio.run(_prove(total, seed))
    finally:
        sys.setswitchinterval(interval)
