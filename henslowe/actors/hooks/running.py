"""Runs one hook once: a command in a cage, a POST, or an interceptor. What became of it is an outcome, not an error.

A command runs as a stage of the pipeline does: caged, with a time limit and limits on what it uses, and nothing of it
outlives it. It may write into a folder of its own, which is gone afterwards. A hook of a `service.toml` runs in the
folder of its version, with the tools of its environment; one of the node in the workspace.

Not here: what is run when, and what follows (`keeper`); HTTP (`Poster`, which `henslowe.transport.webhooks` is).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from henslowe.actors.hooks.plan import kind_of
from henslowe.actors.hooks.rows import HookRow, Origin
from henslowe.actors.hooks.signing import headers_of
from henslowe.actors.interceptors import Interceptors, Kind, Operation
from henslowe.actors.kernel import Ref
from henslowe.actors.launch import Resolve
from henslowe.actors.pipeline.commands import Place, run_command
from henslowe.actors.pipeline.environment import ServiceEnv
from henslowe.actors.pipeline.guard import Limits
from henslowe.actors.pipeline.isolation import Cage, achieved
from henslowe.actors.pipeline.output import StageOutput
from henslowe.actors.pipeline.telling import Journal
from henslowe.actors.pipeline.workdir import Workdir
from henslowe.actors.versions.rows import VersionRow
from henslowe.config.hooks import HookBase
from henslowe.config.settings import PipelineSettings, Settings
from henslowe.errors import HensloweError, Unavailable
from henslowe.storage import Store

OUTPUT_CHARS_MAX: Final = 4_000
TRY_AGAIN: Final = frozenset({408, 425, 429})
"""Beside 5xx, answers that say "later" rather than "no"."""


@dataclass(slots=True, frozen=True)
class Answer:
    """What a receiver of a webhook said."""

    status: int
    text: str
    """The beginning of the body."""


class Poster(Protocol):
    """Posts to receivers of webhooks: the port to HTTP."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, private: bool
    ) -> Answer:
        """One POST, without following redirects. `private`: whether loopback and private addresses may be reached.

        Raises:
            Forbidden: The address is one that may not be reached.
            Unavailable: It could not be reached, or did not answer within `timeout_s`.
        """
        ...


@dataclass(slots=True, frozen=True)
class Outcome:
    """How one run of a hook went."""

    ok: bool
    reason: str = ""
    output: str = ""
    again: bool = False
    """Whether another try may go better."""


@dataclass(slots=True, frozen=True, kw_only=True)
class Surroundings:
    """What all hooks share."""

    workspace: Path
    data_dir: Path
    pipeline: PipelineSettings
    cage: Cage
    limits: Limits
    marker: str
    secrets: Resolve
    poster: Poster
    interceptors: Interceptors
    now_s: Callable[[], float] = field(default=time.time)

    @property
    def runs(self) -> Path:
        """Where commands have their folders: not among the pipeline's, which sweeps those whenever it starts."""
        return self.data_dir / "hook-runs"

    @classmethod
    def of(
        cls, store: Store, settings: Settings, poster: Poster, interceptors: Interceptors, *, marker: str
    ) -> Surroundings:
        """Those of a node: hooks are caged and limited as the stages of its pipeline are.

        Raises:
            ConfigError: The isolation that is asked for does not work here.
        """
        pipeline, data_dir = settings.pipeline, store.data_dir.resolve()
        return cls(
            workspace=settings.workspace.resolve(),
            data_dir=data_dir,
            pipeline=pipeline,
            cage=Cage(achieved(pipeline.isolation), data_dir, (data_dir / "envs",), pipeline.processes_max),
            limits=Limits(pipeline.processes_max, pipeline.run_mib_max << 20, pipeline.free_mib_min << 20),
            marker=marker,
            secrets=store.secrets.resolve,
            poster=poster,
            interceptors=interceptors,
        )


