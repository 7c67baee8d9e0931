"""A trial: the stages of a service, or one with what it needs, run now for somebody who watches. Makes no version.

The same copy, cache, environments and isolation as a run of the pipeline (`run`), but what it tells goes to the one who
asked, and a newer change does not end it; its reader's leaving does.
"""

from __future__ import annotations

import asyncio
import difflib
import itertools
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import NORMAL, SHUTDOWN, Continue, LoopActor, Ref, Stop
from henslowe.actors.pipeline.graph import run_graph
from henslowe.actors.pipeline.plan import PlannedStage, upstream
from henslowe.actors.pipeline.preparing import Prepared, understand
from henslowe.actors.pipeline.stages import StageRunner
from henslowe.actors.pipeline.telling import Listener
from henslowe.actors.pipeline.tools import Tools, in_thread
from henslowe.actors.pipeline.workdir import Workdir, take_snapshot
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import HensloweError, NotFound, StageFailed, Unavailable

ALIVE_S: Final = 5.0
"""How often a reader looks whether a silent trial is still there."""

_numbers = itertools.count(1)


@dataclass(slots=True, frozen=True)
class Trial:
    """Call to PIPELINE, from a person. Reply: the `Ref` of the trial, which ends when it is told to exit."""

    service: ServiceName
    listener: Listener
    by: str
    stage: str = ""
    """Only this one and what it needs; "" for all."""
    replays: bool = True
    """Whether the cache may stand in for a stage that has not changed."""


class TrialRun(LoopActor):
    """The life of one trial. Its listener hears the end, however it ends."""

    def __init__(self, tools: Tools, trial: Trial, source: Path) -> None:
        super().__init__()
        self._tools = tools
        self._trial = trial
        self._source = source
        self._work = Workdir(tools.runs / f"{trial.service}-trial-{next(_numbers)}")
        self._task: asyncio.Task[None] | None = None
        self._error: HensloweError | None = None

    def init(self) -> Continue:
        """Returns at once; the work is a task beside the mailbox, so that an exit signal is heard."""
        return Continue(None)

    def handle_continue(self, _arg: None) -> None:
        """Starts the work."""
        self._task = asyncio.ensure_future(self._whole())
        self._task.add_done_callback(lambda _: self.ref.send(None))

    def handle_info(self, _message: Any) -> Stop | None:
        """The work is done, or failed in a way that is not the sources' fault: then the actor crashes with it."""
        if self._task is not None and self._task.done():
            self._task.result()
            return Stop(NORMAL)
        return None

    async def terminate(self, _reason: Any) -> None:
        """Ends the stages, removes the folder, and says that there is no more."""
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            self._trial.listener.end(self._error)

    async def _whole(self) -> None:
        trial = self._trial
        try:
            snapshot = await in_thread(take_snapshot, self._source, self._work, self._tools.settings.watcher.ignore)
            prepared = await in_thread(understand, self._tools, trial.service, self._work, snapshot)
            await self._run(replace(prepared, stages=_chosen(prepared.stages, trial.stage)))
        except HensloweError as error:
            self._error = error
        finally:
            await in_thread(self._work.remove)

    async def _run(self, prepared: Prepared) -> None:
        trial, began_s = self._trial, time.monotonic()
        say = trial.listener.say
        names = [stage.name for stage in prepared.stages]
        say(EventType.PIPELINE_START, Status.PENDING, digest=prepared.snapshot.digest, stages=names)
        place = prepared.place(self._tools, self._work, self.ref)
        runner = StageRunner(self._tools, place, prepared, VersionKey(trial.service, 0), trial.listener)
        runner.replays = trial.replays
        try:
            reports, _ = await run_graph(prepared.stages, runner.run, _nothing)
        except StageFailed as error:
            say(
                EventType.PIPELINE_COMPLETE,
                Status.FAILED,
                stage=error.details.get("stage", ""),
                message=error.message,
                hint=error.hint,
                exit_code=error.details.get("exit_code", -1),
                duration_ms=_since_ms(began_s),
            )
            return
        say(
            EventType.PIPELINE_COMPLETE,
            Status.SUCCESS,
            duration_ms=_since_ms(began_s),
            cached=all(report.cached for report in reports.values()),
            stages={name: report.as_dict() for name, report in reports.items()},
        )


async def followed(
    start: Callable[[Listener], Awaitable[Ref]], service: ServiceName
) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a trial that `start` starts; leaving the iterator ends the trial with all its processes.

    Raises:
        HensloweError: It could not begin: no such sources, no such stage, a manifest that cannot be used.
    """
    listener = Listener(service)
    ref = await start(listener)
    try:
        while True:
            try:
                async with asyncio.timeout(ALIVE_S):
                    told = await listener.next()
            except TimeoutError:
                if not ref.is_alive():
                    raise Unavailable(f"cannot go on with the stages of {service}: the trial was ended") from None
                continue
            if told is None:
                return
            if isinstance(told, HensloweError):
                raise told
            yield told
    finally:
        with suppress(HensloweError):
            ref.exit(SHUTDOWN)


def _chosen(stages: tuple[PlannedStage, ...], name: str) -> tuple[PlannedStage, ...]:
    """The stage and what it needs, or all.

    Raises:
        NotFound: There is no such stage.
    """
    known = {stage.name: stage for stage in stages}
    if not name:
        return stages
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "a stage of your own is a table [stages.NAME] in service.toml"
        raise NotFound(f"expected a stage of {', '.join(known)}, got: {name!r}", hint=hint)
    wanted = {name, *upstream(known, name)}
    # A stage that only its neighbours need may fail for them; asked for by name it may not.
    return tuple(
        replace(stage, allow_failure=stage.allow_failure and stage.name != name)
        for stage in stages
        if stage.name in wanted
    )


async def _nothing() -> None:
    """A trial archives nothing."""


def _since_ms(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)
