"""The actor of one running version: starts its server, publishes its endpoint, and ends with it.

It does not restart anything: it crashes, and its supervisor starts another incarnation, until that was too often. Only
a first start that fails is not tried again, since nothing shows that the version can run at all.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.instances.driver import Driver, Server, StartOrder
from henslowe.actors.instances.output import Output, OutputRate
from henslowe.actors.journal import say
from henslowe.actors.kernel import SHUTDOWN, Continue, LoopActor, Stop, is_clean
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import EnsureInstance, InstanceDown, InstanceUp
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import HensloweError, InstanceFailed

RELEASED: Final = (SHUTDOWN, "released")
BROKEN: Final = (SHUTDOWN, "broken")


@dataclass(slots=True, frozen=True)
class Release:
    """Cast to an instance: take no new calls, finish those in flight within `drain_s`, and end."""

    drain_s: float


@dataclass(slots=True, frozen=True)
class Stuck:
    """Cast to an instance: this server of it is there and does not answer: end it, so that another is started."""

    instance: InstanceId
    reason: str


@dataclass(slots=True, frozen=True)
class StartRefused:
    """Cast to INSTANCES: the first start of a version failed."""

    version: VersionKey
    reason: str


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What every instance of the node shares."""

    driver: Driver
    directory: EndpointDirectory
    stop_grace_s: float
    output: OutputRate


@dataclass(slots=True)
class History:
    """What the incarnations of one version's instance leave to each other, and to the manager.

    Written by the living incarnation only, but for `holders` and `released`, which are the manager's.
    """

    numbers: Iterator[int]
    """Numbers of instances of this version, never used twice."""
    private_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """The same for its private connections."""
    ready_once: bool = False
    crash: str = ""
    """Why the last incarnation crashed; "" while one runs, or when it ended as it was told."""
    holders: set[str] = field(default_factory=set)
    """On whose behalf the version runs; kept by the manager."""
    released: bool = False
    """Whether it is to drain and end."""
    up: InstanceUp | None = None
    """The last announcement, while it is true."""
    url: str = ""
    """Where the last incarnation listens; "" on pipes."""


@dataclass(slots=True, frozen=True)
class _Lost:
    reason: str


def instance_name(version: VersionKey) -> str:
    """The registered name of a version's instance."""
    return f"{names.SERVICES}.{version}"


