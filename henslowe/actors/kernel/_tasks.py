"""Tasks for async callbacks: started eagerly where Python can, and unable to stop the loop.

asyncio lets SystemExit out of a task end the whole loop; here it ends one actor like any other exception.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, Final

from ._gauges import zombies

EAGER: Final = sys.version_info >= (3, 12)
"""Whether a callback that never suspends costs no turn of the loop."""


class _Contained(Exception):
    """Carries a SystemExit out of a task: asyncio would stop the whole loop for it."""


async def _contain(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await coroutine
    except SystemExit as error:
        raise _Contained(error) from None


def error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """What a finished task raised, if anything."""
    if task.cancelled():
        return asyncio.CancelledError("cancelled from inside the callback")
    error = task.exception()
    if type(error) is _Contained:
        contained: BaseException = error.args[0]
        return contained
    return error


def spawn(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Runs an async callback; from Python 3.12 on, its first step at once."""
    if EAGER:
        return asyncio.Task(_contain(coroutine), loop=loop, eager_start=True)  # type: ignore[call-arg,unused-ignore]
    task: asyncio.Task[Any] = loop.create_task(_contain(coroutine))
    # A task that is cancelled before its first step never enters the coroutine: close it, or Python complains.
    task.add_done_callback(lambda _: coroutine.close())
    return task


def abandon(task: asyncio.Task[Any]) -> None:
    """Cancels the task of a dead actor and counts it as a zombie until it is gone."""
    zombies.add(task)
    task.add_done_callback(zombies.discard)
    task.cancel()
