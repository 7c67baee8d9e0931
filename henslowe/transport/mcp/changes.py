"""Following a server's changes: its lists are listed again when it says so, and listeners hear of it afterwards.

A legacy server announces changes on its own; a modern one is asked with `subscriptions/listen`, whose filter also
holds the resources that clients of the node watch. One task per endpoint does it all, in order, so that a burst of
announcements costs one listing. Whom to tell of a change is the gateway's business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from henslowe.actors.endpoints import Contract, Era, JsonObject, ServerFacts
from henslowe.errors import HensloweError, InstanceFailed
from henslowe.transport.mcp import eras, jsonrpc
from henslowe.transport.mcp.contract import list_contract
from henslowe.transport.mcp.headers import ParamHeaders, param_headers_of
from henslowe.transport.mcp.link import Link

log = logging.getLogger(__name__)

LIST_TIMEOUT_S: Final = 30.0
LISTEN_S: Final = 24 * 3600.0
"""A change stream is opened afresh once a day."""
LISTEN_AGAIN_S: Final = 1.0
"""First pause after a change stream broke; doubled each time up to a minute."""
WATCHED_MAX: Final = 1_000
"""Most resources watched at one server on behalf of clients."""


class Changes:
    """The current contract of one server and the task that keeps it current.

    Args:
        link: The open link.
        facts: The server's facts.
        contract: What it listed when it was opened.
        node: The client info that the node gives of itself.
        emit: Called with each change notification, after the contract was renewed.
    """

    def __init__(
        self,
        link: Link,
        facts: ServerFacts,
        contract: Contract,
        node: JsonObject,
        emit: Callable[[JsonObject], None],
    ) -> None:
        self.contract = contract
        self.param_headers: ParamHeaders = param_headers_of(contract) if link.needs_headers else {}
        self._link = link
        self._facts = facts
        self._node = node
        self._emit = emit
        self._watched: dict[str, int] = {}
        self._announced: dict[str, JsonObject] = {}
        self._suspected = False
        self._renewing: asyncio.Task[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        if facts.era is Era.MODERN and self._filter():
            self._listening = asyncio.ensure_future(self._listen())

    def announced(self, notification: JsonObject) -> None:
        """Take a notification that belongs to no exchange."""
        method = notification["method"]
        if method not in eras.NOTIFICATION_CHANGES:
            self._emit(notification)
            return
        self._announced[method] = notification
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._renew())

    def suspect(self) -> None:
        """The server may have changed without saying so (it forgot us): list again, announce what differs."""
        self._suspected = True
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.ensure_future(self._renew())

    async def settled(self) -> None:
        """Return once a listing that is under way has ended."""
        if self._renewing is not None:
            await asyncio.wait({self._renewing})

    async def watch(self, method: str, params: JsonObject | None, *, timeout_s: float) -> JsonObject:
        """Answer a client's `resources/subscribe` or `resources/unsubscribe` towards a modern server."""
        uri = (params or {}).get("uri")
        if not isinstance(uri, str):
            return jsonrpc.error(jsonrpc.INVALID_PARAMS, f"expected a uri in the parameters of {method}, got none")
        before = set(self._watched)
        if method == "resources/subscribe":
            if len(self._watched) >= WATCHED_MAX and uri not in self._watched:
                return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"cannot watch {uri}: {WATCHED_MAX} resources are watched")
            self._watched[uri] = self._watched.get(uri, 0) + 1
        elif (count := self._watched.get(uri, 0)) > 1:
            self._watched[uri] = count - 1
        else:
            self._watched.pop(uri, None)
        if set(self._watched) != before:
            await self._listen_afresh(timeout_s)
        return {"result": {}}

    def stop(self) -> None:
        """Stop following, without waiting for it. Idempotent."""
        for task in (self._renewing, self._listening):
            if task is not None:
                task.cancel()

    async def close(self) -> None:
        """Stop following. Idempotent."""
        self.stop()
        tasks = [task for task in (self._renewing, self._listening) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _renew(self) -> None:
        while self._announced or self._suspected:
            announced, self._announced = self._announced, {}
            suspected, self._suspected = self._suspected, False
            try:
                before, self.contract = self.contract, await list_contract(self._ask, self._facts)
                if self._link.needs_headers:
                    self.param_headers = param_headers_of(self.contract)
                if suspected:
                    announced |= _differences(before, self.contract)
            except (HensloweError, TimeoutError) as cause:
                # The server that announced a change cannot list it: say so, keep what is known, tell the clients all
                # the same, who will see for themselves.
                log.warning("relisting_failed", extra={"cause": str(cause) or type(cause).__name__})
            for notification in announced.values():
                self._emit(notification)

    async def _ask(self, method: str, params: JsonObject) -> JsonObject:
        return await self._link.exchange(method, self._enveloped(params), timeout_s=LIST_TIMEOUT_S)

    def _enveloped(self, params: JsonObject) -> JsonObject:
        if self._facts.era is Era.LEGACY:
            return params
        return {**params, "_meta": eras.envelope(self._facts.protocol_version, self._node)}

    def _filter(self) -> JsonObject:
        """What to listen to: the list changes that the server declares, and the watched resources."""
        wanted: JsonObject = {}
        for name in ("tools", "prompts", "resources"):
            declared = self._facts.capabilities.get(name)
            if isinstance(declared, dict) and declared.get("listChanged"):
                wanted[f"{name}ListChanged"] = True
        if self._watched:
            wanted["resourceSubscriptions"] = sorted(self._watched)
        return wanted

    async def _listen_afresh(self, timeout_s: float) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
            self._listening = None
        if self._filter():
            acknowledged = asyncio.Event()
            self._listening = asyncio.ensure_future(self._listen(acknowledged))
            waiting = asyncio.ensure_future(acknowledged.wait())
            try:
                await asyncio.wait({waiting, self._listening}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()

    async def _listen(self, acknowledged: asyncio.Event | None = None) -> None:
        """Keep a change stream open until cancelled, or until the server says that it has none."""

        def on_notification(notification: JsonObject) -> None:
            if notification["method"] == "notifications/subscriptions/acknowledged":
                if acknowledged is not None:
                    acknowledged.set()
                return
            self.announced(_without_subscription(notification))

        pause_s = LISTEN_AGAIN_S
        while True:
            try:
                answer = await self._link.exchange(
                    "subscriptions/listen",
                    self._enveloped({"notifications": self._filter()}),
                    timeout_s=LISTEN_S,
                    on_notification=on_notification,
                )
                if "error" in answer:
                    log.info("no_change_stream", extra={"cause": answer["error"].get("message")})
                    return
                pause_s = LISTEN_AGAIN_S
            except TimeoutError:
                continue
            except InstanceFailed:
                return
            except HensloweError as cause:
                log.info("change_stream_lost", extra={"cause": str(cause)})
                self.suspect()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 60.0)


def _differences(before: Contract, after: Contract) -> dict[str, JsonObject]:
    """The notifications that a server would have sent for the difference."""
    return {
        method: {"jsonrpc": "2.0", "method": method}
        for method, lists in eras.NOTIFICATION_CHANGES.items()
        if any(getattr(before, name) != getattr(after, name) for name in lists)
    }


def _without_subscription(notification: JsonObject) -> JsonObject:
    """The notification without the id of the node's own subscription, which is no client's."""
    params = dict(notification.get("params") or {})
    meta = {k: v for k, v in (params.pop("_meta", None) or {}).items() if k != eras.SUBSCRIPTION_ID_META}
    if meta:
        params["_meta"] = meta
    return {**notification, "params": params} if params else {"jsonrpc": "2.0", "method": notification["method"]}
