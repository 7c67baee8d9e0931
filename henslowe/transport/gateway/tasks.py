"""Tasks: a server answers a tool call with a handle, and its client asks for the outcome later, perhaps much later.

A task belongs to the process that made it, and its client knows only an id. So the gateway gives out ids of its own
and remembers, durably, which version and instance each came from: what is said about a task goes there, however routes
have changed meanwhile, and that version is kept running while the task is under way. What a server says of a task that
is done is kept as well, and from then on answered here: it changes no more, and the server may be gone.

Both forms are served, each between a client and a server of the same era: the extension `io.modelcontextprotocol/tasks`
of the stateless era, and the experimental tasks of 2025-11-25. Nothing is bridged here: a client of the other era is
offered no tasks, and its calls are answered when they are done.

Source: the Tasks extension 2026-07-28; MCP 2025-11-25, basic/utilities/tasks.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, Protocol

from henslowe.actors.endpoints import Endpoint, Era, JsonObject
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.actors.tasks.rows import TERMINAL, TaskRow
from henslowe.actors.versions.ranges import exactly
from henslowe.errors import HensloweError, NotFound
from henslowe.transport.gateway.calls import Caller
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.pins import Pin
from henslowe.transport.gateway.protocol import node_error
from henslowe.transport.gateway.ranges import Holds
from henslowe.transport.gateway.selection import Target, service_of
from henslowe.transport.mcp import eras, jsonrpc

STATUS: Final = "notifications/tasks/status"
"""What a server of the handshake era may say of a task on its own."""
METHODS: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel", "tasks/result", "tasks/list"})
_MODERN: Final = frozenset({"tasks/get", "tasks/update", "tasks/cancel"})
_LEGACY: Final = frozenset({"tasks/get", "tasks/result", "tasks/cancel", "tasks/list"})
_RELATED: Final = "io.modelcontextprotocol/related-task"

KEPT_S: Final = 24 * 3600.0
"""How long a task is remembered whose server sets no limit, from the last time that it was asked for."""
KEPT_MAX_S: Final = 7 * 24 * 3600.0
GRACE_S: Final = 60.0
"""Beyond the time that its server gives to a task: the server may be late in forgetting it."""
HOLD_S: Final = 10.0
HOLD_EVERY_S: Final = 3.0
FINAL_CHARS_MAX: Final = 256 * 1024
"""Longest outcome that is kept for when its server is gone."""
LISTED_MAX: Final = 100
LOOK_TIMEOUT_S: Final = 10.0


class TaskStore(Protocol):
    """The tasks that are remembered. Reads never wait; `keep` returns after the row is durable."""

    def get(self, task_id: str) -> TaskRow | None:
        """The task, or None."""
        ...

    def rows(self) -> Iterable[TaskRow]:
        """All of them."""
        ...

    def of_unit(self, unit: str) -> Iterable[TaskRow]:
        """Those that this unit made."""
        ...

    async def keep(self, row: TaskRow) -> None:
        """Remember a task.

        Raises:
            LimitReached: As many are under way as may be.
        """
        ...

    def seen(self, task_id: str, status: str, expires_s: float) -> None:
        """Note what a server said of a task that is not done."""
        ...

    async def finish(self, task_id: str, status: str, expires_s: float, final: JsonObject | None) -> None:
        """Note how a task ended, durably if that is possible; `final` is what to answer from now on."""
        ...


class MemoryTasks:
    """Tasks that are remembered as long as the process lives, for tests and embedding."""

    def __init__(self) -> None:
        self._rows: dict[str, TaskRow] = {}

    def get(self, task_id: str) -> TaskRow | None:
        """See `TaskStore.get`."""
        return self._rows.get(task_id)

    def rows(self) -> Iterable[TaskRow]:
        """See `TaskStore.rows`."""
        return tuple(self._rows.values())

    def of_unit(self, unit: str) -> Iterable[TaskRow]:
        """See `TaskStore.of_unit`."""
        return [row for row in self._rows.values() if row.unit == unit]

    async def keep(self, row: TaskRow) -> None:
        """See `TaskStore.keep`."""
        self._rows[row.id] = row

    def seen(self, task_id: str, status: str, expires_s: float) -> None:
        """See `TaskStore.seen`."""
        update = {"status": status, "expires_s": expires_s}
        self._rows[task_id] = self._rows[task_id].model_copy(update=update)

    async def finish(self, task_id: str, status: str, expires_s: float, final: JsonObject | None) -> None:
        """See `TaskStore.finish`."""
        update = {"status": status, "expires_s": expires_s, "final": final}
        self._rows[task_id] = self._rows[task_id].model_copy(update=update)


class Tasks:
    """Makes calls, and keeps the tasks that come out of them. Runs in: the node's loop.

    Args:
        caller: Makes the calls.
        store: Remembers the tasks.
        holds: Keeps the versions running that are at it.
        clock: Unix seconds.
    """

    def __init__(
        self, caller: Caller, store: TaskStore, holds: Holds, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._caller = caller
        self._store = store
        self._holds = holds
        self._clock = clock
        self._holding: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Hold the versions of tasks that the last life of the node left under way."""
        if self._holding is None:
            self._hold()

    def close(self) -> None:
        """Stop holding. Idempotent."""
        if self._holding is not None:
            self._holding.cancel()
            self._holding = None

    def busy(self, instance: InstanceId) -> bool:
        """Whether a task is under way at an instance."""
        now_s = self._clock()
        return any(row.instance == instance and row.open and row.expires_s > now_s for row in self._store.rows())

    async def call(self, target: Target, ask: Ask) -> tuple[JsonObject, Endpoint | None]:
        """The answer to a request that has a target, and whose answer it is as it stands; None where it is the node's.

        A task in it is remembered, and has an id of ours.

        Raises:
            NotFound: No such service.
        """
        if ask.method in METHODS:
            return (await self.about(target, ask))[0], None
        answer, endpoint = await self._caller.call(target, ask)
        if endpoint is None or (task := made(answer, ask)) is None:
            return answer, endpoint
        return await self._keep(answer, task, ask, endpoint), None

    async def about(self, target: Target, ask: Ask) -> tuple[JsonObject, ServiceName | None]:
        """The answer to a request about tasks, and whose task it is; `target` is "" where it may be any service's.

        Raises:
            NotFound: No such service.
        """
        refusal = _refusal(ask)
        if refusal is not None:
            return refusal, None
        service = service_of(target)
        if ask.method == "tasks/list":
            return await self._list(service, ask), None
        task_id = (ask.params or {}).get("taskId")
        row = self._store.get(task_id) if isinstance(task_id, str) else None
        if row is None or not self._visible(row, service, ask):
            return jsonrpc.error(jsonrpc.INVALID_PARAMS, "Failed to retrieve task: Task not found"), None
        return await self._forward(row, ask), row.service

    def announced(
        self, event: JsonObject, *, version: VersionKey | None = None, unit: str = ""
    ) -> list[tuple[str, JsonObject]]:
        """Whom a server's word on a task concerns, and that word with the id that they know.

        Args:
            event: Its `notifications/tasks/status`.
            version: Who said it.
            unit: To whom, where only one client could hear it.
        """
        params = event.get("params")
        if not isinstance(params, dict) or not isinstance(own := params.get("taskId"), str):
            return []
        return [
            (row.unit, {**event, "params": _renamed(params, own, row.id)})
            for row in (self._store.of_unit(unit) if unit else self._store.rows())
            if row.own == own and row.era == Era.LEGACY.value and version in (None, row.key)
        ]

    # -- one task ----------------

    async def _keep(self, answer: JsonObject, task: JsonObject, ask: Ask, endpoint: Endpoint) -> JsonObject:
        now_s = self._clock()
        status = str(task.get("status", "working"))
        row = TaskRow(
            id=secrets.token_urlsafe(18),
            service=endpoint.version.service,
            version=endpoint.version.number,
            instance=endpoint.instance,
            own=task["taskId"],
            era=ask.era.value,
            owner=ask.principal,
            unit=ask.unit.key,
            created_s=now_s,
            expires_s=_expiry_s(task, now_s, now_s),
            status=status,
        )
        try:
            await self._store.keep(row)
        except HensloweError as error:
            return node_error(error)
        if row.open:
            self.start()
        return {"result": _renamed(answer["result"], row.own, row.id)}

    async def _forward(self, row: TaskRow, ask: Ask) -> JsonObject:
        """What is known of a task that is done, else the answer of its instance, else of another one of its version.

        Where the version is no more, whoever serves now is asked: the server's tasks may outlive its versions.
        """
        known = _known(row, ask.method)
        if known is not None:
            return known
        asked = replace(ask, params={**(ask.params or {}), "taskId": row.own})
        pin = Pin(row.key, row.instance)
        try:
            answer, endpoint = await self._caller.call(f"{row.service}@{exactly(row.version)}", asked, pin)
        except NotFound:
            answer, endpoint = await self._caller.call(row.service, asked)
        result = answer.get("result")
        if isinstance(result, dict):
            await self._note(row, ask.method, result)
            return {"result": _renamed(result, row.own, row.id)}
        forgotten = answer["error"].get("code") == jsonrpc.INVALID_PARAMS and ask.method == "tasks/get"
        if forgotten and endpoint is not None and endpoint.instance != row.instance:
            # It died with its process: nothing is held for it any more.
            await self._store.finish(row.id, "failed", row.expires_s, None)
        return answer

    async def _note(self, row: TaskRow, method: str, result: JsonObject) -> None:
        """Remember what a server said of a task, where that is news."""
        status = result.get("status")
        if method not in ("tasks/get", "tasks/cancel") or not isinstance(status, str):
            return
        expires_s = _expiry_s(result, row.created_s, self._clock())
        if status in TERMINAL and method == "tasks/get":
            final = _renamed(result, row.own, row.id)
            await self._store.finish(row.id, status, expires_s, final if len(repr(final)) <= FINAL_CHARS_MAX else None)
        elif status != row.status or abs(expires_s - row.expires_s) > GRACE_S:
            self._store.seen(row.id, status, expires_s)

    def _visible(self, row: TaskRow, service: ServiceName, ask: Ask) -> bool:
        return (
            (not service or row.service == service)
            and row.era == ask.era.value
            and (not row.owner or row.owner == ask.principal)
            and row.expires_s > self._clock()
        )

    # -- several tasks ----------------

    async def _list(self, service: ServiceName, ask: Ask) -> JsonObject:
        """One page of what this client made, each as its server says it now."""
        mine = [row for row in self._store.of_unit(ask.unit.key) if self._visible(row, service, ask)]
        newest = sorted(mine, key=lambda row: -row.created_s)[:LISTED_MAX]

        async def look(row: TaskRow) -> JsonObject | None:
            answer = await self._forward(row, replace(ask, method="tasks/get", params={"taskId": row.id}))
            result = answer.get("result")
            return {k: v for k, v in result.items() if k != "_meta"} if isinstance(result, dict) else None

        async def within(row: TaskRow) -> JsonObject | None:
            try:
                async with asyncio.timeout(LOOK_TIMEOUT_S):
                    return await look(row)
            except (TimeoutError, HensloweError):
                return None

        found = await asyncio.gather(*map(within, newest))
        return {"result": {"tasks": [task for task in found if task is not None]}}

    def _hold(self) -> None:
        """Say which versions are needed; one timer for all, until no task is under way."""
        now_s = self._clock()
        needed = {row.key for row in self._store.rows() if row.open and row.expires_s > now_s}
        for version in needed:
            self._holds.hold(version, HOLD_S)
        loop = asyncio.get_running_loop()
        self._holding = loop.call_later(HOLD_EVERY_S, self._hold) if needed else None


