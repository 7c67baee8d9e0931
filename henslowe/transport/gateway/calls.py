"""One call from a client to whichever version should answer it: pick, wait, send, repeat where that is safe, record.

The route is read from the published snapshot and the endpoint from the directory, both without a message. The caller
waits for an instance only when there is none, woken by the directory or the routes and bounded in time. Each attempt
that says something about a version becomes exactly one `CallRecord`. HTTP is not known here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointDirectory, EndpointState, Era, JsonObject
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.routes import Arm, CallRecord, Observations, Outcome, Route, RouteTable
from henslowe.errors import LimitReached, NotFound, Unavailable, UpstreamLost
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.dialogue import Ask, Dialogues, Way
from henslowe.transport.gateway.metrics import GatewayMetrics
from henslowe.transport.gateway.pins import Pin, Pins
from henslowe.transport.gateway.protocol import NODE_ERROR, node_error
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.mcp import jsonrpc

REPEATS_MAX: Final = 3
"""Repeats of a call that may have run. More would hammer a server that dies of this very call."""
PAUSE_FIRST_S: Final = 0.02
PAUSE_MAX_S: Final = 1.0
"""Between attempts that were not sent while the endpoint still counts as up: a server that listens but refuses."""
WAITING_MAX: Final = 10_000
"""Calls that may wait for instances at once; beyond it they fail at once instead of filling memory."""


@dataclass(slots=True, frozen=True)
class Choice:
    """Where one attempt goes."""

    route: Route
    arm: Arm | None
    """None for a version that the route has left: its calls are no evidence for either arm."""
    endpoint: Endpoint


@dataclass(slots=True, frozen=True)
class Ended:
    """How one attempt ended, or why there was none."""

    outcome: Outcome
    took_s: float
    error: str = ""


class Caller:
    """Makes calls. One per gateway, on the node's loop.

    Args:
        routes: The published routes.
        directory: The endpoints that are up.
        observations: Where evidence goes.
        metrics: Where figures go.
        call_timeout_s: Longest time from a call's start to its answer, repeats included.
        wait_for_instance_s: Longest wait for an instance within it.
        clock: Unix seconds, for the evidence.
        explain: Why a service without a route has none, in a sentence; "" for a name that is no service's.
        dialogues: Make the attempts.
    """

    def __init__(
        self,
        routes: RouteTable,
        directory: EndpointDirectory,
        observations: Observations,
        metrics: GatewayMetrics,
        *,
        call_timeout_s: float,
        wait_for_instance_s: float,
        clock: Callable[[], float],
        explain: Callable[[str], str],
        dialogues: Dialogues,
    ) -> None:
        self._routes = routes
        self._directory = directory
        self._observations = observations
        self._metrics = metrics
        self._call_timeout_s = call_timeout_s
        self._wait_s = wait_for_instance_s
        self._clock = clock
        self._explain = explain
        self._dialogues = dialogues
        self._pins = Pins()
        self._waiting: set[asyncio.Future[None]] = set()
        self._cancels = (
            directory.on_change(lambda _version: self._wake()),
            routes.on_change(lambda _old, _new: self._wake()),
        )
        self.in_flight = 0

    def close(self) -> None:
        """Stop listening to changes; waiting calls look once more and then time out."""
        for cancel in self._cancels:
            cancel()
        self._wake()
        self._dialogues.close()

    def unrouted(self, service: str) -> NotFound | Unavailable:
        """The error for a service without a route: there is none of that name, or none of its versions serves."""
        why = self._explain(service)
        if why:
            return Unavailable(why, hint=f"see `henslowe status {service}`", service=service)
        return NotFound(
            f"expected a service of this node, got: {service!r}", hint="see `henslowe status`", service=service
        )

    def peek(self, service: ServiceName, unit: Unit) -> Endpoint | None:
        """The endpoint that a call of this unit would use now, if one is up. Records nothing."""
        route = self._routes.current.get(service)
        if route is None:
            return None
        _, version = route.pick(unit.key)
        endpoint = self._ready(version)
        return endpoint if endpoint is not None or version == route.stable else self._ready(route.stable)

    async def endpoint(self, service: ServiceName, unit: Unit) -> Endpoint:
        """The same, waiting for an instance.

        Raises:
            NotFound: No such service.
            Unavailable: No instance came up in time.
            LimitReached: Too many calls wait.
        """
        endpoint = self.peek(service, unit)
        if endpoint is not None:
            return endpoint
        deadline_s = time.monotonic() + self._wait_s
        while (endpoint := self.peek(service, unit)) is None:
            if service not in self._routes.current:
                raise self.unrouted(service)
            await self._change(service, deadline_s)
        return endpoint

    async def call(self, service: ServiceName, ask: Ask) -> JsonObject:
        """The answer, `{"result": ...}` or `{"error": ...}`; failures of the node and of servers are errors in it.

        Raises:
            NotFound: No such service.
        """
        self.in_flight += 1
        try:
            return await self._attempts(service, ask)
        except (LimitReached, Unavailable) as error:
            return node_error(error, NODE_ERROR)
        finally:
            self.in_flight -= 1

    async def _attempts(self, service: ServiceName, ask: Ask) -> JsonObject:
        pinned: Choice | None = None
        resumed: Way | None = None
        if ask.era is Era.MODERN and ask.params is not None and "requestState" in ask.params:
            unwrapped = self._pins.unwrap(service, ask.params)
            if unwrapped is None:
                return jsonrpc.error(jsonrpc.INVALID_PARAMS, "requestState is not one that this node gave out")
            ask = replace(ask, params=unwrapped[1])
            if self._dialogues.parked(ask):
                resumed = self._dialogues.resume(ask)
                if resumed is None:
                    return jsonrpc.error(jsonrpc.INVALID_PARAMS, "the call of this requestState is over; call again")
                pinned = self._choice(service, resumed.endpoint)
            else:
                pinned = self._pinned(service, unwrapped[0])
        started_s = time.monotonic()
        deadline_s = started_s + self._call_timeout_s
        wait_until_s = min(deadline_s, started_s + self._wait_s)
        stable_only = False
        repeats, pause_s = 0, PAUSE_FIRST_S
        while True:
            choice = (
                pinned
                or self._choose(service, ask, stable_only)
                or await self._wait_and_choose(service, ask, stable_only, wait_until_s)
            )
            way = resumed or await self._dialogues.prepare(
                choice.endpoint, ask, timeout_s=deadline_s - time.monotonic()
            )
            pinned = resumed = None
            endpoint = way.endpoint
            attempt_s = time.monotonic()
            try:
                answer = await self._dialogues.run(way, ask, timeout_s=deadline_s - attempt_s)
            except UpstreamLost as error:
                if endpoint.state is not EndpointState.DRAINING:  # it was told to go: nobody's fault
                    crashed = endpoint.state is EndpointState.GONE
                    self._record(ask, choice, Outcome.CRASH if crashed else Outcome.TRANSPORT, attempt_s, error.message)
                now_s = time.monotonic()
                stable_only = stable_only or choice.arm is Arm.CANARY
                if error.details.get("sent") is False:
                    if now_s >= wait_until_s:
                        return node_error(error)
                    if endpoint.state is EndpointState.READY:
                        await self._pause(min(pause_s, wait_until_s - now_s))
                        pause_s = min(2 * pause_s, PAUSE_MAX_S)
                elif (
                    repeats < REPEATS_MAX
                    and now_s < deadline_s
                    and evidence.may_repeat(ask.method, ask.params, endpoint.contract)
                ):
                    repeats += 1
                    wait_until_s = min(deadline_s, now_s + self._wait_s)
                else:
                    return node_error(error)
                self._metrics.retry(service)
            except TimeoutError:
                self._record(ask, choice, Outcome.TIMEOUT, attempt_s, "timeout")
                error_text = f"{ask.method} did not answer within {self._call_timeout_s:g} s"
                return node_error(Unavailable(error_text, hint="raise gateway.call_timeout_s", reason="timeout"))
            else:
                self._record(ask, choice, evidence.outcome_of(answer), attempt_s, evidence.error_text(answer))
                return self._pins.wrap(answer, endpoint) if ask.era is Era.MODERN else answer

    def _pinned(self, service: ServiceName, pin: Pin) -> Choice | None:
        """The very process that gave out a state, while it is up.

        Without it the usual choice is made: a server whose states outlive its process understands them, and any other
        says that it does not.
        """
        for endpoint in self._directory.of(pin.version):
            if endpoint.instance == pin.instance and endpoint.state is EndpointState.READY:
                return self._choice(service, endpoint)
        return None

    def _choice(self, service: ServiceName, endpoint: Endpoint) -> Choice | None:
        """The choice of this very endpoint; None for a service that is gone."""
        route = self._routes.current.get(service)
        if route is None:
            return None
        arms = {route.stable: Arm.STABLE, route.canary: Arm.CANARY}
        return Choice(route, arms.get(endpoint.version), endpoint)

    def _choose(self, service: ServiceName, ask: Ask, stable_only: bool, blame: bool = True) -> Choice | None:
        """An endpoint for the call, or None when none is up. A canary that is down is evidence, and stable serves."""
        route = self._routes.current.get(service)
        if route is None:
            raise self.unrouted(service)
        if not stable_only:
            arm, version = route.pick(ask.unit.key)
            endpoint = self._ready(version)
            if endpoint is not None:
                return Choice(route, arm, endpoint)
            if arm is Arm.STABLE:
                return None
            if blame:
                self._observe(ask, route, arm, version, Ended(Outcome.CRASH, 0.0, "no instance is up"))
        endpoint = self._ready(route.stable)
        return None if endpoint is None else Choice(route, Arm.STABLE, endpoint)

    async def _wait_and_choose(self, service: ServiceName, ask: Ask, stable_only: bool, until_s: float) -> Choice:
        """The same, waiting for an instance; the version that was waited for in vain gets the blame once."""
        while True:
            try:
                await self._change(service, until_s)
            except Unavailable:
                route = self._routes.current.get(service)
                if route is not None:
                    ended = Ended(Outcome.CRASH, self._wait_s, "no instance came up")
                    self._observe(ask, route, Arm.STABLE, route.stable, ended)
                raise
            choice = self._choose(service, ask, stable_only, blame=False)  # a canary was blamed before the wait
            if choice is not None:
                return choice

    def _ready(self, version: VersionKey) -> Endpoint | None:
        """The endpoint of a version with the least in flight."""
        best: Endpoint | None = None
        for endpoint in self._directory.of(version):
            if endpoint.state is EndpointState.READY and (best is None or endpoint.in_flight < best.in_flight):
                best = endpoint
        return best

    def _record(self, ask: Ask, choice: Choice, outcome: Outcome, attempt_s: float, error: str) -> None:
        ended = Ended(outcome, time.monotonic() - attempt_s, error)
        if choice.arm is not None:
            self._observe(ask, choice.route, choice.arm, choice.endpoint.version, ended)

    def _observe(self, ask: Ask, route: Route, arm: Arm, version: VersionKey, ended: Ended) -> None:
        self._metrics.call(version, ended.outcome, ended.took_s)
        self._observations.record(
            CallRecord(
                version=version,
                arm=arm,
                unit=ask.unit.key,
                unit_is_session=ask.unit.is_session,
                tool=evidence.subject_of(ask.method, ask.params),
                outcome=ended.outcome,
                latency_s=ended.took_s,
                time_s=self._clock(),
                epoch=route.epoch,
                error=ended.error,
            )
        )

    async def _change(self, service: ServiceName, deadline_s: float) -> None:
        """Return after the next change of the directory or the routes.

        Raises:
            Unavailable: None before the deadline.
            LimitReached: Too many calls wait.
        """
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not await self._woken(left_s):
            raise Unavailable(
                f"cannot call {service}: no instance is up",
                hint=f"see `henslowe status {service}`; waited gateway.wait_for_instance_s",
            )

    async def _woken(self, timeout_s: float) -> bool:
        """Whether something changed within `timeout_s`."""
        if len(self._waiting) >= WAITING_MAX:
            raise LimitReached(f"cannot wait for an instance: {WAITING_MAX} calls wait already")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True

    async def _pause(self, timeout_s: float) -> None:
        """Wait until something changes, or until it is time to try again."""
        if timeout_s > 0:
            await self._woken(timeout_s)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)
