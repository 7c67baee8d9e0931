"""The tools that the MCP conformance suite calls to judge the Tasks extension, and what is said about their tasks.

A tool is called with the arguments and a `Task`, on which it may ask its client something. Whether a call becomes a
task at all, and what a client is told that does not know of tasks, is decided here as well.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

EXTENSION = "io.modelcontextprotocol/tasks"
TTL_MS = 600_000
POLL_MS = 100
DONE = {"completed", "failed", "cancelled"}


class Failed(Exception):
    """A protocol error: its JSON-RPC error ends the task as failed."""


class Task:
    """One call that goes on by itself."""

    def __init__(self, tool: Callable[["Task", dict], Awaitable[dict]], arguments: dict) -> None:
        self.id = secrets.token_hex(8)
        self.status = "working"
        self.created = self.updated = now()
        self.outcome: dict = {}
        self.questions: dict[str, tuple[dict, asyncio.Future]] = {}
        self.running = asyncio.ensure_future(self.run(tool, arguments))

    async def run(self, tool, arguments: dict) -> None:
        try:
            result = await tool(self, arguments)
            self.become("completed", result={"resultType": "complete", **result})
        except Failed as failure:
            self.become("failed", error={"code": -32603, "message": str(failure)})
        except asyncio.CancelledError:
            self.become("cancelled")

    def become(self, status: str, **outcome: dict) -> None:
        self.status, self.outcome, self.updated = status, outcome, now()

    async def ask(self, name: str, question: dict) -> dict:
        """The client's answer, which `tasks/update` brings."""
        future = asyncio.get_running_loop().create_future()
        self.questions[name] = question, future
        self.become("input_required")
        try:
            return await future
        finally:
            del self.questions[name]
            if not self.questions:
                self.become("working")

    def shown(self) -> dict:
        """As the client sees it."""
        shown = {
            "taskId": self.id,
            "status": self.status,
            "createdAt": self.created,
            "lastUpdatedAt": self.updated,
            "ttlMs": TTL_MS,
            "pollIntervalMs": POLL_MS,
            **self.outcome,
        }
        open_questions = {name: question for name, (question, future) in self.questions.items() if not future.done()}
        return {**shown, "inputRequests": open_questions} if self.status == "input_required" else shown


def now() -> str:
    return datetime.now(UTC).isoformat()


def text(words: str, **more: object) -> dict:
    return {"content": [{"type": "text", "text": words}], **more}


def form(message: str, **properties: dict) -> dict:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


async def slow_compute(_task, arguments: dict) -> dict:
    await asyncio.sleep(arguments.get("seconds", 0))
    return text(f"Computed {arguments.get('label', 'it')}.")


async def failing_job(_task, _arguments: dict) -> dict:
    await asyncio.sleep(0.5)
    return text("The job failed, as it should.", isError=True)


async def protocol_error_job(_task, _arguments: dict) -> dict:
    await asyncio.sleep(0.1)
    raise Failed("The server itself failed, as it should.")


async def confirm_delete(task: Task, arguments: dict) -> dict:
    answer = await task.ask("confirm", form(f"Delete {arguments.get('filename')}?", confirm={"type": "boolean"}))
    return text(f"Answered: {answer.get('action')}.")


async def multi_input(task: Task, _arguments: dict) -> dict:
    name = {"name": {"type": "string"}}
    answers = await asyncio.gather(*(task.ask(key, form(f"The {key} name?", **name)) for key in ("first", "second")))
    return text(f"{len(answers)} answers.")


async def greet_user(_task, arguments: dict) -> dict:
    await asyncio.sleep(0.05)
    return text(f"Hello, {arguments['user_name']}!")


TOOLS = {
    "slow_compute": slow_compute,
    "failing_job": failing_job,
    "protocol_error_job": protocol_error_job,
    "confirm_delete": confirm_delete,
    "multi_input": multi_input,
    "test_tool_with_task": greet_user,
}
ONLY_TASKS = {"failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task"}
"""Tools that cannot answer at once."""
made: dict[str, Task] = {}


def knows(capabilities: dict) -> bool:
    """Whether a client declares the extension."""
    return EXTENSION in (capabilities.get("extensions") or {})


def missing() -> dict:
    """The error for a client that does not."""
    required = {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}
    return {"code": -32021, "message": "Missing required client capability", "data": required}


def start(name: str, arguments: dict) -> dict:
    """A new task, as the answer to a call."""
    task = Task(TOOLS[name], arguments)
    made[task.id] = task
    return {"resultType": "task", **task.shown()}


async def about(method: str, params: dict) -> dict | None:
    """The answer to a request about a task; None for a task that is not known."""
    task = made.get(str(params.get("taskId")))
    if task is None:
        return None
    if method == "tasks/get":
        return {"resultType": "complete", **task.shown()}
    if method == "tasks/cancel" and task.status not in DONE:
        task.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task.running
    elif method == "tasks/update":
        for name, response in (params.get("inputResponses") or {}).items():
            question = task.questions.get(name)
            if question is not None and not question[1].done():
                question[1].set_result(response)
        await asyncio.sleep(0)  # what was answered goes on before anybody looks
        await asyncio.sleep(0)
    return {"resultType": "complete"}