def offers(facts_capabilities: JsonObject) -> bool:
    """Whether a server of the stateless era has the extension."""
    extensions = facts_capabilities.get("extensions")
    return isinstance(extensions, dict) and eras.TASKS_EXTENSION in extensions


def declares(client_capabilities: Any) -> bool:
    """Whether a client of the stateless era knows the extension."""
    return isinstance(client_capabilities, dict) and offers(client_capabilities)


def missing_extension() -> JsonObject:
    """The refusal to a client of the stateless era that asks for tasks and does not declare the extension."""
    return jsonrpc.error(
        jsonrpc.MISSING_CLIENT_CAPABILITY,
        "Missing required client capability",
        {"requiredCapabilities": {"extensions": {eras.TASKS_EXTENSION: {}}}},
    )


def _refusal(ask: Ask) -> JsonObject | None:
    """Why a request about tasks is none, whatever task it is about."""
    if ask.method not in (_MODERN if ask.era is Era.MODERN else _LEGACY):
        return jsonrpc.error(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {ask.method}")
    if ask.era is Era.MODERN:
        meta = (ask.params or {}).get("_meta")
        if not declares(meta.get(eras.CLIENT_CAPABILITIES_META) if isinstance(meta, dict) else None):
            return missing_extension()
    return None


def made(answer: JsonObject, ask: Ask) -> JsonObject | None:
    """The task that an answer hands out, in either form; None for every other answer."""
    result = answer.get("result")
    if not isinstance(result, dict):
        return None
    task = result if result.get("resultType") == "task" else None
    if ask.era is Era.LEGACY and ask.params is not None and "task" in ask.params:
        task = result.get("task")
    return task if isinstance(task, dict) and isinstance(task.get("taskId"), str) else None


def _known(row: TaskRow, method: str) -> JsonObject | None:
    """The answer from what is known of a task that is done, which changes no more; None where its server has to say."""
    if row.final is None:
        return None
    if method == "tasks/get":
        return {"result": row.final}
    if method in ("tasks/cancel", "tasks/update") and row.era == Era.MODERN.value:
        return {"result": {"resultType": "complete"}}
    return None


def _renamed(result: JsonObject, before: str, after: str) -> JsonObject:
    """A result with another task id wherever its era puts one."""
    renamed = dict(result)
    if renamed.get("taskId") == before:
        renamed["taskId"] = after
    task = renamed.get("task")
    if isinstance(task, dict) and task.get("taskId") == before:
        renamed["task"] = {**task, "taskId": after}
    meta = renamed.get("_meta")
    related = meta.get(_RELATED) if isinstance(meta, dict) else None
    if isinstance(meta, dict) and isinstance(related, dict) and related.get("taskId") == before:
        renamed["_meta"] = {**meta, _RELATED: {**related, "taskId": after}}
    return renamed


def _expiry_s(task: JsonObject, created_s: float, now_s: float) -> float:
    """When a task may be forgotten: after the time its server gives it, which begins when that made it."""
    ttl_ms = task.get("ttlMs", task.get("ttl"))
    if type(ttl_ms) is not int or ttl_ms < 0:
        return now_s + KEPT_S
    return min(max(created_s + ttl_ms / 1000 + GRACE_S, now_s + GRACE_S), now_s + KEPT_MAX_S)
