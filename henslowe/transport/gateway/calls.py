"""One call from a client to whichever version should answer it: pick, wait, send, repeat where that is safe, record.

The route is read from the published snapshot and the endpoint from the directory, both without a message. The caller
waits for an instance only when there is none, woken by the directory or the routes and bounded in time. HTTP is not
known here; who is chosen is `selection`'s business, the waiting `choosing`'s, what is recorded `recording`'s.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from henslowe.actors.endpoints import Endpoint, EndpointState, Era, JsonObject
from henslowe.actors.health import HealthBoard, Ticket
from henslowe.actors.routes import Arm, Outcome
from henslowe.errors import LimitReached, NotFound, Unavailable, UpstreamLost
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.budget import RepeatBudget
from henslowe.transport.gateway.choosing import Choosing, Progress
from henslowe.transport.gateway.dialogue import Ask, Dialogues, Way
from henslowe.transport.gateway.hedging import Hedging, first_of, may_hedge
from henslowe.transport.gateway.pins import Pin, Pins
from henslowe.transport.gateway.protocol import NODE_ERROR, node_error
from henslowe.transport.gateway.recording import Recording
from henslowe.transport.gateway.selection import Choice, Selection, Target, service_of
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.waiting import Waiting
from henslowe.transport.mcp import McpEndpoint, jsonrpc
from henslowe.transport.mcp.begun import Begun, Told

REPEATS_MAX: Final = 3
"""Repeats of a call that may have run. More would hammer a server that dies of this very call."""
PAUSE_MAX_S: Final = 1.0
"""Between attempts that were not sent while the endpoint still counts as up: a server that listens but refuses."""


@dataclass(slots=True)
class Attempt:
    """One attempt at a call. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    choice: Choice
    endpoint: Endpoint
    began_s: float
    thought_s: float
    """How long its client had thought before."""
    ticket: Ticket | None
    """None for a connection that belongs to one client: its calls take as long as that client thinks."""


class CallLimits(Protocol):
    """What is read of the settings."""

    @property
    def call_timeout_s(self) -> float:
        """Longest time from a call's start to its answer, repeats included."""
        ...

    @property
    def wait_for_instance_s(self) -> float:
        """Longest wait for an instance within it."""
        ...

    @property
    def repeats_percent(self) -> float:
        """Calls made again, per hundred calls of a service."""
        ...

    @property
    def hedge_percent(self) -> float:
        """Calls tried a second time while the first try runs, per hundred calls of a service."""
        ...


class Beginner(Told, Protocol):
    """Whoever begins a call without a task."""

    def may_go_to(self, endpoint: Endpoint) -> bool:
        """Whether it is to be sent to this endpoint; asked right before it is."""
        ...


