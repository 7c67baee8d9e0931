"""Children for the supervisors' tests: each life tells a shared diary of its start and end."""

from __future__ import annotations

import asyncio
from typing import Any

from henslowe.actors.kernel import LoopActor, Ref, Stop, ThreadActor

BOUND_S = 5.0


class Worker:
    """Crashes when cast an exception, stops when cast a Stop, and answers calls with the message."""

    def __init__(self, word: str, diary: list[Any], trap: bool = True, fails: int = 0) -> None:
        super().__init__()
        self.word, self.diary, self.trap_exit = word, diary, trap
        self.fails = fails

    def init(self) -> Any:
        starts = sum(entry in (("+", self.word), ("!", self.word)) for entry in self.diary)
        if 0 < starts <= self.fails:  # the first start works, the next `fails` do not
            self.diary.append(("!", self.word))
            raise ValueError(f"{self.word} cannot start")
        self.diary.append(("+", self.word))
        return None

    def handle_cast(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message if isinstance(message, Stop) else None

    def handle_call(self, message: Any, sender: Any) -> Any:
        return message

    def handle_info(self, message: Any) -> None:
        return None

    def terminate(self, reason: Any) -> Any:
        self.diary.append(("-", self.word))


class LoopWorker(Worker, LoopActor):
    pass


class ThreadWorker(Worker, ThreadActor):
    pass


class SlowStarter(Worker, LoopActor):
    """Takes its time to start, or to find that it cannot."""

    async def init(self) -> Any:
        await asyncio.sleep(1)  # virtual
        return super().init()


class Hanging(LoopActor):
    """Does not come back from terminate."""

    trap_exit = True

    async def terminate(self, reason: Any) -> None:
        await asyncio.Event().wait()


async def gone(ref: Ref) -> Any:
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[Any] = loop.create_future()
    ref.watch(lambda _, reason: loop.call_soon_threadsafe(lambda: heard.done() or heard.set_result(reason)))
    async with asyncio.timeout(BOUND_S * 1000):  # virtual seconds in most tests
        return await heard
