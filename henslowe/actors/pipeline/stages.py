"""Runs one stage of one run: from the cache if it can be, else for real; says START and COMPLETE in any case."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from henslowe.actors.endpoints import Era
from henslowe.actors.ids import VersionKey
from henslowe.actors.launch import LaunchSpec, Wire
from henslowe.actors.pipeline import environment, kept, locking
from henslowe.actors.pipeline.advice import advice
from henslowe.actors.pipeline.commands import Place, run_command
from henslowe.actors.pipeline.environment import identity_of
from henslowe.actors.pipeline.isolation import Level
from henslowe.actors.pipeline.launching import launch_spec
from henslowe.actors.pipeline.mcp_check import Checked, check_server, greets, summary
from henslowe.actors.pipeline.output import StageOutput
from henslowe.actors.pipeline.plan import Kind, PlannedStage
from henslowe.actors.pipeline.preparing import Prepared
from henslowe.actors.pipeline.reports import Findings
from henslowe.actors.pipeline.stage_cache import Remembered, stage_key
from henslowe.actors.pipeline.telling import Teller
from henslowe.actors.pipeline.tools import Tools, in_thread
from henslowe.actors.pipeline.workdir import add_artifacts
from henslowe.actors.vocabulary import EventType, Status, stage_events
from henslowe.errors import HensloweError, StageFailed

NOTHING: Final = Findings()


@dataclass(slots=True, frozen=True)
class StageReport:
    """How a stage ended."""

    status: Status
    duration_ms: int
    cached: bool = False
    exit_code: int = 0
    key: str = ""
    message: str = ""
    findings: Findings = NOTHING
    """What its reports say."""

    def as_dict(self) -> dict[str, Any]:
        """For the version's metadata."""
        head = {"status": self.status.value, "duration_ms": self.duration_ms, "cached": self.cached}
        return head | self.findings.as_dict()


