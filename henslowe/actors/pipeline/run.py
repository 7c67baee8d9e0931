"""One run of the pipeline: from a settled state of the sources to a staged version, or to the reason why not.

    copy the sources -> manifest -> CreateVersion -> stages, as parallel as their needs allow -> VersionBuilt
                                                     the archive, beside the stages              or VersionBroken

The first failure ends the other stages. The run is a coroutine; `PipelineRun` gives it an actor's life: started by a
supervisor, ended by an exit signal, its processes ended with it.

Not here: one run per service at a time, and what happens to a run that dies (`executor`).
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.ids import VersionKey
from henslowe.actors.journal import say
from henslowe.actors.kernel import NORMAL, Continue, LoopActor, Reply, Stop
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    Created,
    CreateVersion,
    NameVersion,
    OnBreak,
    SourceChanged,
    Strategy,
    VersionBroken,
    VersionBuilt,
)
from henslowe.actors.pipeline import facts, kept
from henslowe.actors.pipeline import release as releases
from henslowe.actors.pipeline.graph import ARCHIVE, run_graph
from henslowe.actors.pipeline.launching import launch_spec
from henslowe.actors.pipeline.mcp_check import Checked
from henslowe.actors.pipeline.preparing import Prepared, understand
from henslowe.actors.pipeline.resolving import made_exact
from henslowe.actors.pipeline.stages import StageReport, StageRunner
from henslowe.actors.pipeline.telling import Journal
from henslowe.actors.pipeline.tools import Tools, in_thread
from henslowe.actors.pipeline.workdir import Snapshot, Workdir, take_snapshot
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.manifest import ServiceManifest
from henslowe.errors import HensloweError, ManifestError, NotFound, StageFailed

VERSIONS_TIMEOUT_S: Final = 30.0
REASON_CHARS_MAX: Final = 4_000

_numbers = itertools.count(1)
_DONE: Final = "done"


@dataclass(slots=True)
class Job:
    """One run as the executor sees it: what it is about, and how far it came."""

    change: SourceChanged
    force: bool = False
    by: str = ""
    """Who asked for it by name."""
    attempt: int = 1
    sender: Reply | None = None
    """Who waits for the version's key."""
    copied: str = ""
    """Digest of what was really copied; an edit may have come between the change and the copy."""
    version: VersionKey | None = None
    """Set once the version exists."""
    concluded: bool = False
    """Whether the result stands: only the report and the tidying are left."""
    reported: bool = False
    """Whether the version machine was told how it ended."""

    def is_about(self, change: SourceChanged) -> bool:
        """Whether this run builds the state that `change` tells of."""
        return (self.copied or self.change.digest) == change.digest

    def answer(self, version: VersionKey) -> None:
        """Tell whoever waits which version this is."""
        if self.sender is not None and not self.sender.done():
            self.sender.set(version)

    def dismiss(self) -> None:
        """Tell whoever still waits that nothing will come of this job."""
        if self.sender is not None and not self.sender.done():
            service = self.change.service
            self.sender.set_exception(StageFailed(f"cannot rebuild {service}: a newer change came first"))


