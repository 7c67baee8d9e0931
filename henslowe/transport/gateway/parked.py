"""Calls of stateless clients that wait for them: a server of the handshake era asked something in the middle of one.

Such a server sends requests and holds its answer back until they are answered. A stateless client cannot be sent
requests: it gets the questions as an `input_required` result with a `requestState`, and calls again with the answers.
In between the call is parked: it goes on at the server, on a connection of its own (`private`), and the state, which is
good for one time, finds it again. Nobody else can use it: the gateway seals it (`pins`), and it is bound to the client
and to what was called.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from henslowe.actors.endpoints import Endpoint, JsonObject, OnNotification
from henslowe.transport.gateway.private import Own
from henslowe.transport.gateway.protocol import CLIENT_FAILED
from henslowe.transport.gateway.questions import QUESTIONS_MAX, ROUNDS_MAX
from henslowe.transport.mcp import bridge, eras, jsonrpc

STATE_PREFIX: Final = "henslowe.parked."
_NAME: Final = re.compile(r"(?!\d+\Z)[a-zA-Z0-9][\w.:/-]{,127}", re.ASCII)
"""An id that is worth passing on as a name; a number says nothing, and a whole text is none."""
GATHER_S: Final = 0.02
"""Wait after a question for others that the server asks at the same time: each round costs the client a request."""


@dataclass(slots=True, frozen=True)
class Subject:
    """What is called, and by whom: a parked call is continued only by the same."""

    unit: str
    method: str
    name: Any


@dataclass(slots=True, frozen=True)
class _Question:
    request: JsonObject
    answer: asyncio.Future[JsonObject]


@dataclass(slots=True, eq=False)
class Parked:
    """One call, from its beginning to its end.

    Args:
        own: Its connection.
        subject: What it is.
        on_notification: Where its progress goes; None while nobody listens.
    """

    own: Own
    subject: Subject
    on_notification: OnNotification | None
    _task: asyncio.Task[JsonObject] | None = None
    _questions: dict[str, _Question] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    rounds: int = 0
    expiry: asyncio.TimerHandle | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Where it runs."""
        endpoint = self.own.opened
        assert endpoint is not None
        return endpoint

    def begin(self, calling: Awaitable[JsonObject], ended: Callable[[Parked, bool], None]) -> None:
        """Start it; `ended` is told when it is over, and whether with an answer."""
        self.own.ask = self._ask

        async def call() -> JsonObject:
            return await calling

        task = self._task = asyncio.ensure_future(call())

        def done(task: asyncio.Task[JsonObject]) -> None:
            for question in self._questions.values():
                if not question.answer.done():
                    question.answer.set_result(jsonrpc.error(CLIENT_FAILED, "the call that this is about is over"))
            self._news.set()
            ended(self, not task.cancelled() and task.exception() is None)

        task.add_done_callback(done)

    def notify(self, notification: JsonObject) -> None:
        """Hand a notification to whoever listens now."""
        if self.on_notification is not None:
            self.on_notification(notification)

    async def until_asked(self, timeout_s: float) -> JsonObject | None:
        """The answer, or None when the server asks something first. Whoever gives up the wait gives up the call.

        Raises:
            UpstreamLost, LimitReached: As `Endpoint.request`.
            TimeoutError: Neither within `timeout_s`.
        """
        assert self._task is not None
        try:
            async with asyncio.timeout(timeout_s):
                while not self._task.done() and not self._questions:
                    self._news.clear()
                    await self._news.wait()
                if not self._task.done():
                    await asyncio.sleep(GATHER_S)
        except BaseException:
            self.end()
            raise
        return self._task.result() if self._task.done() else None

    def questions(self) -> JsonObject:
        """What has not been answered, by name."""
        return {name: question.request for name, question in self._questions.items()}

    def answer(self, responses: Any) -> None:
        """Hand the client's responses to the server. Questions that are left unanswered are asked again."""
        for name, response in (responses if isinstance(responses, dict) else {}).items():
            if isinstance(response, dict) and (question := self._questions.pop(name, None)) is not None:
                question.answer.set_result({"result": response})

    def end(self) -> None:
        """Give the call up. Idempotent."""
        if self._task is not None:
            self._task.cancel()

    async def _ask(self, method: str, params: JsonObject, request_id: str | int) -> JsonObject:
        if len(self._questions) >= QUESTIONS_MAX:
            return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"{QUESTIONS_MAX} questions wait for the client already")
        name = self._name(method, request_id)
        question = _Question({"method": method, "params": params}, asyncio.get_running_loop().create_future())
        self._questions[name] = question
        self._news.set()
        try:
            return await question.answer
        finally:
            self._questions.pop(name, None)

    def _name(self, method: str, request_id: str | int) -> str:
        """What the client knows a question by: the server's own name for it, where its id is one, and not a number."""
        if isinstance(request_id, str) and _NAME.fullmatch(request_id) and request_id not in self._questions:
            return request_id
        while (name := f"{eras.ASKED_OF_CLIENTS[method]}-{next(self._numbers)}") in self._questions:
            pass
        return name


