"""Runs a graph of stages as parallel as their needs allow, and the archiving beside them.

Knows nothing of what a stage does. The first failure ends the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from henslowe.actors.pipeline.plan import LINT, PlannedStage, startable

Report = TypeVar("Report")
Archived = TypeVar("Archived")

ARCHIVE: Final = "archive"
"""The archiving's name among the stages, for failures; it starts when all stages that make artifacts are done."""
LINT_GRACE_S: Final = 1.0
"""How long a failure of another stage waits for the lint that is under way: it often knows the cause, with its line."""


async def run_graph(
    stages: Sequence[PlannedStage],
    run: Callable[[PlannedStage, Mapping[str, Report]], Coroutine[Any, Any, Report]],
    archive: Callable[[], Coroutine[Any, Any, Archived]],
) -> tuple[dict[str, Report], Archived]:
    """All stages' reports, and what archiving gave.

    Nothing of it runs any more when this returns or raises, also when it is cancelled.

    Args:
        stages: A checked graph, in the order of preference where there is a choice.
        run: Runs one stage, given the reports of those that are done.
        archive: Archives what the stages have made.

    Raises:
        StageFailed: What the first failing stage raised; the lint's where both failed.
    """
    done: dict[str, Report] = {}
    tasks: dict[asyncio.Task[Any], str] = {}
    started: set[str] = set()
    makers = {stage.name for stage in stages if stage.artifacts}
    archived: list[Archived] = []

    def start(name: str, work: Coroutine[Any, Any, Any]) -> None:
        started.add(name)
        tasks[asyncio.ensure_future(work)] = name

    try:
        while True:
            for stage in startable(stages, started=started, done=done):
                start(stage.name, run(stage, done))
            if ARCHIVE not in started and makers <= done.keys():
                start(ARCHIVE, archive())
            if not tasks:
                return done, archived[0]
            for task in await _finished(tasks):
                name = tasks.pop(task)
                if name == ARCHIVE:
                    archived.append(task.result())
                else:
                    done[name] = task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _finished(tasks: Mapping[asyncio.Task[Any], str]) -> list[asyncio.Task[Any]]:
    """The tasks that have ended, at least one; the lint first."""
    finished, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if any(task.exception() is not None for task in finished):
        lint = [task for task, name in tasks.items() if name == LINT]
        if lint:
            finished |= (await asyncio.wait(lint, timeout=LINT_GRACE_S))[0]
    return sorted(finished, key=lambda task: (tasks[task] != LINT, tasks[task]))
