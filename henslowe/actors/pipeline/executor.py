"""`PipelineExecutor`: at most one run per service, always about the newest state of its sources.

A newer change ends the run of the older one, with all its processes, before its own run begins; the older version is
reported as superseded. A run that dies of something that is not the sources' fault is tried again.

Runs are children of the supervisor named PIPELINE_RUNS, so that their crashes are nobody else's.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.endpoints import Connector
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.journal import say
from henslowe.actors.kernel import (
    NOREPLY,
    SHUTDOWN,
    ActorExit,
    CallTimeout,
    ChildSpec,
    Continue,
    Down,
    LoopActor,
    Ref,
    Reply,
    RestartType,
    StartChild,
    TerminateChild,
    WhichChildren,
    is_clean,
)
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import AnnounceSources, Rebuild, SourceChanged, SourceRemoved, VersionBroken
from henslowe.actors.pipeline import environment, release, workdir
from henslowe.actors.pipeline.run import VERSIONS_TIMEOUT_S, Job, PipelineRun
from henslowe.actors.pipeline.tools import Tools, in_thread
from henslowe.actors.pipeline.trial import Trial, TrialRun
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.settings import Settings
from henslowe.errors import HensloweError, LimitReached, NotFound
from henslowe.storage import Store

log = logging.getLogger("henslowe.pipeline")

RUNS_MAX: Final = 8
"""Runs at once on a node; their stages share `pipeline.parallel` slots anyway."""
TRIALS_MAX: Final = 4
"""Trials at once on a node."""
ATTEMPTS_MAX: Final = 3
"""After as many crashes of its runs a version is given up. Sources that could not even be copied or named never are:
what prevents it (a full disk, a declaration of the same name) is not theirs, and nobody may save them again."""
RETRY_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
"""From a crash to the next run; doubled each time."""
RUN_SHUTDOWN_S: Final = 10.0


@dataclass(slots=True)
class _Lane:
    """One service: what it looks like now, what runs, what comes next."""

    newest: SourceChanged | None = None
    running: Job | None = None
    ref: Ref | None = None
    ending: bool = False
    """Whether the run was told to end."""
    next: Job | None = None


@dataclass(slots=True, frozen=True)
class _Retry:
    job: Job


class PipelineExecutor(LoopActor):
    """Turns `SourceChanged` into runs.

    Args:
        store: For the archive and the data directory.
        settings: Of the node.
        connector: Opens servers for `mcp-check`.
        marker: `<node id>:<incarnation>`, put into every process for the sweep at the next boot.
    """

    def __init__(self, store: Store, settings: Settings, connector: Connector, *, marker: str = "") -> None:
        super().__init__()
        self._tools = Tools.of(store, settings, connector, marker)
        self._lanes: dict[ServiceName, _Lane] = {}
        self._trials: set[Ref] = set()

    # -- life ----------------

    def init(self) -> Continue:
        """The rest follows, so that the supervisor need not wait for it."""
        return Continue(None)

    async def handle_continue(self, _arg: None) -> None:
        """End what an earlier life left running, then ask for the state of all sources."""
        supervisor = await registry.via(names.PIPELINE_RUNS).up()
        for child in await supervisor.call(WhichChildren()):
            await supervisor.call(TerminateChild(child.ref), RUN_SHUTDOWN_S * 2)
        await in_thread(self._sweep)
        registry.via(names.WATCHER).cast(AnnounceSources())

    def _sweep(self) -> None:
        archive = self._tools.workspace / "archive"
        workdir.sweep(self._tools.runs)
        release.sweep(archive)
        environment.sweep(self._tools.envs, release.environments(archive), time.time())

    # -- messages ----------------

    async def handle_cast(self, message: Any) -> None:
        """`SourceChanged`, `SourceRemoved`."""
        match message:
            case SourceChanged():
                lane = self._lanes.setdefault(message.service, _Lane())
                lane.newest = message
                self._offer(lane, Job(message))
            case SourceRemoved(service):
                gone = self._lanes.get(service)
                if gone is not None:
                    if gone.next is not None:
                        gone.next.dismiss()
                    gone.newest = gone.next = None
                    self._end(gone)
            case _:
                raise TypeError(f"expected SourceChanged or SourceRemoved, got {type(message).__name__}")
        await self._start_more()

    async def handle_call(self, message: Any, sender: Reply) -> Any:
        """`Rebuild`: answered once the new version exists. `Trial`: once it is under way."""
        match message:
            case Rebuild():
                await self._rebuild(message, sender)
                return NOREPLY
            case Trial():
                return await self._try(message)
        raise TypeError(f"expected Rebuild or Trial, got {type(message).__name__}")

    async def _rebuild(self, message: Rebuild, sender: Reply) -> None:
        lane, newest = self._sources("rebuild", message.service)
        say(EventType.COMMAND, Status.INFO, service=message.service, command="build", by=message.by)
        self._offer(lane, Job(newest, force=True, by=message.by, sender=sender))
        await self._start_more()

    async def _try(self, trial: Trial) -> Ref:
        _, newest = self._sources("run", trial.service)
        if len(self._trials) >= TRIALS_MAX:
            raise LimitReached(
                f"cannot run {trial.service}: {TRIALS_MAX} trials are under way", hint="wait until one has ended"
            )
        command = {"command": "run", "stage": trial.stage or "all", "by": trial.by}
        say(EventType.COMMAND, Status.INFO, service=trial.service, **command)
        ref: Ref = await registry.via(names.PIPELINE_RUNS).call(StartChild(self._child(TrialRun, trial, newest.path)))
        self._trials.add(ref)
        self.monitor(ref)
        return ref

    def _sources(self, verb: str, service: ServiceName) -> tuple[_Lane, SourceChanged]:
        lane = self._lanes.get(service)
        if lane is None or lane.newest is None:
            raise NotFound(
                f"cannot {verb} {service}: there are no sources of that name", hint=f"make the folder dev/{service}"
            )
        return lane, lane.newest

    async def handle_info(self, message: Any) -> None:
        """A run ended; a run is to be tried again."""
        match message:
            case Down(ref=ref) if ref in self._trials:
                self._trials.discard(ref)
            case Down(ref=ref, reason=reason):
                for lane in [lane for lane in self._lanes.values() if lane.ref is ref]:
                    await self._ended(lane, reason)
            case _Retry(job):
                lane = self._lanes.get(job.change.service, _Lane())
                if lane.newest is job.change and lane.running is None and lane.next is None:
                    lane.next = job
        await self._start_more()

    # -- lanes ----------------

    def _offer(self, lane: _Lane, job: Job) -> None:
        """Make `job` the next one of its service, unless the present run is about the same state."""
        running = lane.running
        concluded = running is not None and running.concluded
        same = running is not None and running.is_about(job.change)
        if same and not (lane.ending or concluded or job.force):
            return
        if lane.next is not None:
            lane.next.dismiss()
        lane.next = job
        if not concluded:
            self._end(lane)

    def _end(self, lane: _Lane) -> None:
        if lane.ref is not None and not lane.ending:
            lane.ending = True
            lane.ref.exit(SHUTDOWN)

    async def _start_more(self) -> None:
        busy = sum(lane.running is not None for lane in self._lanes.values())
        for service, lane in tuple(self._lanes.items()):
            if busy >= RUNS_MAX:
                return
            if lane.next is not None and lane.running is None:
                busy += 1
                await self._start(lane)
            elif lane.newest is None and lane.running is None:
                del self._lanes[service]

    async def _start(self, lane: _Lane) -> None:
        job, lane.next = lane.next, None
        assert job is not None
        try:
            lane.ref = await registry.via(names.PIPELINE_RUNS).call(StartChild(self._child(PipelineRun, job)))
        except (ActorExit, CallTimeout, HensloweError) as error:
            log.warning("pipeline.start_failed", extra={"service": job.change.service, "error": str(error)})
            self._retry(job)
            return
        assert lane.ref is not None
        lane.running, lane.ending = job, False
        self.monitor(lane.ref)

    def _child(self, actor: type[LoopActor], *args: Any) -> ChildSpec:
        return ChildSpec(
            id=None,
            actor=actor,
            args=(self._tools, *args),
            restart=RestartType.TEMPORARY,
            shutdown_s=RUN_SHUTDOWN_S,
        )

    async def _ended(self, lane: _Lane, reason: Any) -> None:
        job, lane.running, lane.ref = lane.running, None, None
        ended, lane.ending = lane.ending, False
        assert job is not None
        if job.version is not None and not job.reported:
            await self._report(job.version, superseded=ended, reason=reason)
        if not is_clean(reason):
            log.error("pipeline.run_crashed", extra={"service": job.change.service, "reason": repr(reason)})
            if job.version is None and job.attempt <= ATTEMPTS_MAX:
                _say_not_begun(job, reason)
            if not ended:
                self._retry(job)
                return
        job.dismiss()

    async def _report(self, version: VersionKey, *, superseded: bool, reason: Any) -> None:
        why = "a newer change replaced it" if superseded else f"the run ended: {reason!r}"
        status = Status.CANCELLED if superseded else Status.FAILED
        say(EventType.PIPELINE_COMPLETE, status, key=version, stage="pipeline", message=why)
        try:
            await registry.via(names.VERSIONS).call(
                VersionBroken(version, "pipeline", why, superseded=superseded), VERSIONS_TIMEOUT_S
            )
        except (ActorExit, CallTimeout, HensloweError) as error:
            # the version machine finds a version without a run at its next start
            log.warning("pipeline.report_failed", extra={"version": str(version), "error": str(error)})

    def _retry(self, job: Job) -> None:
        if job.attempt >= ATTEMPTS_MAX:
            job.dismiss()
            if job.version is not None:
                return
        again = replace(job, attempt=job.attempt + 1, copied="", version=None, concluded=False, reported=False)
        self.send_after(min(RETRY_MAX_S, RETRY_S * 2.0 ** min(job.attempt - 1, 16)), _Retry(again))


def _say_not_begun(job: Job, reason: Any) -> None:
    """There is no version that could say it."""
    say(
        EventType.PIPELINE_COMPLETE,
        Status.FAILED,
        service=job.change.service,
        stage="pipeline",
        message=f"cannot begin: {reason}",
        hint=getattr(reason, "hint", "") or "it is tried again; see `henslowe doctor`",
        attempt=job.attempt,
    )
