"""The actor of one private connection: a running version once more, for one client alone.

A server of the handshake era asks its client things, and takes it that there is one. On pipes such a connection is a
process of its own; a server that listens is joined in a session of its own. Nobody is told of it but who asked for it,
and it is never restarted: whoever needs it again asks again. See `henslowe.transport.gateway.private`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from henslowe.actors.endpoints import JsonObject, OwnedEndpoint, SoleClient
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.instances.driver import Server, StartOrder
from henslowe.actors.instances.instance import RELEASED, Release, Surroundings
from henslowe.actors.instances.output import Output
from henslowe.actors.journal import say
from henslowe.actors.kernel import SHUTDOWN, Continue, LoopActor, Reply, Stop, is_clean
from henslowe.actors.messages import EnsureInstance
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import HensloweError, InstanceFailed

UNOPENED = (SHUTDOWN, "not opened")


@dataclass(slots=True, frozen=True)
class _Lost:
    reason: str


@dataclass(slots=True, frozen=True)
class PrivateOrder:
    """What to run, under which id, and for whom.

    `url` is where the instance in `slot` listens; on pipes it is "", the slot 0, and a process of its own is started.
    """

    ensure: EnsureInstance
    instance: InstanceId
    client: SoleClient
    url: str
    slot: int = 0


class PrivateInstance(LoopActor):
    """Runs one server for one client.

    Args:
        order: What, and for whom.
        surroundings: Shared by all instances.
        opened: Gets the endpoint, or why there is none.
    """

    def __init__(self, order: PrivateOrder, surroundings: Surroundings, opened: Reply) -> None:
        super().__init__()
        self._order = order
        self._ensure = order.ensure
        self._id = order.instance
        self._around = surroundings
        self._opened: Reply | None = opened
        self._server: Server | None = None

    def init(self) -> Continue:
        """Let the supervisor go on; the start takes its time."""
        return Continue("start")

    async def handle_continue(self, _arg: Any) -> Stop | None:
        """Start the server and hand out its endpoint."""
        started_s, version = time.monotonic(), self._ensure.version
        self._say(EventType.INSTANCE_START, Status.PENDING)
        try:
            self._server = await self._around.driver.start(
                StartOrder(
                    version=version,
                    instance=self._id,
                    launch=self._ensure.launch,
                    root=self._ensure.root,
                    owner=self.ref,
                    output=Output(version, self._id, self._around.output),
                    on_server_event=self._heard,
                    on_lost=self._lost,
                    client=self._order.client,
                    url=self._order.url,
                )
            )
        except HensloweError as failure:
            self._say(EventType.INSTANCE_READY, Status.FAILED, reason=failure.message, hint=failure.hint)
            self._answer(failure)
            return Stop(UNOPENED)
        took_s = round(time.monotonic() - started_s, 3)
        self._say(EventType.INSTANCE_READY, Status.SUCCESS, pid=self._server.pid, took_s=took_s)
        self._answer(self._server.endpoint)
        return None

    async def handle_cast(self, message: Any) -> Stop:
        """Take `Release`."""
        assert isinstance(message, Release)
        left = 0
        if self._server is not None:
            endpoint = self._server.endpoint
            try:
                async with asyncio.timeout(message.drain_s):
                    await endpoint.drain()
            except TimeoutError:
                left = endpoint.in_flight
        self._say(EventType.INSTANCE_DRAINED, Status.DEGRADED if left else Status.SUCCESS, calls_left=left)
        return Stop(RELEASED)

    async def handle_info(self, message: Any) -> None:
        """Take the loss of the server: crash with the best reason that can be had."""
        if isinstance(message, _Lost) and self._server is not None:
            reason = await self._server.end(message.reason)
            raise InstanceFailed(f"{self._id} ended: {reason}", hint=f"henslowe logs {self._ensure.version.service}")

    async def terminate(self, reason: Any) -> None:
        """Stop the server, whatever the reason."""
        self._answer(InstanceFailed(f"cannot open {self._id}: it was stopped"))
        if self._server is None:
            return
        expected = is_clean(reason)
        self._say(
            EventType.INSTANCE_DOWN,
            Status.SUCCESS if expected else Status.FAILED,
            reason=str(reason[1] if isinstance(reason, tuple) else reason),
            expected=expected,
        )
        await self._server.stop(self._around.stop_grace_s)

    def _heard(self, _version: VersionKey, event: JsonObject) -> None:
        if self._order.client.heard is not None:
            self._order.client.heard(event)

    def _lost(self, reason: str) -> None:
        """The server can take no more calls. Runs in: the loop, called by the driver, also when this actor is dead."""
        if self._server is not None and self.ref.is_alive():
            self.ref.send(_Lost(reason))

    def _answer(self, outcome: OwnedEndpoint | HensloweError) -> None:
        opened, self._opened = self._opened, None
        if opened is None:
            return
        if isinstance(outcome, HensloweError):
            opened.set_exception(outcome)
        else:
            opened.set(outcome)

    def _say(self, event: EventType, status: Status, **data: Any) -> None:
        say(event, status, key=self._ensure.version, instance=self._id, private=True, **data)