class Instance(LoopActor):
    """Runs one server.

    Args:
        ensure: What to run.
        history: Shared by all incarnations.
        surroundings: Shared by all instances.
    """

    def __init__(self, ensure: EnsureInstance, history: History, surroundings: Surroundings) -> None:
        super().__init__()
        self._ensure = ensure
        self._version = ensure.version
        self._history = history
        self._around = surroundings
        self._id = InstanceId(f"{ensure.version}#{next(history.numbers)}")
        self._server: Server | None = None
        self._tidying: asyncio.Task[None] | None = None
        """Held here, since the loop does not."""

    def init(self) -> Continue:
        """Let the supervisor go on; the start takes its time."""
        return Continue("start")

    async def handle_continue(self, _arg: Any) -> Stop | None:
        """Start the server and tell everybody."""
        started_s = time.monotonic()
        history = self._history
        say(EventType.INSTANCE_START, Status.PENDING, key=self._version, instance=self._id)
        try:
            self._server = await self._around.driver.start(
                StartOrder(
                    version=self._version,
                    instance=self._id,
                    launch=self._ensure.launch,
                    root=self._ensure.root,
                    owner=self.ref,
                    output=Output(self._version, self._id, self._around.output),
                    on_server_event=self._around.directory.announce,
                    on_lost=self._lost,
                )
            )
        except HensloweError as failure:
            say(
                EventType.INSTANCE_READY,
                Status.FAILED,
                key=self._version,
                instance=self._id,
                reason=failure.message,
                hint=failure.hint,
            )
            history.crash = failure.message
            if history.ready_once:
                raise
            output = failure.details.get("output", "")
            reason = f"{failure.message}\n{output}" if output else failure.message
            registry.via(names.INSTANCES).cast(StartRefused(self._version, reason))
            return Stop(BROKEN)
        self.ref.watch(functools.partial(self._gone, asyncio.get_running_loop()))
        self._ready(self._server, time.monotonic() - started_s)
        return None

    async def handle_cast(self, message: Any) -> Stop | None:
        """Take `Release` and `Stuck`."""
        if isinstance(message, Stuck):
            if message.instance == self._id:
                await self.handle_info(_Lost(message.reason))
            return None
        assert isinstance(message, Release)
        assert self._server is not None
        endpoint = self._server.endpoint
        self._around.directory.remove(endpoint)
        left = 0
        try:
            async with asyncio.timeout(message.drain_s):
                await endpoint.drain()
        except TimeoutError:
            left = endpoint.in_flight
        status = Status.DEGRADED if left else Status.SUCCESS
        say(EventType.INSTANCE_DRAINED, status, key=self._version, instance=self._id, calls_left=left)
        return Stop(RELEASED)

    async def handle_info(self, message: Any) -> None:
        """Take the loss of the server: crash with the best reason that can be had."""
        if isinstance(message, _Lost) and self._server is not None:
            reason = await self._server.end(message.reason)
            self._history.crash = reason
            self._down(reason, expected=False)
            raise InstanceFailed(f"{self._id} ended: {reason}", hint=f"henslowe logs {self._version.service}")

    async def terminate(self, reason: Any) -> None:
        """Stop the server, whatever the reason."""
        expected = is_clean(reason)
        if not expected and not self._history.crash:
            self._history.crash = str(reason) or repr(reason)
        server, self._server = self._server, None
        if server is None:
            return
        self._around.directory.remove(server.endpoint)
        self._down(str(reason[1] if isinstance(reason, tuple) else reason), expected=expected)
        await server.stop(self._around.stop_grace_s)

    def _gone(self, loop: asyncio.AbstractEventLoop, *_: object) -> None:
        """After a kill, when `terminate` does not run: a process ends with its owner, a remote server does not."""
        if self._server is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._tidy)

    def _tidy(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._around.directory.remove(server.endpoint)
            self._down("its actor was killed", expected=False)
            self._tidying = asyncio.ensure_future(server.stop(0.0))

    def _ready(self, server: Server, took_s: float) -> None:
        endpoint, history = server.endpoint, self._history
        history.ready_once, history.crash, history.url = True, "", server.url
        up = history.up = InstanceUp(
            self._version, self._id, endpoint.contract, endpoint.facts.era.value, round(took_s, 3)
        )
        self._around.directory.add(endpoint)
        say(
            EventType.INSTANCE_READY,
            Status.SUCCESS,
            key=self._version,
            instance=self._id,
            pid=server.pid,
            era=up.era,
            protocol_version=endpoint.facts.protocol_version,
            tools=len(endpoint.contract.tools),
            took_s=up.took_s,
        )
        tell_versions_and_router(up)

    def _lost(self, reason: str) -> None:
        """The server can take no more calls. Runs in: the loop, called by the driver, also when this actor is dead."""
        if self._server is None:
            return  # `start` itself raises
        self._around.directory.remove(self._server.endpoint)
        if self.ref.is_alive():
            self.ref.send(_Lost(reason))
        else:
            self._down(reason, expected=False)

    def _down(self, reason: str, *, expected: bool) -> None:
        if self._history.up is None or self._history.up.instance != self._id:
            return
        self._history.up = None
        status = Status.SUCCESS if expected else Status.FAILED
        say(EventType.INSTANCE_DOWN, status, key=self._version, instance=self._id, reason=reason, expected=expected)
        tell_versions_and_router(InstanceDown(self._version, self._id, reason, expected))


def tell_versions_and_router(message: Any) -> None:
    """Cast to both who follow instances."""
    registry.via(names.VERSIONS).cast(message)
    registry.via(names.ROUTER).cast(message)
