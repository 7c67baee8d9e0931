"""What tests of Henslowe, and of actors written for it, need.

- `run_virtually`: a clock that does not wait, and with a seed also actors that run in random order;
- `supervised`: actors that are stopped when the test ends, in reverse order;
- `Probe`, `assert_receive`, `refute_receive`: a mailbox for the test itself;
- `no_leaks`: fails when tasks, threads, descriptors, processes, names or actors are left over.

`VirtualTimeLoop` runs timers in order without sleeping: minutes of time-outs, backoffs and intensity windows pass in
milliseconds, and always in the same order. Not for code that talks to processes, threads or sockets: virtual time
does not wait for the real world. With pytest-asyncio, use `run_virtually` inside a plain test function.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import random
import selectors
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from henslowe.actors.kernel import (
    NOREPLY,
    ChildSpec,
    GenActor,
    LoopActor,
    Ref,
    RestartType,
    Scheduler,
    StartChild,
    TerminateChild,
    names,
    statistics,
)
from henslowe.supervisors import Supervisor

__all__ = [
    "Probe",
    "ShufflingScheduler",
    "Supervised",
    "VirtualTimeLoop",
    "assert_receive",
    "ended_processes",
    "no_leaks",
    "refute_receive",
    "run_virtually",
    "supervised",
]

T = TypeVar("T")
RESTARTS_MAX: Final = 1_000_000
"""What a test's own supervisor tolerates: a test that crashes actors on purpose is not a crashing system."""


# -- time and order ------------------------------------------------------------------------------------
class _JumpingSelector(selectors.DefaultSelector):
    """Turns the clock instead of waiting. Without a timer to wait for it waits really, for threads that will call."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
            return ready
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer whenever nothing is ready.

    `loop.time()` starts at 0 and is the only clock that is turned; `time.monotonic()` is not.
    """

    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now

    def advance(self, seconds: float) -> None:
        """Turns the clock by hand, for code that reads it without awaiting."""
        self._virtual.now += seconds


class ShufflingScheduler(Scheduler):
    """Runs a random ready actor for one message, then another: finds code that relies on an order nobody promised.

    What OTP promises still holds: messages between two actors arrive in the order in which they were sent. The same
    seed gives the same order, where no threads and processes take part. Make one in the running loop, before the
    first actor, in place of `Scheduler.install()`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seed: int) -> None:
        super().__init__(loop)
        self.batch = 1
        self._random = random.Random(seed)  # noqa: S311  # repeatable, not secret

    def run(self) -> None:
        """Serves up to 20 ready actors. Runs in: the loop."""
        pick = self._random
        self.inline = pick.choice((0, 1, 32))
        turns = pick.randint(1, 20)
        try:
            while (self.ready or self.inbound) and turns:
                turns -= 1
                while self.inbound:
                    function, args = self.inbound.popleft()
                    function(*args)
                if self.ready:
                    self.ready.rotate(-pick.randrange(len(self.ready)))
                    ref = self.current = self.ready.popleft()
                    ref._drain()
                    self.current = None
        finally:
            self.current = None
            self.armed = False
            if self.ready or self.inbound:
                self.arm()


def run_virtually(main: Coroutine[Any, Any, T], *, seed: int | None = None) -> T:
    """Runs `main` on a new `VirtualTimeLoop` with a scheduler for actors, and gives its result.

    With a `seed`, actors run in a random order that depends on it (`ShufflingScheduler`). Tasks that are left over
    are cancelled, and the loop is closed. Runs in: a thread without a running loop.
    """

    async def with_scheduler() -> T:
        if seed is None:
            Scheduler.install()
        else:
            ShufflingScheduler(asyncio.get_running_loop(), seed)
        return await main

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(with_scheduler())


# -- actors of a test ----------------------------------------------------------------------------------
class Supervised:
    """Starts actors under the test's own supervisor; given by `supervised`."""

    def __init__(self, supervisor: Ref) -> None:
        self.supervisor = supervisor
        self._numbers = itertools.count(1)

    async def start(
        self,
        actor: type[GenActor],
        *args: Any,
        name: str | None = None,
        restart: RestartType = RestartType.PERMANENT,
        **kwargs: Any,
    ) -> Ref:
        """Starts an actor that is restarted when it crashes and stopped when the test ends.

        Raises:
            StartFailed: Its `init` failed.
            ValueError: Its `init` returned `IGNORE`.
        """
        spec = ChildSpec(
            f"{next(self._numbers)}.{name or actor.__name__}", actor, args, kwargs, name=name, restart=restart
        )
        return await self.start_spec(spec)

    async def start_spec(self, spec: ChildSpec) -> Ref:
        """The same from a child spec."""
        ref: Ref | None = await self.supervisor.call(StartChild(spec), None)
        if ref is None:
            raise ValueError(f"expected {spec.actor.__name__} to start, but it ignored")
        return ref

    async def stop(self, child: str | Ref) -> None:
        """Stops one of them before the test ends; it is not restarted."""
        await self.supervisor.call(TerminateChild(child), None)


