"""What takes the calls of a version that sleeps: lists and discovery are answered from its contract, the rest wakes it.

It stands in the directory like any endpoint, so the gateway knows nothing of sleep: sessions stay open, clients list as
ever, and the first real call takes as long as the server's start. Calls that wait are bounded in number and each by
its own time-out; when the server does not start they fail with the reason, and a later call tries again.

Not here: when a version sleeps (`henslowe.actors.instances`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from henslowe.actors.endpoints import (
    Contract,
    Endpoint,
    EndpointState,
    Era,
    JsonObject,
    OnNotification,
    ServerFacts,
)
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.errors import LimitReached, Unavailable
from henslowe.transport.mcp import bridge, jsonrpc
from henslowe.transport.mcp.link import NO_HEADERS
from henslowe.words import counted

AGAIN_S: Final = 1.0
"""After a start that failed, how long calls are told so at once; and how often a start is asked for again."""

_LISTS: Final = {
    "tools/list": ("tools", "tools"),
    "prompts/list": ("prompts", "prompts"),
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("resources", "resourceTemplates"),
}
"""The capability that a list belongs to, and its field in the result."""
_SUBSCRIPTIONS: Final = frozenset({"resources/subscribe", "resources/unsubscribe"})
"""A server that sleeps announces nothing; the gateway subscribes again at the instance that is woken."""


class DormantEndpoint:
    """Stands in for one version, implementing `henslowe.actors.instances.Dormant`. Runs in: the node's loop.

    Args:
        version: What sleeps.
        facts: What its server said when it was opened last.
        contract: What it listed then.
        wake: Has it started; may be called again and again.
        waiting_max: Most calls that wait for it.
    """

    def __init__(
        self,
        version: VersionKey,
        facts: ServerFacts,
        contract: Contract,
        wake: Callable[[], None],
        *,
        waiting_max: int = 1_000,
    ) -> None:
        self.version = version
        self.instance = InstanceId(f"{version}#asleep")
        self.facts = facts
        self.contract = contract
        self.in_flight = 0
        self._wake = wake
        self._waiting_max = waiting_max
        self._waiting: set[asyncio.Future[Endpoint]] = set()
        self._asked_s = float("-inf")
        self._awake: Endpoint | None = None
        self._failure = ""
        self._failed_s = float("-inf")

    @property
    def state(self) -> EndpointState:
        """As a caller may use it: READY while it sleeps, then that of the instance that was woken."""
        return EndpointState.READY if self._awake is None else self._awake.state

    def answers(self, method: str) -> bool:
        """Whether this needs no server now."""
        return self._awake is None and method in _LISTS

    async def request(
        self,
        method: str,
        params: JsonObject | None,
        *,
        era: Era,
        headers: Mapping[str, str] = NO_HEADERS,
        timeout_s: float = 300.0,
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """See `Endpoint.request`.

        Raises:
            Unavailable: It could not be woken, or not in time.
            LimitReached: Too many calls wait for it.
        """
        answer = self._at_once(method, params, era)
        if answer is not None:
            return answer
        self.in_flight += 1
        try:
            began_s = asyncio.get_running_loop().time()
            endpoint = self._awake or await self._woken(timeout_s)
            left_s = timeout_s - (asyncio.get_running_loop().time() - began_s)
            return await endpoint.request(
                method, params, era=era, headers=headers, timeout_s=left_s, on_notification=on_notification
            )
        finally:
            self.in_flight -= 1

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification to the instance that was woken; dropped while it sleeps."""
        if self._awake is not None:
            self._awake.notify(method, params)

    def woken(self, endpoint: Endpoint) -> None:
        """See `Dormant.woken`."""
        self._awake = endpoint
        waiting, self._waiting = self._waiting, set()
        for call in waiting:
            if not call.done():
                call.set_result(endpoint)

    def failed(self, reason: str) -> None:
        """See `Dormant.failed`."""
        self._failure, self._failed_s = reason, asyncio.get_running_loop().time()
        waiting, self._waiting = self._waiting, set()
        for call in waiting:
            if not call.done():
                call.set_exception(self._refusal())

    def _at_once(self, method: str, params: JsonObject | None, era: Era) -> JsonObject | None:
        """The answer to what needs no server; None for what does."""
        if method in bridge.LOCAL_METHODS:
            return bridge.local_answer(method, params, era, self.facts)
        if self._awake is not None:
            return None
        result: JsonObject = {}
        if method in _LISTS:
            capability, field = _LISTS[method]
            if capability not in self.facts.capabilities:
                return jsonrpc.error(jsonrpc.METHOD_NOT_FOUND, f"the server has no {capability}")
            result[field] = list(self._listed(method))
        elif method not in _SUBSCRIPTIONS:
            return None
        if self.facts.era is Era.MODERN:
            result = bridge.result_for_modern(result, method, self.facts.server_info)
        return bridge.answer({"result": result}, method, params, era, self.facts)

    def _listed(self, method: str) -> tuple[JsonObject, ...]:
        contract = self.contract
        return {
            "tools/list": contract.tools,
            "prompts/list": contract.prompts,
            "resources/list": contract.resources,
            "resources/templates/list": contract.resource_templates,
        }[method]

    async def _woken(self, timeout_s: float) -> Endpoint:
        """The instance that was woken, once it is up."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        if now_s - self._failed_s < AGAIN_S:
            raise self._refusal()
        if len(self._waiting) >= self._waiting_max:
            raise LimitReached(
                f"cannot call {self.version.service}: {counted(len(self._waiting), 'call')} waiting until it is awake",
                hint="gateway.waiting_max is the limit",
                retry_after_s=1,
            )
        if now_s - self._asked_s >= AGAIN_S:
            self._asked_s = now_s
            self._wake()
        call: asyncio.Future[Endpoint] = loop.create_future()
        self._waiting.add(call)
        try:
            async with asyncio.timeout(timeout_s):
                return await call
        except TimeoutError:
            raise Unavailable(
                f"cannot wake {self.version}: it is not up after {round(timeout_s, 2):g} s",
                hint=f"see `henslowe logs {self.version.service}`",
                reason="asleep",
            ) from None
        finally:
            self._waiting.discard(call)

    def _refusal(self) -> Unavailable:
        return Unavailable(
            f"cannot wake {self.version}: {self._failure}",
            hint=f"see `henslowe logs {self.version.service}`",
            reason="asleep",
            retry_after_s=1,
        )