class PipelineRun(LoopActor):
    """The life of one run. Ends cleanly when the run has ended, however it ended."""

    def __init__(self, tools: Tools, job: Job) -> None:
        super().__init__()
        self._run = _Run(tools, job, self)
        self._task: asyncio.Task[None] | None = None

    def init(self) -> Continue:
        """Returns at once; the work is a task beside the mailbox, so that an exit signal is heard."""
        return Continue(None)

    def handle_continue(self, _arg: None) -> None:
        """Starts the work."""
        self._task = asyncio.ensure_future(self._run.whole())
        self._task.add_done_callback(lambda _: self.ref.send(_DONE))

    def handle_info(self, message: Any) -> Stop | None:
        """The work is done, or failed in a way that is not the sources' fault: then the actor crashes with it."""
        if message == _DONE and self._task is not None:
            self._task.result()
            return Stop(NORMAL)
        return None

    async def terminate(self, _reason: Any) -> None:
        """Ends the stages and removes the run's folder."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class _Run:
    def __init__(self, tools: Tools, job: Job, actor: PipelineRun) -> None:
        self._tools = tools
        self._job = job
        self._actor = actor
        self._service = job.change.service
        self._work = Workdir(tools.runs / f"{self._service}-{next(_numbers)}")
        self._started_s = time.monotonic()
        self._resolved: dict[str, Any] = {}

    async def whole(self) -> None:
        """The run, from the copy to the report."""
        try:
            prepared = await self._prepare()
            if prepared is not None:
                await self._build(prepared)
        finally:
            await in_thread(self._tidy)

    def _tidy(self) -> None:
        self._work.remove()
        if self._job.version is not None:
            releases.discard(self._tools.versions_of(self._service), self._job.version)

    # -- before there is a version ----------------

    async def _prepare(self) -> Prepared | None:
        """Everything that is known before a stage runs; None when there is nothing to do."""
        source, ignore = self._job.change.path, self._tools.settings.watcher.ignore
        try:
            snapshot = await in_thread(take_snapshot, source, self._work, ignore)
        except NotFound:
            return None  # removed since: the watcher tells
        self._job.copied = snapshot.digest
        try:
            prepared = await in_thread(understand, self._tools, self._service, self._work, snapshot)
        except ManifestError as error:
            await self._refuse(snapshot, error)
            return None
        manifest = prepared.manifest
        if not await self._create(self._said_by(manifest, prepared.snapshot.digest)):
            return None
        say(EventType.MANIFEST_CHECK, Status.SUCCESS, key=self._version, origin=manifest.origin)
        return prepared

    def _said_by(self, manifest: ServiceManifest, digest: str) -> CreateVersion:
        delivery = self._tools.settings.delivery
        percent = delivery.canary_percent if manifest.canary_percent is None else manifest.canary_percent
        return CreateVersion(
            self._service,
            digest,
            Strategy(manifest.strategy_of(delivery)),
            round(percent * 100),
            force=self._job.force,
            plan=manifest.plan_of(delivery),
            hooks=manifest.hooks,
            exposure=manifest.exposed(delivery),
            health=manifest.health,
            scale=manifest.scale,
        )

    async def _create(self, message: CreateVersion) -> bool:
        """Whether there is a new version to build."""
        created: Created = await registry.via(names.VERSIONS).call(message, VERSIONS_TIMEOUT_S)
        self._job.answer(created.version)
        if created.unchanged and not self._job.force:
            return False
        self._job.version = created.version
        return True

    async def _refuse(self, snapshot: Snapshot, error: ManifestError) -> None:
        unusable = CreateVersion(self._service, snapshot.digest, Strategy.AUTO, 0, force=self._job.force, refused=True)
        if not await self._create(unusable):
            return
        say(
            EventType.MANIFEST_CHECK,
            Status.FAILED,
            key=self._version,
            message=error.message,
            hint=error.hint,
            file=error.details.get("file", ""),
            manifest_key=error.details.get("key", ""),
        )
        await self._broken("manifest", error)

    # -- the version ----------------

    @property
    def _version(self) -> VersionKey:
        assert self._job.version is not None
        return self._job.version

    async def _build(self, prepared: Prepared) -> None:
        say(
            EventType.PIPELINE_START,
            Status.PENDING,
            key=self._version,
            digest=prepared.snapshot.digest,
            stages=[stage.name for stage in prepared.stages],
            changed=list(self._job.change.changed),
        )
        place = prepared.place(self._tools, self._work, self._actor.ref)
        prepared, self._resolved = await made_exact(prepared, place)
        runner = StageRunner(self._tools, place, prepared, self._version, Journal(self._version))
        if self._job.force:
            runner.replays = False
        try:
            reports, staged = await run_graph(prepared.stages, runner.run, self._stage_archive)
        except StageFailed as error:
            known = await self._facts(prepared, runner.reports)
            await self._broken(str(error.details.get("stage", "pipeline")), error, known)
            return
        await self._built(prepared, reports, staged, runner.checked)

    async def _stage_archive(self) -> releases.Staged:
        folder = self._tools.versions_of(self._service)
        try:
            return await in_thread(releases.stage, self._tools.archive, self._work.pack, folder, self._version)
        except HensloweError as error:
            raise StageFailed(error.message, hint=error.hint, stage=ARCHIVE) from error

    async def _facts(self, prepared: Prepared, reports: Mapping[str, StageReport]) -> dict[str, Any]:
        job, tools = self._job, self._tools
        reported = await in_thread(kept.put, tools.archive, self._work.kept)
        return {
            **facts.origin(self._version, by=job.by, changed=job.change.changed),
            **facts.course(prepared, reports, isolation=tools.cage.level.value, kept=reported),
            **({"resolved": self._resolved} if self._resolved else {}),
        }

    async def _built(
        self,
        prepared: Prepared,
        reports: dict[str, StageReport],
        staged: releases.Staged,
        checked: Checked | None,
    ) -> None:
        assert checked is not None
        manifest = prepared.manifest
        metadata = {**await self._facts(prepared, reports), **facts.offer(checked)}
        versions = registry.via(names.VERSIONS)
        semver = await versions.call(NameVersion(self._version, manifest.version, staged.build), VERSIONS_TIMEOUT_S)
        modules = prepared.env.node_modules
        folder = await in_thread(
            functools.partial(releases.release, staged, semver, facts=dict(metadata), modules=modules)
        )
        metadata["root"] = str(folder)
        say(
            EventType.ARCHIVE_COMPLETE,
            Status.SUCCESS,
            key=self._version,
            build=staged.build,
            semver=semver,
            path=str(folder),
        )
        built = VersionBuilt(
            version=self._version,
            build=staged.build,
            semver=semver,
            launch=launch_spec(manifest, prepared.env),
            contract=checked.contract,
            env_digest=prepared.env.digest,
            metadata=metadata,
            on_break=OnBreak(manifest.on_break or self._tools.settings.delivery.on_break),
            health=manifest.health,
            scale=manifest.scale,
        )
        say(
            EventType.PIPELINE_COMPLETE,
            Status.SUCCESS,
            key=self._version,
            duration_ms=self._elapsed_ms(),
            cached=all(report.cached for report in reports.values()),
        )
        self._job.concluded = True
        await versions.call(built, VERSIONS_TIMEOUT_S)
        self._job.reported = True

    async def _broken(self, stage: str, error: HensloweError, known: Mapping[str, Any] | None = None) -> None:
        excerpt = str(error.details.get("excerpt", ""))
        hint = error.hint and f"hint: {error.hint}"
        # Of the excerpt the last lines count, and it gives way to the hint.
        room = max(1, REASON_CHARS_MAX - len(error.message) - len(hint) - 2)
        reason = "\n".join(part for part in (error.message, excerpt[-room:], hint) if part)
        say(
            EventType.PIPELINE_COMPLETE,
            Status.FAILED,
            key=self._version,
            stage=stage,
            message=error.message,
            duration_ms=self._elapsed_ms(),
        )
        self._job.concluded = True
        await registry.via(names.VERSIONS).call(
            VersionBroken(self._version, stage, reason[:REASON_CHARS_MAX], metadata=dict(known or {})),
            VERSIONS_TIMEOUT_S,
        )
        self._job.reported = True

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started_s) * 1000)
