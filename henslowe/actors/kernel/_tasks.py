"""Tasks for async callbacks: started eagerly where Python can, and unable to stop the loop.

asyncio lets SystemExit out of a task end the whole loop; here it ends one actor like any other exception.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Generator
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


class Done:
    """The outcome of a callback that ended in its first step: what is asked of a finished task."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def result(self) -> Any:
        """What it returned."""
        return self._value


def first_step(coroutine: Coroutine[Any, Any, Any]) -> Done | Coroutine[Any, Any, Any]:
    """Runs a callback up to its first suspension, without a task: its outcome, or what is left of it to run.

    A task costs more than all else that a supervisor does to start a child. Only for code that does not look at the
    current task in its first step, as `asyncio.timeout` does.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration as ended:
        return Done(ended.value)
    return _rest(coroutine, awaited)


async def _rest(coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Any:
    return await _Rest(coroutine, awaited)


class _Rest:
    """Goes on with a coroutine that waits for `awaited`."""

    __slots__ = ("_awaited", "_coroutine")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], awaited: Any) -> None:
        self._coroutine = coroutine
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, awaited = self._coroutine, self._awaited
        while True:
            try:
                try:
                    value = yield awaited
                except BaseException as error:  # noqa: BLE001  # whatever the task throws in, as a rule a cancellation
                    awaited = coroutine.throw(error)
                else:
                    awaited = coroutine.send(value)
            except StopIteration as ended:
                return ended.value


def abandon(task: asyncio.Task[Any]) -> None:
    """Cancels the task of a dead actor and counts it as a zombie until it is gone."""
    zombies.add(task)
    task.add_done_callback(zombies.discard)
    task.cancel()
