"""One call from a client to whichever version should answer it: pick, wait, send, repeat where that is safe, record.

The route is read from the published snapshot and the endpoint from the directory, both without a message. The caller
waits for an instance only when there is none, woken by the directory or the routes and bounded in time. HTTP is not
known here; who is chosen is `selection`'s business, what is recorded `recording`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from henslowe.actors.endpoints import Endpoint, EndpointState, Era, JsonObject
from henslowe.actors.routes import Arm, Outcome
from henslowe.errors import LimitReached, NotFound, Unavailable, UpstreamLost
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.dialogue import Ask, Dialogues, Way
from henslowe.transport.gateway.pins import Pin, Pins
from henslowe.transport.gateway.protocol import NODE_ERROR, node_error
from henslowe.transport.gateway.recording import Ended, Recording
from henslowe.transport.gateway.selection import Choice, Selection, Target, service_of
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.waiting import Waiting
from henslowe.transport.mcp import jsonrpc

REPEATS_MAX: Final = 3
"""Repeats of a call that may have run. More would hammer a server that dies of this very call."""
PAUSE_FIRST_S: Final = 0.02
PAUSE_MAX_S: Final = 1.0
"""Between attempts that were not sent while the endpoint still counts as up: a server that listens but refuses."""


@dataclass(slots=True)
class _Progress:
    """How far one call has come."""

    deadline_s: float
    wait_until_s: float
    stable_only: bool = False
    repeats: int = 0
    pause_s: float = PAUSE_FIRST_S


@dataclass(slots=True, frozen=True)
class _Attempt:
    """One of its attempts."""

    choice: Choice
    endpoint: Endpoint
    began_s: float


class Caller:
    """Makes calls. One per gateway, on the node's loop.

    Args:
        selection: Chooses endpoints.
        waiting: Holds the calls that cannot be made now.
        recording: Where attempts are recorded.
        dialogues: Make the attempts.
        call_timeout_s: Longest time from a call's start to its answer, repeats included.
        wait_for_instance_s: Longest wait for an instance within it.
        explain: Why a service without a route has none, in a sentence; "" for a name that is no service's.
        refused: Why a target with a range has no route.
    """

    def __init__(
        self,
        selection: Selection,
        waiting: Waiting,
        recording: Recording,
        dialogues: Dialogues,
        *,
        call_timeout_s: float,
        wait_for_instance_s: float,
        explain: Callable[[str], str],
        refused: Callable[[Target], NotFound] | None = None,
    ) -> None:
        self._selection = selection
        self._waiting = waiting
        self._recording = recording
        self._dialogues = dialogues
        self._call_timeout_s = call_timeout_s
        self._wait_s = wait_for_instance_s
        self._explain = explain
        self._refused = refused
        self._pins = Pins()
        self.in_flight = 0

    def close(self) -> None:
        """Stop listening to changes; waiting calls look once more and then time out."""
        self._waiting.close()
        self._dialogues.close()

    def unrouted(self, target: Target) -> NotFound | Unavailable:
        """The error for a target without a route: none of that name, none in its range, or no version that serves."""
        if "@" in target and self._refused is not None:
            return self._refused(target)
        why = self._explain(target)
        if why:
            return Unavailable(why, hint=f"see `henslowe status {target}`", service=target)
        return NotFound(
            f"expected a service of this node, got: {target!r}", hint="see `henslowe status`", service=target
        )

    def peek(self, target: Target, unit: Unit) -> Endpoint | None:
        """The endpoint that a call of this unit would use now, if one is up. Records nothing."""
        return self._selection.peek(target, unit)

    async def endpoint(self, target: Target, unit: Unit) -> Endpoint:
        """The same, waiting for an instance.

        Raises:
            NotFound: No such service.
            Unavailable: No instance came up in time.
            LimitReached: Too many calls wait.
        """
        deadline_s = time.monotonic() + self._wait_s
        while (endpoint := self.peek(target, unit)) is None:
            if self._selection.route(target) is None:
                raise self.unrouted(target)
            await self._change(target, deadline_s)
        return endpoint

    async def call(self, target: Target, ask: Ask, pin: Pin | None = None) -> tuple[JsonObject, Endpoint | None]:
        """The answer, `{"result": ...}` or `{"error": ...}`, and who gave it; failures are errors in it.

        Args:
            target: Where to.
            ask: What, and as whom.
            pin: The instance that it should go to if that is up, and else the version.

        Raises:
            NotFound: No such service.
        """
        self.in_flight += 1
        try:
            return await self._attempts(target, ask, pin)
        except (LimitReached, Unavailable) as error:
            return node_error(error, NODE_ERROR), None
        finally:
            self.in_flight -= 1

    async def _attempts(self, target: Target, ask: Ask, pin: Pin | None) -> tuple[JsonObject, Endpoint | None]:
        resumed: Way | None = None
        if ask.era is Era.MODERN and ask.params is not None and "requestState" in ask.params:
            unwrapped = self._pins.unwrap(service_of(target), ask.params, ask.principal)
            if unwrapped is None:
                return _invalid("requestState is not one that this node gave out"), None
            pin, params = unwrapped
            ask = replace(ask, params=params)
            if self._dialogues.parked(ask):
                resumed = self._dialogues.resume(ask)
                if resumed is None:
                    return _invalid("the call of this requestState is over; call again"), None
        elif pin is not None:
            resumed = self._dialogues.own(pin.instance)
        began_s = time.monotonic()
        deadline_s = began_s + self._call_timeout_s
        progress = _Progress(deadline_s, min(deadline_s, began_s + self._wait_s))
        while True:
            choice = self._chosen(target, pin, resumed) or await self._choose(target, ask, progress)
            way = resumed or await self._dialogues.prepare(
                choice.endpoint, ask, timeout_s=progress.deadline_s - time.monotonic()
            )
            pin = resumed = None
            began_s = time.monotonic()
            try:
                answer = await self._dialogues.run(way, ask, timeout_s=progress.deadline_s - began_s)
            except UpstreamLost as lost:
                failure = await self._after_loss(ask, _Attempt(choice, way.endpoint, began_s), lost, progress)
                if failure is not None:
                    return failure, None
            except TimeoutError:
                self._recording.attempt(ask, choice, began_s, Outcome.TIMEOUT, "timeout")
                text = f"{ask.method} did not answer within {self._call_timeout_s:g} s"
                error = Unavailable(text, hint="raise gateway.call_timeout_s", reason="timeout")
                return node_error(error), None
            else:
                outcome = evidence.outcome_of(answer)
                self._recording.attempt(ask, choice, began_s, outcome, evidence.error_text(answer), answer=answer)
                if ask.era is Era.MODERN:
                    answer = self._pins.wrap(answer, way.endpoint, ask.principal)
                return answer, way.endpoint

    async def _after_loss(
        self, ask: Ask, attempt: _Attempt, lost: UpstreamLost, progress: _Progress
    ) -> JsonObject | None:
        """The answer to a call whose connection was lost, or None when it may be made again, perhaps after a pause."""
        choice, endpoint = attempt.choice, attempt.endpoint
        if endpoint.state is not EndpointState.DRAINING:  # it was told to go: nobody's fault
            crashed = endpoint.state is EndpointState.GONE
            outcome = Outcome.CRASH if crashed else Outcome.TRANSPORT
            self._recording.attempt(ask, choice, attempt.began_s, outcome, lost.message)
        now_s = time.monotonic()
        progress.stable_only = progress.stable_only or choice.arm is Arm.CANARY
        if lost.details.get("sent") is False:
            if now_s >= progress.wait_until_s:
                return node_error(lost)
            if endpoint.state is EndpointState.READY:
                pause_s = min(progress.pause_s, progress.wait_until_s - now_s)
                await self._waiting.changed(choice.route.service, pause_s, ask.size)
                progress.pause_s = min(2 * progress.pause_s, PAUSE_MAX_S)
        elif (
            progress.repeats < REPEATS_MAX
            and now_s < progress.deadline_s
            and evidence.may_repeat(ask.method, ask.params, endpoint.contract)
        ):
            progress.repeats += 1
            progress.wait_until_s = min(progress.deadline_s, now_s + self._wait_s)
        else:
            return node_error(lost)
        self._recording.metrics.retry(choice.route.service)
        return None

    def _chosen(self, target: Target, pin: Pin | None, resumed: Way | None) -> Choice | None:
        """The choice of a call that belongs somewhere, while that is up.

        Without it the usual choice is made: a server whose states outlive its process understands them, and any other
        says that it does not.
        """
        if resumed is not None:
            return self._selection.of(target, resumed.endpoint)
        if pin is None:
            return None
        endpoint = self._selection.very(pin.version, pin.instance)
        return None if endpoint is None else self._selection.of(target, endpoint)

    async def _choose(self, target: Target, ask: Ask, progress: _Progress) -> Choice:
        """An endpoint for the call, waiting for one. A canary that is down is evidence, and stable serves instead.

        Raises:
            NotFound: No such service.
            Unavailable: No instance came up in time; the version that was waited for in vain gets the blame once.
            LimitReached: Too many calls wait.
        """
        while True:
            route = self._selection.route(target)
            if route is None:
                raise self.unrouted(target)
            choice = self._selection.choose(target, route, ask.unit, stable_only=progress.stable_only)
            if not isinstance(choice, Choice) and choice != route.stable:
                self._recording.observe(ask, route, Arm.CANARY, choice, Ended(Outcome.CRASH, 0.0, "no instance is up"))
                progress.stable_only = True
                choice = self._selection.choose(target, route, ask.unit, stable_only=True)
            if isinstance(choice, Choice):
                return choice
            try:
                await self._change(target, progress.wait_until_s, ask.size)
            except Unavailable:
                if "@" not in target:
                    ended = Ended(Outcome.CRASH, self._wait_s, "no instance came up")
                    self._recording.observe(ask, route, Arm.STABLE, route.stable, ended)
                raise

    async def _change(self, target: Target, deadline_s: float, size: int = 0) -> None:
        """Return after the next change of the directory or the routes.

        Raises:
            Unavailable: None before the deadline.
            LimitReached: Too many calls wait.
        """
        left_s = deadline_s - time.monotonic()
        if left_s <= 0 or not await self._waiting.changed(target, left_s, size):
            raise Unavailable(
                f"cannot call {target}: no instance is up",
                hint=f"see `henslowe status {service_of(target)}`; waited gateway.wait_for_instance_s",
            )


def _invalid(message: str) -> JsonObject:
    return jsonrpc.error(jsonrpc.INVALID_PARAMS, message)
