"""What becomes of tasks, for a client that listens instead of asking again and again.

Servers need not tell, and most of them do not: so the gateway asks in place of the client, as often as the server
suggests, by the very request that the client would make. Whoever may not ask for a task hears nothing of it. Each
change is told once, the state at the beginning too, since the task may have moved on before the client listened; what
waits to be told is the newest state only.

Source: the Tasks extension 2026-07-28, notifications/tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.tasks.rows import TERMINAL
from henslowe.errors import HensloweError
from henslowe.transport.gateway.protocol import Refused
from henslowe.transport.mcp import jsonrpc

CHANGED: Final = "notifications/tasks"
TASKS_MAX: Final = 100
"""Tasks of one stream; each is asked for by itself."""
POLL_S: Final = 1.0
"""Between two looks at a task whose server suggests nothing."""
POLL_MIN_S: Final = 0.1
POLL_MAX_S: Final = 60.0

Look = Callable[[str], Awaitable[JsonObject]]
"""The answer to `tasks/get` for an id, as the listening client would get it."""


class TaskNews:
    """The tasks of one stream. Runs in: the node's loop.

    Args:
        look: Asks for a task.
        tell: Takes a task's id and the notification of its state.
    """

    def __init__(self, look: Look, tell: Callable[[str, JsonObject], None]) -> None:
        self._look = look
        self._tell = tell
        self._told: dict[str, JsonObject] = {}
        self._due_s: dict[str, float] = {}

    async def begin(self, task_ids: list[str]) -> list[str]:
        """Look at each of them once; those that there are, for this client."""
        await asyncio.gather(*map(self._see, task_ids))
        return [task_id for task_id in task_ids if task_id in self._told]

    async def follow(self) -> None:
        """Tell of changes until all tasks are done."""
        loop = asyncio.get_running_loop()
        while self._due_s:
            await asyncio.sleep(max(0.0, min(self._due_s.values()) - loop.time()))
            now_s = loop.time()
            await asyncio.gather(*(self._see(task_id) for task_id, due_s in self._due_s.items() if due_s <= now_s))

    async def _see(self, task_id: str) -> None:
        """Look at a task, tell if it has changed, and say when to look again: never, once it is done or gone."""
        known = self._told.get(task_id)
        try:
            answer = await self._look(task_id)
        except HensloweError:
            answer = {"result": known} if known is not None else {}  # nobody to ask just now
        task = answer.get("result")
        if not isinstance(task, dict) or task.get("status") in TERMINAL:
            self._due_s.pop(task_id, None)
        else:
            self._due_s[task_id] = asyncio.get_running_loop().time() + _pause_s(task)
        if isinstance(task, dict) and task != known:
            self._told[task_id] = task
            params = {key: value for key, value in task.items() if key not in ("resultType", "_meta")}
            self._tell(task_id, {"method": CHANGED, "params": params})


def wanted(requested: Any) -> list[str]:
    """The task ids in a subscription filter.

    Raises:
        Refused: They are none.
    """
    ids = requested.get("taskIds") if isinstance(requested, dict) else None
    if ids is None:
        return []
    if not isinstance(ids, list) or not all(isinstance(task_id, str) for task_id in ids):
        raise Refused(400, jsonrpc.INVALID_PARAMS, "expected taskIds to be a list of strings")
    if len(ids) > TASKS_MAX:
        raise Refused(400, jsonrpc.INVALID_PARAMS, f"expected at most {TASKS_MAX} task ids, got: {len(ids)}")
    return list(dict.fromkeys(ids))


def _pause_s(task: JsonObject) -> float:
    suggested_ms = task.get("pollIntervalMs")
    if not isinstance(suggested_ms, int | float):
        return POLL_S
    return min(max(POLL_MIN_S, suggested_ms / 1000), POLL_MAX_S)