class HookRunner:
    """Runs hooks.

    Args:
        around: What all of them share.
        version_of: The version that a row is about, if there still is one.
        owner: The actor with which the commands end.
    """

    def __init__(self, around: Surroundings, version_of: Callable[[HookRow], VersionRow | None], owner: Ref) -> None:
        self._around = around
        self._version_of = version_of
        self._owner = owner

    async def run(self, row: HookRow) -> Outcome:
        """Run a hook once."""
        try:
            if row.spec is None:
                return await self._intercept(row)
            body = json.dumps({**row.facts, "attempt": row.attempts + 1}, default=str).encode()
            if row.spec.url:
                return await self._post(row, row.spec, body)
            return await self._command(row, row.spec, body)
        except (HensloweError, OSError) as error:
            return Outcome(ok=False, reason=getattr(error, "message", "") or str(error))

    async def _intercept(self, row: HookRow) -> Outcome:
        version = self._version_of(row)
        kind = kind_of(version) if version is not None else Kind.DEPLOY
        call = self._around.interceptors.ask if row.gate else self._around.interceptors.tell
        await call(row.name, Operation(kind, row.service, row.version, row.facts))
        return Outcome(ok=True)

    async def _post(self, row: HookRow, spec: HookBase, body: bytes) -> Outcome:
        around = self._around
        secret = around.secrets({"secret": spec.secret})["secret"] if spec.secret else ""
        headers = headers_of(row.id, body, around.now_s(), secret)
        private = row.origin is not Origin.SERVICE
        try:
            answer = await around.poster.post(spec.url, body, headers, timeout_s=spec.timeout_s, private=private)
        except Unavailable as error:
            return Outcome(ok=False, reason=error.message, again=True)
        output = answer.text[:OUTPUT_CHARS_MAX]
        if 200 <= answer.status < 300:
            return Outcome(ok=True, output=output)
        later = answer.status in TRY_AGAIN or answer.status >= 500
        return Outcome(ok=False, reason=f"expected an answer of 2xx, got {answer.status}", output=output, again=later)

    async def _command(self, row: HookRow, spec: HookBase, body: bytes) -> Outcome:
        around, version = self._around, self._version_of(row)
        work = Workdir(around.runs / _flat(row.id))
        folder = around.workspace
        if row.origin is Origin.SERVICE:
            archived = around.workspace / "archive" / row.service / (version.folder if version is not None else "")
            folder = archived if version is not None and version.folder and archived.is_dir() else work.src
        await asyncio.to_thread(_make, work)
        output = StageOutput(
            lambda lines: Journal(row.key).lines(f"hook:{row.name}", lines),
            lines_max=around.pipeline.output_lines_max,
            bytes_max=around.pipeline.output_bytes_max,
            line_bytes_max=around.pipeline.output_line_bytes_max,
        )
        place = Place(
            work=work,
            env=_environment(around.data_dir / "envs", version if row.origin is Origin.SERVICE else None),
            owner=self._owner,
            marker=around.marker,
            variables={},
            cage=around.cage,
            limits=around.limits,
        )
        try:
            code = await run_command(
                place,
                spec.command,
                output,
                timeout_s=spec.timeout_s,
                env=around.secrets(spec.env),
                cwd=folder,
                given=body + b"\n",
            )
        finally:
            output.close()
            await asyncio.to_thread(work.remove)
        said = output.excerpt()[-OUTPUT_CHARS_MAX:]
        if code == 0:
            return Outcome(ok=True, output=said)
        ended = f"exit code {code}" if code > 0 else f"signal {-code}"
        return Outcome(ok=False, reason=f"expected exit code 0, got {ended}", output=said)


def _make(work: Workdir) -> None:
    work.remove()
    for folder in (work.src, work.home, work.tmp):
        folder.mkdir(parents=True)


def _environment(envs: Path, version: VersionRow | None) -> ServiceEnv:
    """The tools of the version's environment; the node's own where it has none, or has lost it."""
    root = envs / version.env_digest if version is not None and version.env_digest else None
    if root is None or not root.is_dir():
        return ServiceEnv(digest="", python=sys.executable)
    own, modules = root / "bin" / "python", root / "node_modules"
    return ServiceEnv(
        digest=root.name,
        python=str(own) if own.exists() else sys.executable,
        root=root,
        node_modules=modules if modules.is_dir() else None,
    )


def _flat(id_: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in id_)
