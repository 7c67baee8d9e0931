"""Small actors that the kernel's tests share: each callback written once, for actors on the loop and on threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from henslowe.actors.kernel import (
    NOREPLY,
    Continue,
    Down,
    Exit,
    GenActor,
    LoopActor,
    ProcessActor,
    Ref,
    Stop,
    ThreadActor,
)

BOUND_S = 5.0


class Boom(Exception):
    """A programmer's error."""


class Recorder:
    """Remembers what happened to it in `log`, which outlives it, and does what messages say."""

    def __init__(self, trap: bool = False, log: list[Any] | None = None, on_init: Any = None) -> None:
        super().__init__()
        self.trap_exit = trap
        self.log: list[Any] = [] if log is None else log
        self.on_init = on_init
        self.owed: list[Any] = []

    def init(self) -> Any:
        self.log.append("init")
        if isinstance(self.on_init, BaseException):
            raise self.on_init
        return self.on_init

    def handle_continue(self, arg: Any) -> Any:
        self.log.append(("continue", arg))
        return arg if isinstance(arg, Continue | Stop) else None

    def handle_cast(self, message: Any) -> Any:
        self.log.append(("cast", message))
        return self.do(message)

    def handle_call(self, message: Any, sender: Any) -> Any:
        if message == "log":
            return list(self.log)
        if message == "later":
            self.owed.append(sender)
            return NOREPLY
        self.log.append(("call", message))
        return self.do(message)

    def handle_info(self, message: Any) -> Any:
        if isinstance(message, Exit | Down):
            self.log.append((type(message).__name__, message.reason))
        else:
            self.log.append(("info", message))

    def terminate(self, reason: Any) -> Any:
        self.log.append(("terminate", reason))

    def do(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return message(self)
        if message == "pay":
            self.owed.pop(0).set("paid")
            return None
        return message


class OnLoop(Recorder, LoopActor):
    pass


class OnThread(Recorder, ThreadActor):
    pass


KINDS: list[type[GenActor]] = [OnLoop, OnThread]


async def gone(ref: Ref) -> Any:
    """Waits for an actor's death and gives the reason that its watchers hear."""
    loop = asyncio.get_running_loop()
    heard: asyncio.Future[Any] = loop.create_future()
    ref.watch(lambda _, reason: loop.call_soon_threadsafe(lambda: heard.done() or heard.set_result(reason)))
    return await asyncio.wait_for(heard, BOUND_S)


async def eventually(condition: Callable[[], bool], what: str = "the condition") -> None:
    """Gives the loop turns until the condition holds."""
    async with asyncio.timeout(BOUND_S):
        while not condition():
            await asyncio.sleep(0.001)
    assert condition(), what


class Gate:
    """Lets a test hold a thread inside a callback."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        self.entered.set()
        assert self.open.wait(BOUND_S)


class Calculator(ProcessActor):
    """Runs in a child process; obeys words."""

    def __init__(self, start: int = 0) -> None:
        super().__init__()
        self.total = start

    def init(self) -> Any:
        if self.total < 0:
            raise ValueError("negative")
        return Continue("warm") if self.total == 100 else None

    def handle_continue(self, arg: Any) -> Any:
        self.total += 1

    def handle_cast(self, message: Any) -> Any:
        if message == "crash":
            raise Boom("in the child")
        if message == "stop":
            return Stop("enough")
        self.total += message
        return None

    def handle_call(self, message: Any, sender: Any) -> Any:
        import os
        import sys
        import time

        if message == "pid":
            return os.getpid()
        if message == "refuse":
            from henslowe.errors import Conflict

            raise Conflict("cannot add: full", hint="subtract", reason="full")
        if message == "spin":
            while True:
                time.sleep(0)  # never returns
        if message == "die":
            os._exit(7)
        if message == "print":
            print("to standard error, not into the pipe", file=sys.stdout)
            return "printed"
        if message == "bye":
            return Stop("normal", "goodbye")
        if message == "boom":
            raise Boom("in the child")
        if isinstance(message, tuple):  # ("fork", seconds): leave a grandchild in a session of its own
            import subprocess

            return subprocess.Popen(["sleep", str(message[1])], start_new_session=True).pid
        return self.total

    def handle_info(self, message: Any) -> Any:
        self.total += 1000

    def terminate(self, reason: Any) -> Any:
        return None


class PlainDataCalculator(Calculator):
    """The same on the wire that cannot carry code."""

    wire = "msgpack"