class Caller:
    """Makes calls. One per gateway, on the node's loop.

    Args:
        selection: Chooses endpoints.
        choosing: The same, waiting for one.
        waiting: Holds the calls that cannot be made now.
        recording: Where attempts are recorded.
        dialogues: Make the attempts.
        health: Told how each of them went.
        limits: How long, and how often.
    """

    def __init__(
        self,
        selection: Selection,
        choosing: Choosing,
        waiting: Waiting,
        recording: Recording,
        *,
        dialogues: Dialogues,
        health: HealthBoard,
        limits: CallLimits,
    ) -> None:
        self._selection = selection
        self._choosing = choosing
        self._waiting = waiting
        self._recording = recording
        self._dialogues = dialogues
        self._health = health
        self._call_timeout_s = limits.call_timeout_s
        self._wait_s = limits.wait_for_instance_s
        self._pins = Pins()
        self._budget = RepeatBudget(limits.repeats_percent, time.monotonic)
        self._hedging = Hedging(limits.hedge_percent, time.monotonic)
        self.in_flight = 0

    def close(self) -> None:
        """Stop listening to changes; waiting calls look once more and then time out."""
        self._waiting.close()
        self._dialogues.close()

    def unrouted(self, target: Target) -> NotFound | Unavailable:
        """The error for a target without a route."""
        return self._choosing.unrouted(target)

    def peek(self, target: Target, unit: Unit) -> Endpoint | None:
        """The endpoint that a call of this unit would use now, if one is up. Records nothing."""
        return self._selection.peek(target, unit)

    async def endpoint(self, target: Target, unit: Unit) -> Endpoint:
        """The same, waiting for an instance.

        Raises:
            NotFound, Unavailable, LimitReached: As `Choosing.choose`.
        """
        return await self._choosing.endpoint(target, unit)

    async def call(self, target: Target, ask: Ask, pin: Pin | None = None) -> tuple[JsonObject, Endpoint | None]:
        """The answer, `{"result": ...}` or `{"error": ...}`, and who gave it; failures are errors in it.

        Args:
            target: Where to.
            ask: What, and as whom.
            pin: The instance that it should go to if that is up, and else the version.

        Raises:
            NotFound: No such service.
        """
        if ask.begun is None:
            self.in_flight += 1
            self._budget.called(service_of(target))
            if self._hedging.on:
                self._hedging.called(service_of(target))
        try:
            return await self._attempts(target, ask, pin)
        except (LimitReached, Unavailable) as error:
            return node_error(error, NODE_ERROR), None
        finally:
            self.in_flight -= 1

    # -- without a task, see `inline` ----------------

    def begin(self, target: Target, ask: Ask, told: Beginner) -> tuple[Attempt, Begun] | None:
        """Make the first attempt at once, without waiting for anything; None, and nothing was done, if that cannot be.

        It is ended by `finish` or `give_up`, or goes on in a `call` with `ask.begun`.
        """
        route = None if self._hedging.on else self._selection.route(target)
        if route is None:
            return None
        choice = self._selection.choose(target, route, ask.unit, stable_only=False)
        if not isinstance(choice, Choice):
            return None
        endpoint = choice.endpoint
        if not isinstance(endpoint, McpEndpoint) or not self._dialogues.shares(endpoint, ask):
            return None
        if not told.may_go_to(endpoint):
            return None
        began_s = time.monotonic()
        begun = self._dialogues.begin(endpoint, ask, timeout_s=self._call_timeout_s, told=told)
        if begun is None:
            return None
        self.in_flight += 1
        self._budget.called(route.service)
        return Attempt(choice, endpoint, began_s, ask.thinking_s(), self._health.began(endpoint)), begun

    def concluded(self, ask: Ask, attempt: Attempt, answer: JsonObject) -> JsonObject | None:
        """What came of an attempt, as `finish` takes it; None where it has to go on."""
        return self._dialogues.concluded(attempt.endpoint, ask, answer)

    def finish(self, ask: Ask, attempt: Attempt, answer: JsonObject) -> JsonObject:
        """The answer for the client, of an attempt that was answered."""
        self.in_flight -= 1
        return self._answered(ask, attempt, answer)

    def give_up(self, attempt: Attempt) -> None:
        """Nobody waits any more for an attempt, which was abandoned."""
        self.in_flight -= 1
        self._give_back(attempt, None)

    # -- with one ----------------

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
        begun = ask.begun
        began_s = time.monotonic() if begun is None else begun.attempt.began_s
        deadline_s = began_s + self._call_timeout_s
        progress = Progress(deadline_s, min(deadline_s, began_s + self._wait_s))
        while True:
            if begun is None:
                attempt, running = await self._attempt(target, ask, progress, pin, resumed)
            else:
                attempt = begun.attempt
                left_s = progress.deadline_s - time.monotonic()
                running = self._dialogues.go_on(begun, attempt.endpoint, ask, timeout_s=left_s)
            pin = resumed = begun = None
            try:
                answer = await running
            except UpstreamLost as lost:
                failure = await self._after_loss(ask, attempt, lost, progress)
                if failure is not None:
                    return failure, None
            except TimeoutError:
                self._ended(ask, attempt, Outcome.TIMEOUT, "timeout")
                text = f"{ask.method} did not answer within {self._call_timeout_s:g} s"
                error = Unavailable(text, hint="raise gateway.call_timeout_s", reason="timeout")
                return node_error(error), None
            except BaseException:
                self._give_back(attempt, None)
                raise
            else:
                return self._answered(ask, attempt, answer), attempt.endpoint

    async def _attempt(
        self, target: Target, ask: Ask, progress: Progress, pin: Pin | None, resumed: Way | None
    ) -> tuple[Attempt, Coroutine[Any, Any, JsonObject]]:
        """The next attempt and its answer to be, as soon as there is an endpoint for it."""
        choice = self._chosen(target, pin, resumed) or await self._choosing.choose(target, ask, progress)
        if resumed is None and self._dialogues.shares(choice.endpoint, ask):
            way = Way(choice.endpoint)
        else:
            left_s = progress.deadline_s - time.monotonic()
            way = resumed or await self._dialogues.prepare(choice.endpoint, ask, timeout_s=left_s)
        attempt = Attempt(choice, way.endpoint, time.monotonic(), ask.thinking_s(), self._ticket(choice, way))
        timeout_s = progress.deadline_s - attempt.began_s
        if attempt.ticket is None or not self._hedging.on:
            return attempt, self._dialogues.run(way, ask, timeout_s=timeout_s)
        return attempt, self._hedged(attempt, ask, timeout_s)

    async def _hedged(self, attempt: Attempt, ask: Ask, timeout_s: float) -> JsonObject:
        """The answer of the first try, or of a second one at another instance; the attempt is then that one's.

        Raises:
            UpstreamLost, LimitReached, TimeoutError: As `Dialogues.run`.
        """
        first, version = attempt.endpoint, attempt.endpoint.version
        running = self._dialogues.run(Way(first), ask, timeout_s=timeout_s)
        if not may_hedge(ask, first.contract):
            return await running
        subject, service = evidence.subject_of(ask.method, ask.params), attempt.choice.route.service
        patience_s = self._hedging.patience_s(version, subject)
        again: list[tuple[Endpoint, Ticket]] = []

        def second() -> Awaitable[JsonObject] | None:
            other = self._selection.other(first, ask.unit)
            if other is None or not self._hedging.take(service):
                return None
            again.append((other, self._health.began(other)))
            self._recording.metrics.hedge(service)
            left_s = max(0.0, attempt.began_s + timeout_s - time.monotonic())
            return self._dialogues.run(Way(other), replace(ask, on_notification=None), timeout_s=left_s)

        try:
            if patience_s is None:
                answer = await running
            else:
                answer, by_second = await first_of(running, patience_s, second)
                if by_second:
                    endpoint, ticket = again.pop()
                    self._give_back(attempt, None)  # it was given up, and nothing is known of it
                    attempt.choice = replace(attempt.choice, endpoint=endpoint)
                    attempt.endpoint, attempt.ticket = endpoint, ticket
        finally:
            for _, ticket in again:
                self._health.ended(ticket, None)
        self._hedging.answered(version, subject, time.monotonic() - attempt.began_s)
        return answer

    async def _after_loss(
        self, ask: Ask, attempt: Attempt, lost: UpstreamLost, progress: Progress
    ) -> JsonObject | None:
        """The answer to a call whose connection was lost, or None when it may be made again, perhaps after a pause."""
        choice, endpoint = attempt.choice, attempt.endpoint
        if endpoint.state is EndpointState.DRAINING:  # it was told to go: nobody's fault
            self._give_back(attempt, None)
        else:
            crashed = endpoint.state is EndpointState.GONE
            self._ended(ask, attempt, Outcome.CRASH if crashed else Outcome.TRANSPORT, lost.message)
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
            and self._budget.take(choice.route.service)
        ):
            progress.repeats += 1
            progress.wait_until_s = min(progress.deadline_s, now_s + self._wait_s)
        else:
            return node_error(lost)
        self._recording.metrics.retry(choice.route.service)
        return None

    def _ticket(self, choice: Choice, way: Way) -> Ticket | None:
        return self._health.began(choice.endpoint) if way.endpoint is choice.endpoint else None

    def _answered(self, ask: Ask, attempt: Attempt, answer: JsonObject) -> JsonObject:
        """The answer for the client, once it is recorded."""
        self._ended(ask, attempt, evidence.outcome_of(answer), evidence.error_text(answer), answer)
        return self._pins.wrap(answer, attempt.endpoint, ask.principal) if ask.era is Era.MODERN else answer

    def _ended(
        self, ask: Ask, attempt: Attempt, outcome: Outcome, error: str, answer: JsonObject | None = None
    ) -> None:
        """An attempt ended in a way that says something."""
        began_s = attempt.began_s + ask.thinking_s() - attempt.thought_s  # thinking is not the server's time
        self._recording.attempt(ask, attempt.choice, began_s, outcome, error, answer=answer)
        self._give_back(attempt, outcome)

    def _give_back(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """An attempt is over; None for one that says nothing: its client is gone, or its instance was told to go."""
        if attempt.ticket is not None:
            self._health.ended(attempt.ticket, outcome)
        if len(self._waiting):
            self._waiting.wake_one(attempt.choice.route.service)

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


def _invalid(message: str) -> JsonObject:
    return jsonrpc.error(jsonrpc.INVALID_PARAMS, message)