class StageRunner:
    """Runs the stages of one run. `replays`: whether cached stages may stand in for real ones."""

    def __init__(
        self,
        tools: Tools,
        place: Place,
        prepared: Prepared,
        version: VersionKey,
        teller: Teller,
    ) -> None:
        self._tools = tools
        self._place = place
        self._manifest = prepared.manifest
        self._version = version
        self._files = prepared.snapshot.files
        self._teller = teller
        self.replays = True
        self.checked: Checked | None = None
        """What `mcp-check` found."""
        self.reports: dict[str, StageReport] = {}
        """Of all stages that have ended, also badly."""

    async def run(self, stage: PlannedStage, done: Mapping[str, StageReport]) -> StageReport:
        """Run a stage whose needs are `done`.

        Raises:
            StageFailed: It failed and may not; `details` has `stage` and `excerpt`.
        """
        async with self._tools.slots:
            started, completed = stage_events(stage.name)
            self._teller.say(started, Status.PENDING, stage=stage.name)
            began_s = time.monotonic()
            output = StageOutput(
                lambda lines: self._teller.lines(stage.name, lines),
                lines_max=self._tools.settings.pipeline.output_lines_max,
                bytes_max=self._tools.settings.pipeline.output_bytes_max,
                line_bytes_max=self._tools.settings.pipeline.output_line_bytes_max,
            )
            failure: HensloweError | None = None
            try:
                try:
                    report = await self._replayed_or_run(stage, done, output)
                except HensloweError as error:
                    failure, report = error, await self._failed(stage, error, output, began_s)
            except asyncio.CancelledError:
                output.close()
                self._teller.say(completed, Status.CANCELLED, stage=stage.name, duration_ms=_since_ms(began_s))
                raise
            output.close()
            self.reports[stage.name] = report
            if failure is not None:
                return self._broken(stage, completed, report, failure, output)
            self._teller.say(
                completed,
                Status.SUCCESS,
                stage=stage.name,
                duration_ms=report.duration_ms,
                cached=report.cached,
                exit_code=report.exit_code,
                **report.findings.as_dict(),
            )
            return report

    async def _failed(
        self, stage: PlannedStage, error: HensloweError, output: StageOutput, began_s: float
    ) -> StageReport:
        return StageReport(
            Status.FAILED,
            _since_ms(began_s),
            exit_code=int(error.details.get("exit_code", -1)),
            message=error.message,
            findings=await self._findings(stage, output),
        )

    def _broken(
        self, stage: PlannedStage, completed: EventType, report: StageReport, error: HensloweError, output: StageOutput
    ) -> StageReport:
        excerpt = output.excerpt()
        caged = self._place.cage.level is not Level.NONE
        hint = advice(excerpt, self._files, caged=caged) or error.hint
        self._teller.say(
            completed,
            Status.FAILED,
            stage=stage.name,
            duration_ms=report.duration_ms,
            message=error.message,
            hint=hint,
            excerpt=excerpt,
            exit_code=report.exit_code,
            allowed=stage.allow_failure,
            **report.findings.as_dict(),
        )
        if stage.allow_failure:
            return report
        raise StageFailed(
            error.message, hint=hint, stage=stage.name, excerpt=excerpt, exit_code=report.exit_code
        ) from error

    async def _replayed_or_run(
        self, stage: PlannedStage, done: Mapping[str, StageReport], output: StageOutput
    ) -> StageReport:
        began_s = time.monotonic()
        key = await in_thread(self._key, stage, done)
        if key and self.replays:
            found = await in_thread(self._tools.cache.load, key, self._place.work, stage.name)
            if found is not None and self._accept(stage, found):
                for channel, text in found.lines:
                    output.add(channel, text)
                findings = NOTHING if stage.kind is Kind.MCP_CHECK else Findings.from_dict(found.result or {})
                return StageReport(Status.SUCCESS, _since_ms(began_s), cached=True, key=key, findings=findings)
        if stage.kind is Kind.DEPS:
            cached = await self._make_environment(stage, output)
            return StageReport(Status.SUCCESS, _since_ms(began_s), cached=cached)
        result: dict[str, Any] | None = None
        code = 0
        if stage.kind is Kind.MCP_CHECK:
            self.checked = await self._check(stage, output)
            result = asdict(self.checked)
        else:
            code = await self._command(stage, output)
        findings = await self._findings(stage, output)
        artifacts = await in_thread(self._collect, stage) if stage.artifacts else ""
        duration_ms = _since_ms(began_s)
        if key:
            reports = ""
            if stage.reports.globs:
                result = findings.as_dict()
                reports = await in_thread(kept.put, self._tools.archive, self._place.work.kept / stage.name)
            found = Remembered(duration_ms, tuple(output.kept), artifacts, result, reports)
            await in_thread(self._tools.cache.save, key, found)
        return StageReport(Status.SUCCESS, duration_ms, exit_code=code, key=key, findings=findings)

    def _key(self, stage: PlannedStage, done: Mapping[str, StageReport]) -> str:
        """The cache's key; "" when this stage, or one before it, cannot be remembered."""
        if not stage.cache or stage.kind is Kind.DEPS:
            return ""
        program = ""
        if stage.kind is Kind.MCP_CHECK:
            launch = launch_spec(self._manifest, self._place.env)
            examples = json.dumps([example.model_dump(mode="json") for example in self._manifest.examples])
            command = (launch.wire.value, launch.url, *launch.command, examples)
            stage = replace(stage, command=command, env=launch.env)
            if launch.remote:
                return ""
            program = identity_of(launch.command[0])
        elif stage.command:
            program = identity_of(self._place.resolve(stage.command[:1])[0])
        return stage_key(
            stage,
            self._files,
            environment=self._place.env.digest,
            program=program,
            before={need: done[need].key for need in stage.needs if need in done},
        )

    def _accept(self, stage: PlannedStage, found: Remembered) -> bool:
        """Take over what a built-in stage had found; False when it is not in the entry."""
        if stage.kind is not Kind.MCP_CHECK:
            return True
        if found.result is None:
            return False
        self.checked = Checked.from_dict(found.result)
        return True

    async def _command(self, stage: PlannedStage, output: StageOutput) -> int:
        code = await run_command(self._place, stage.command, output, timeout_s=stage.timeout_s, env=stage.env)
        if code not in stage.good_codes:
            ended = f"exit code {code}" if code >= 0 else f"signal {-code}"
            raise StageFailed(f"{stage.name} failed with {ended}", exit_code=code)
        return code

    async def _check(self, stage: PlannedStage, output: StageOutput) -> Checked:
        launch = launch_spec(self._manifest, self._place.env)
        try:
            async with asyncio.timeout(stage.timeout_s):
                checked = await check_server(
                    self._place, self._tools.connector, self._version, launch, output, examples=self._manifest.examples
                )
                checked = await self._with_other_era(stage, launch, checked)
        except TimeoutError:
            raise StageFailed(f"expected an end within {stage.timeout_s:g} s, got none; it was killed") from None
        output.add("note", summary(checked))
        return checked

    async def _with_other_era(self, stage: PlannedStage, launch: LaunchSpec, checked: Checked) -> Checked:
        """Add the handshake era, if a modern server speaks that too.

        It depends on the SDK, and costs another start: it is tried once per environment and command. A server that was
        found legacy had been asked in the modern way before.
        """
        if checked.era != Era.MODERN.value or launch.wire is not Wire.STDIO:
            return checked
        question = replace(stage, name="eras", command=launch.command, inputs=("-",))
        key = stage_key(question, {}, environment=self._place.env.digest, program="", before={})
        known = await in_thread(self._tools.cache.load, key, self._place.work)
        if known is None or known.result is None:
            known = Remembered(0, result={"legacy": await greets(self._place, launch)})
            await in_thread(self._tools.cache.save, key, known)
        assert known.result is not None
        return replace(checked, eras=(Era.LEGACY.value, Era.MODERN.value)) if known.result["legacy"] else checked

    async def _make_environment(self, stage: PlannedStage, output: StageOutput) -> bool:
        """Whether it was there already."""
        env, wants = self._place.env, self._manifest.inferred.dependencies
        async with self._tools.env_lock(env.digest):
            was_complete = env.is_complete
            if was_complete:
                await in_thread(environment.touch, env)
            else:
                variables = await in_thread(environment.prepare, env, self._place.work.src, wants)
                for step in env.steps:
                    code = await run_command(
                        self._place,
                        step,
                        output,
                        timeout_s=stage.timeout_s,
                        env={**variables, **stage.env},
                        writable=await in_thread(environment.installer_folders, env, variables),
                    )
                    if code != 0:
                        lines = (text for _, text in output.kept)
                        raise locking.failure(wants, env.lock, step[0].rpartition("/")[2], code, lines)
                await in_thread(environment.complete, env, {name: self._files[name] for name in wants.files})
        if env.node_modules is not None:
            with suppress(FileExistsError):
                (self._place.work.src / "node_modules").symlink_to(env.node_modules)
        return was_complete

    async def _findings(self, stage: PlannedStage, output: StageOutput) -> Findings:
        """What the stage's reports say, which are kept."""
        if not stage.reports.globs:
            return NOTHING
        findings, notes = await in_thread(kept.collect, self._place.work, stage.name, stage.reports)
        for note in notes:
            output.add("note", note)
        return findings

    def _collect(self, stage: PlannedStage) -> str:
        """Copy a stage's artifacts to the pack, and remember them as a build of their own."""
        made = set(add_artifacts(self._place.work, stage.artifacts))
        folders = {path[: end + 1] for path in made for end in range(len(path)) if path[end] == "/"}

        def other(path: str) -> bool:
            return path not in (folders if path.endswith("/") else made)

        return self._tools.archive.put(self._place.work.pack, other).build_id


def _since_ms(began_s: float) -> int:
    return round((time.monotonic() - began_s) * 1000)
