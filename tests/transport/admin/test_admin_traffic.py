"""The gateway's tables, as the admin API and the command line show them."""

import asyncio
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from henslowe.actors.ids import InstanceId, ServiceName
from henslowe.actors.sessions import SESSIONS, SessionRow
from henslowe.actors.tasks import TASKS, TaskRow
from henslowe.cli import client as cli_client
from henslowe.cli.app import cli
from henslowe.transport.admin.models.traffic import RowsQuery
from tests.transport.admin.small_node import Served, serve


async def fill(served: Served) -> None:
    now_s = time.time()
    session = SessionRow(
        id="secret-session-id",
        scope="hello@1",
        protocol_version="2025-11-25",
        client_info={"name": "tester\x1b[31m"},
        capabilities={},
        opened_s=now_s,
        last_seen_s=now_s,
    )
    task = TaskRow(
        id="secret-task-id",
        service=ServiceName("hello"),
        version=1,
        instance=InstanceId("hello@1#1"),
        own="t",
        era="modern",
        owner="",
        unit="u",
        created_s=now_s,
        expires_s=now_s + 60,
    )
    await served.node.store.table(SESSIONS).insert(session)
    await served.node.store.table(TASKS).insert(task)


async def test_sessions_and_tasks_are_shown_without_the_ids_that_open_them(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        await fill(served)
        sessions = served.admin.traffic.sessions(RowsQuery(service="hello"))
        assert [(each.session, each.endpoint) for each in sessions.sessions] == [("secret-s", "/mcp/hello@1")]
        assert served.admin.traffic.sessions(RowsQuery(service="other")).total == 0
        (task,) = served.admin.traffic.tasks(RowsQuery()).tasks
        assert (task.task, task.status) == ("secret-t", "working")
        assert "secret-session-id" not in sessions.model_dump_json()


async def test_the_routes_answer_and_results_can_be_purged(tmp_path: Path) -> None:
    async with serve(tmp_path) as served:
        await fill(served)
        client = cli_client.NodeClient(served.file)

        def ask() -> list[Any]:
            return [
                client.get("/sessions", limit=1)["total"],
                client.get("/tools")["tools"],
                client.get("/tasks", service="hello")["total"],
                client.get("/results")["hits"],
                client.post("/results/purge", {"service": "hello"}),
            ]

        assert await asyncio.to_thread(ask) == [1, [], 1, 0, {"purged": 0}]

        def run(*arguments: str) -> str:
            return CliRunner().invoke(cli, [*arguments, "--workspace", str(tmp_path)]).output

        shown = await asyncio.to_thread(run, "sessions")
        assert "/mcp/hello@1" in shown
        assert "\x1b[31m" not in shown, "what clients call themselves is no terminal's business"
        assert "hello@1  working" in await asyncio.to_thread(run, "tasks", "hello")
        assert "no service offers a tool" in await asyncio.to_thread(run, "tools")
        assert "0 results forgotten" in await asyncio.to_thread(run, "results", "purge")