@dataclass(slots=True)
class Parking:
    """The calls that are parked. Each holds a connection of its own, whose number is limited.

    Args:
        parked_s: Longest wait for the client.
        give_back: Takes connections back; whether they may be used again.
    """

    parked_s: float
    give_back: Callable[..., None]
    _parked: dict[str, Parked] = field(default_factory=dict)

    async def begin(
        self,
        own: Own,
        subject: Subject,
        calling: Callable[[OnNotification], Awaitable[JsonObject]],
        on_notification: OnNotification | None,
        timeout_s: float,
    ) -> JsonObject:
        """Make a call on a leased connection: its answer, or what the client is asked. Raises as `until_asked`."""
        call = Parked(own, subject, on_notification)
        call.begin(calling(call.notify), self._ended)
        return await self._go_on(call, timeout_s)

    def take(self, state: Any, subject: Subject) -> Parked | None:
        """The call that a state stands for, once: to be continued with `resume`."""
        call = self._parked.get(state) if isinstance(state, str) else None
        if call is None or call.subject != subject:
            return None
        del self._parked[state]
        assert call.expiry is not None
        call.expiry.cancel()
        return call

    async def resume(
        self, call: Parked, responses: Any, on_notification: OnNotification | None, timeout_s: float
    ) -> JsonObject:
        """Continue a call with what its client answered."""
        call.on_notification = on_notification
        call.answer(responses)
        return await self._go_on(call, timeout_s)

    def close(self) -> None:
        """Give up all that are parked. Idempotent."""
        for call in self._parked.values():
            assert call.expiry is not None
            call.expiry.cancel()
            call.end()
        self._parked.clear()

    async def _go_on(self, call: Parked, timeout_s: float) -> JsonObject:
        answer = await call.until_asked(timeout_s)
        if answer is not None:
            return answer
        call.rounds += 1
        if call.rounds > ROUNDS_MAX:
            call.end()
            return jsonrpc.error(CLIENT_FAILED, f"the server asked {ROUNDS_MAX} times and was not satisfied")
        state = STATE_PREFIX + secrets.token_urlsafe(16)
        call.on_notification = None
        call.expiry = asyncio.get_running_loop().call_later(self.parked_s, self._expire, state)
        self._parked[state] = call
        result: JsonObject = {
            "resultType": "input_required",
            "inputRequests": call.questions(),
            "requestState": state,
        }
        return {"result": bridge.result_for_modern(result, "", call.endpoint.facts.server_info)}

    def _expire(self, state: str) -> None:
        self._parked.pop(state).end()

    def _ended(self, call: Parked, answered: bool) -> None:
        self.give_back(call.own, reuse=answered)
