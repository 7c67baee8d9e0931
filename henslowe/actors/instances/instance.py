"""The actor of one instance: starts its server, joins its version's crew, and ends with it.

It does not restart anything: it crashes, and its supervisor starts another incarnation, until that was too often. Only
a first start that fails is not tried again, since nothing shows that it can run at all.
"""

from __future__ import annotations

import asyncio
import functools
import time
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.instances.crew import Crew, Duty
from henslowe.actors.instances.driver import Driver, Server, StartOrder
from henslowe.actors.instances.output import Output, OutputRate
from henslowe.actors.journal import say
from henslowe.actors.kernel import SHUTDOWN, Continue, LoopActor, Stop, is_clean
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import InstanceDown, InstanceUp
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
    """Cast to INSTANCES: the first start of an instance failed."""

    version: VersionKey
    slot: int
    reason: str


@dataclass(slots=True, frozen=True)
class Ready:
    """Cast to INSTANCES: an instance is up; others may go now, and who waited for it may go on."""

    version: VersionKey


@dataclass(slots=True, frozen=True)
class Surroundings:
    """What every instance of the node shares."""

    driver: Driver
    directory: EndpointDirectory
    stop_grace_s: float
    output: OutputRate


@dataclass(slots=True, frozen=True)
class _Lost:
    reason: str


def instance_name(version: VersionKey, slot: int = 1) -> str:
    """The registered name of one of a version's instances: the first, or by its place in the crew."""
    return f"{names.SERVICES}.{version}" + (f"/{slot}" if slot > 1 else "")


class Instance(LoopActor):
    """Runs one server.

    Args:
        crew: The instances of its version, and what to run.
        slot: Its place among them, over all incarnations.
        surroundings: Shared by all instances.
    """

    def __init__(self, crew: Crew, slot: int, surroundings: Surroundings) -> None:
        super().__init__()
        self._ensure = crew.ensure
        self._version = crew.version
        self._crew = crew
        self._around = surroundings
        self._member = crew.enter(slot)
        self._id = self._member.instance
        self._server: Server | None = None
        self._tidying: asyncio.Task[None] | None = None
        """Held here, since the loop does not."""

    def init(self) -> Continue:
        """Let the supervisor go on; the start takes its time."""
        return Continue("start")

    async def handle_continue(self, _arg: Any) -> Stop | None:
        """Start the server and tell everybody."""
        started_s = time.monotonic()
        member = self._member
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
            member.crash = failure.message
            if member.ready_once:
                member.duty = Duty.DOWN
                raise
            output = failure.details.get("output", "")
            reason = f"{failure.message}\n{output}" if output else failure.message
            registry.via(names.INSTANCES).cast(StartRefused(self._version, member.slot, reason))
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
        self._leave(Duty.DRAINING)
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
            self._member.crash = reason
            self._down(reason, expected=False)
            raise InstanceFailed(f"{self._id} ended: {reason}", hint=f"henslowe logs {self._version.service}")

    async def terminate(self, reason: Any) -> None:
        """Stop the server, whatever the reason."""
        expected = is_clean(reason)
        if not expected and not self._member.crash:
            self._member.crash = str(reason) or repr(reason)
        server, self._server = self._server, None
        if server is None:
            return
        self._leave(Duty.DRAINING if expected else Duty.DOWN)
        self._down(str(reason[1] if isinstance(reason, tuple) else reason), expected=expected)
        await server.stop(self._around.stop_grace_s)

    def _gone(self, loop: asyncio.AbstractEventLoop, *_: object) -> None:
        """After a kill, when `terminate` does not run: a process ends with its owner, a remote server does not."""
        if self._server is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._tidy)

    def _tidy(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            self._leave(Duty.DOWN)
            self._down("its actor was killed", expected=False)
            self._tidying = asyncio.ensure_future(server.stop(0.0))

    def _ready(self, server: Server, took_s: float) -> None:
        endpoint, member = server.endpoint, self._member
        member.url, member.pid = server.url, server.pid
        up = InstanceUp(self._version, self._id, endpoint.contract, endpoint.facts.era.value, round(took_s, 3))
        announced = self._crew.ready(member, endpoint, up)
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
            **({"standby": True} if member.duty is Duty.STANDBY else {}),
        )
        if announced:
            tell_versions_and_router(up)
        registry.via(names.INSTANCES).cast(Ready(self._version))

    def _lost(self, reason: str) -> None:
        """The server can take no more calls. Runs in: the loop, called by the driver, also when this actor is dead."""
        if self._server is None:
            return  # `start` itself raises
        self._leave(Duty.DOWN)
        if self.ref.is_alive():
            self.ref.send(_Lost(reason))
        else:
            self._down(reason, expected=False)

    def _leave(self, duty: Duty) -> None:
        """Take no more calls; who stands by takes them."""
        if self._member.instance != self._id:
            return  # the next incarnation is there already, and has seen to it
        for member in self._crew.leave(self._member, duty):
            say(
                EventType.INSTANCE_TAKEOVER,
                Status.SUCCESS,
                key=self._version,
                instance=member.instance,
                instead_of=self._id,
            )

    def _down(self, reason: str, *, expected: bool) -> None:
        member = self._member
        if member.up is None or member.up.instance != self._id:
            return
        member.up, left = None, self._crew.count(Duty.SERVING)
        status = Status.SUCCESS if expected else Status.FAILED
        say(
            EventType.INSTANCE_DOWN,
            status,
            key=self._version,
            instance=self._id,
            reason=reason,
            expected=expected,
            left=left,
        )
        tell_versions_and_router(InstanceDown(self._version, self._id, reason, expected, left))


def tell_versions_and_router(message: Any) -> None:
    """Cast to both who follow instances."""
    registry.via(names.VERSIONS).cast(message)
    registry.via(names.ROUTER).cast(message)