@contextlib.asynccontextmanager
async def supervised() -> AsyncIterator[Supervised]:
    """Actors for one test, stopped in reverse order at its end.

    async with supervised() as test:
        ref = await test.start(Counter)
    """
    Scheduler.install()
    supervisor = await Supervisor.start_link(max_restarts=RESTARTS_MAX, max_seconds=1.0)
    assert supervisor is not None
    try:
        yield Supervised(supervisor)
    finally:
        await supervisor.stop(block=False)


class Probe(LoopActor):
    """A mailbox for a test: takes everything and keeps it in `received`, in order. Traps exits.

    Calls are kept as messages too and wait for an answer: take them with `assert_receive`, then use `probe.senders`.
    """

    trap_exit = True

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []
        self.senders: list[Any] = []
        self._arrived = asyncio.Event()

    def handle_cast(self, message: Any) -> None:
        """Keeps it."""
        self.received.append(message)
        self._arrived.set()

    def handle_info(self, message: Any) -> None:
        """Keeps it."""
        self.handle_cast(message)

    def handle_call(self, message: Any, sender: Any) -> Any:
        """Keeps it, and its caller waiting."""
        self.senders.append(sender)
        self.handle_cast(message)
        return NOREPLY

    @classmethod
    async def open(cls) -> Probe:
        """A running one; its address is `probe.ref`."""
        ref = await cls.start_link()
        assert ref is not None
        probe: Probe = ref._actor
        return probe


def _matches(wanted: Any, message: Any) -> bool:
    if isinstance(wanted, type):
        return isinstance(message, wanted)
    if callable(wanted):
        return bool(wanted(message))
    return bool(message == wanted)


async def assert_receive(probe: Probe, wanted: Any, timeout_s: float = 5.0) -> Any:
    """Waits for a message, takes it out of the probe and gives it. Others stay where they are.

    Args:
        probe: The mailbox.
        wanted: A type, a predicate, or a value that the message must equal.
        timeout_s: For how long to wait.

    Raises:
        AssertionError: None came in time; says what came instead.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while True:
                for position, message in enumerate(probe.received):
                    if _matches(wanted, message):
                        return probe.received.pop(position)
                probe._arrived.clear()
                await probe._arrived.wait()
    raise AssertionError(f"expected a message {wanted!r} within {timeout_s} s, got {probe.received!r}")


async def refute_receive(probe: Probe, wanted: Any, timeout_s: float = 0.1) -> None:
    """Fails when a message that matches `wanted` is there or comes within `timeout_s` seconds."""
    try:
        message = await assert_receive(probe, wanted, timeout_s)
    except AssertionError:
        return
    raise AssertionError(f"expected no message {wanted!r}, got {message!r}")


# -- leaks -----------------------------------------------------------------------------------------------
def _children_of_this_process() -> set[str]:
    pid = os.getpid()
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split())


def _holdings() -> dict[str, set[Any]]:
    """What this process holds now, by kind."""
    return {
        "tasks": {task for task in asyncio.all_tasks() if task is not asyncio.current_task()},
        "threads": set(threading.enumerate()),
        "descriptors": _open_descriptors(),
        "processes": _children_of_this_process(),
        "names": set(names.registered()),
        "actors": {thing for thing in gc.get_objects() if isinstance(thing, Ref) and thing.is_alive()},
    }


def _open_descriptors() -> set[str]:
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with contextlib.suppress(OSError):  # the one that lists them
            found.add(f"{descriptor} -> {os.readlink(f'/proc/self/fd/{descriptor}')}")  # noqa: PTH115
    return found


@contextlib.asynccontextmanager
async def ended_processes(settle_s: float = 10.0) -> AsyncIterator[None]:
    """Waits at the end of the block for the processes that it started: a kill is sent before it is obeyed.

    Raises:
        AssertionError: Some still run after `settle_s` seconds.
    """
    before = _children_of_this_process()
    yield
    deadline = time.monotonic() + settle_s
    while left := _children_of_this_process() - before:
        if time.monotonic() > deadline:
            raise AssertionError(f"expected all started processes to have ended, got {sorted(left)}")
        await asyncio.sleep(0.005)
    await asyncio.sleep(0)  # their exits are noticed by callbacks of the loop


@contextlib.asynccontextmanager
async def no_leaks(settle_s: float = 5.0) -> AsyncIterator[None]:
    """Fails when the block leaves anything behind: tasks, threads, descriptors, processes, names, actors, zombies.

    What is ending by itself gets up to `settle_s` seconds for that. The first use of asyncio's threads or of a
    library may open things for good: do that before. Linux only.

    Raises:
        AssertionError: Says what was left over.
    """
    before, zombies_before = _holdings(), statistics().zombies
    yield
    deadline = time.monotonic() + settle_s
    while True:
        now = _holdings()
        left: dict[str, Any] = {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}
        if statistics().zombies > zombies_before:
            left["zombies"] = statistics().zombies - zombies_before
        if not left:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"expected nothing to be left over, got {left}")
        await asyncio.sleep(0.01)
