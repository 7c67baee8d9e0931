"""The table of tasks: durable before anybody hears of a task, bounded, and forgetful."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors import names
from henslowe.actors.ids import InstanceId, ServiceName
from henslowe.actors.kernel import Scheduler
from henslowe.actors.messages import KeepTask, TaskSeen
from henslowe.actors.tasks import TASKS, TaskKeeper, TaskRow
from henslowe.actors.tasks import keeper as keeper_module
from henslowe.config.settings import StorageSettings
from henslowe.errors import LimitReached
from henslowe.storage import Store


def task(name: str, expires_s: float = 100.0) -> dict[str, Any]:
    row = TaskRow(
        id=name,
        service=ServiceName("jobs"),
        version=1,
        instance=InstanceId("jobs@1#1"),
        own=f"own-{name}",
        era="modern",
        owner="",
        unit="u",
        created_s=0.0,
        expires_s=expires_s,
    )
    return row.model_dump()


@asynccontextmanager
async def life(data: Path, now_s: float = 0.0) -> AsyncIterator[tuple[Any, Store]]:
    Scheduler.install()
    store = Store.open(data, "n1", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args)
    keeper = await TaskKeeper.start_link(store, 2, now_s=lambda: now_s, name=names.TASKS)
    try:
        yield keeper, store
    finally:
        for ref in (keeper, writer):
            await ref.stop(block=False)
        store.close()


async def test_a_task_and_its_outcome_survive_a_restart(tmp_path: Path) -> None:
    async with life(tmp_path) as (keeper, _):
        await keeper.call(KeepTask(task("a")))
        await keeper.call(TaskSeen("a", "completed", 50.0, {"status": "completed"}))
        await keeper.call(TaskSeen("a", "working", 90.0))  # late, and wrong: what is done stays done
        await keeper.call(TaskSeen("unknown", "working", 90.0))
    async with life(tmp_path) as (_, store):
        row = store.table(TASKS).lookup("a")
        assert row is not None
        assert (row.status, row.final, row.expires_s, row.open) == ("completed", {"status": "completed"}, 50.0, False)


async def test_tasks_that_are_done_make_room_and_others_do_not(tmp_path: Path) -> None:
    async with life(tmp_path) as (keeper, store):
        await keeper.call(KeepTask(task("a")))
        await keeper.call(KeepTask(task("b")))
        with pytest.raises(LimitReached, match="2 are under way"):
            await keeper.call(KeepTask(task("c")))
        await keeper.call(TaskSeen("a", "failed", 50.0))
        await keeper.call(KeepTask(task("c")))
        assert {row.id for row in store.table(TASKS).rows()} == {"b", "c"}


async def test_tasks_are_forgotten_when_their_time_is_over(tmp_path: Path) -> None:
    async with life(tmp_path, now_s=60.0) as (keeper, store):
        await keeper.call(KeepTask(task("a", 59.0)))
        await keeper.call(KeepTask(task("b", 61.0)))
        keeper.send(keeper_module.Tick())
        await keeper.call(TaskSeen("b", "working", 61.0))  # comes after the tick
        assert {row.id for row in store.table(TASKS).rows()} == {"b"}
