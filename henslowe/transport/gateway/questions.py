"""A client of the handshake era in front of a stateless server: the server's questions, put to the client.

A stateless server that needs something of its client (an elicitation, a sampling, its roots) answers `input_required`
and is called again with the responses. A client of the handshake era expects to be sent requests while its own is
under way. Here the gateway stands in between: it calls the server as a stateless client with this client's own
capabilities, asks what the server asks on the client's event stream, and calls again, a bounded number of times.

Not here: servers of the handshake era, which send requests themselves; see `dialogue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors.endpoints import Endpoint, Era, JsonObject, OnNotification, ServerFacts
from henslowe.transport.gateway.protocol import CLIENT_FAILED
from henslowe.transport.mcp import bridge, eras, jsonrpc

ROUNDS_MAX: Final = 16
"""Times that one call may ask; a server that goes on is not going to be satisfied."""
QUESTIONS_MAX: Final = 32
"""Questions in one round."""

Question = Callable[[str, JsonObject], Awaitable[JsonObject]]
"""Sends the client a request (method, params) and waits for its answer, `{"result": ...}` or `{"error": ...}`."""


@dataclass(slots=True)
class AskedClient:
    """What a stateless server is told of a client that shook hands, and how that client is asked.

    Not frozen, see `henslowe.actors.routes.CallRecord`.
    Without `question` (the client takes no event stream) no capability is declared, so that nothing is asked.
    """

    info: Mapping[str, Any]
    capabilities: Mapping[str, Any]
    log_level: str
    question: Question | None

    def stamped(self, params: JsonObject | None, version: str) -> JsonObject:
        """The client's parameters with the envelope of a stateless request."""
        sent = params or {}
        meta = sent.get("_meta")
        able = {} if self.question is None else eras.askable(self.capabilities)
        envelope = {
            **eras.envelope(version, dict(self.info)),
            eras.CLIENT_CAPABILITIES_META: able,
            # In the handshake era a server logs until told otherwise; what is below the session's level stops here.
            eras.LOG_LEVEL_META: self.log_level or "debug",
        }
        return {**sent, "_meta": {**(meta if isinstance(meta, dict) else {}), **envelope}}


@dataclass(slots=True)
class Request:
    """One request of such a client. Not frozen, see `henslowe.actors.routes.CallRecord`."""

    method: str
    params: JsonObject | None
    headers: Mapping[str, str]
    on_notification: OnNotification | None


def concluded(answer: JsonObject, method: str, params: JsonObject | None, facts: ServerFacts) -> JsonObject | None:
    """A stateless server's answer as the client's era has it; None where it asks something first."""
    result = answer.get("result")
    if isinstance(result, dict) and result.get("resultType") == "input_required":
        return None
    return bridge.answer(answer, method, params, Era.LEGACY, facts)


async def converse(
    endpoint: Endpoint,
    client: AskedClient,
    request: Request,
    *,
    timeout_s: float,
    first: Awaitable[JsonObject] | None = None,
) -> JsonObject:
    """The server's last answer, as the client's era has it, after all questions were answered.

    `first` is the answer to the first round, where that is under way already.

    Raises:
        UpstreamLost, LimitReached, TimeoutError: As `Endpoint.request`, which this is many of.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + timeout_s
    params = client.stamped(request.params, endpoint.facts.protocol_version)
    for _ in range(ROUNDS_MAX):
        answer = await (
            first
            or endpoint.request(
                request.method,
                params,
                era=Era.MODERN,
                headers=request.headers,
                timeout_s=deadline_s - loop.time(),
                on_notification=request.on_notification,
            )
        )
        first = None
        last = concluded(answer, request.method, request.params, endpoint.facts)
        if last is not None:
            return last
        result = answer["result"]
        answered = await _ask(client, result.get("inputRequests") or {}, timeout_s=deadline_s - loop.time())
        if "error" in answered:
            return answered
        params = {**params, "inputResponses": answered}
        params.pop("requestState", None)
        if "requestState" in result:
            params["requestState"] = result["requestState"]
    return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"the server asked {ROUNDS_MAX} times and was not satisfied")


async def _ask(client: AskedClient, questions: Any, *, timeout_s: float) -> JsonObject:
    """The client's answer to each question, or the error that ends the call: `{"error": ...}`."""
    if not isinstance(questions, dict) or len(questions) > QUESTIONS_MAX or client.question is None:
        return jsonrpc.error(jsonrpc.INTERNAL_ERROR, "the server asked what its client cannot be asked")
    asked: dict[str, Awaitable[JsonObject]] = {}
    for name, question in questions.items():
        method = question.get("method") if isinstance(question, dict) else None
        if method not in eras.ASKED_OF_CLIENTS:
            return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"the server asked for {str(method)[:80]!r}")
        asked[name] = client.question(method, question.get("params") or {})
    try:
        async with asyncio.timeout(timeout_s):
            answers = await asyncio.gather(*asked.values())
    except TimeoutError:
        return jsonrpc.error(CLIENT_FAILED, "the client did not answer the server's question in time")
    for answer in answers:
        if "error" in answer:
            return jsonrpc.error(
                CLIENT_FAILED, "the client answered the server's question with an error", answer["error"]
            )
    return {name: answer["result"] for name, answer in zip(asked, answers, strict=True)}
