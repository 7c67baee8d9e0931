"""What is known of a service before a stage runs: its manifest, its environment, its stages. Blocking."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import Ref
from henslowe.actors.pipeline.commands import Place
from henslowe.actors.pipeline.environment import ServiceEnv, service_env
from henslowe.actors.pipeline.plan import DEPS, Kind, PlannedStage, plan_stages
from henslowe.actors.pipeline.tools import Tools
from henslowe.actors.pipeline.workdir import Snapshot, Workdir
from henslowe.actors.sources import content_digest
from henslowe.config.inference import Dependencies
from henslowe.config.manifest import SERVICE_FILE, Delivery, ServiceManifest, read_manifest


@dataclass(slots=True, frozen=True)
class Prepared:
    """A copy of the sources, understood."""

    snapshot: Snapshot
    manifest: ServiceManifest
    env: ServiceEnv
    stages: tuple[PlannedStage, ...]

    def place(self, tools: Tools, work: Workdir, owner: Ref) -> Place:
        """Where its commands work; they end with `owner`."""
        return Place(
            work,
            self.env,
            owner,
            tools.marker,
            self.manifest.inferred.env,
            tools.cage,
            tools.limits,
            tools.secrets,
        )


def understand(tools: Tools, service: ServiceName, work: Workdir, snapshot: Snapshot) -> Prepared:
    """Read a copy of the sources.

    Raises:
        ManifestError: What they say of themselves cannot be used.
    """
    pipeline = tools.settings.pipeline
    manifest = read_manifest(work.src, service)
    stages = plan_stages(manifest, timeout_s=pipeline.stage_timeout_s)
    inferred = manifest.inferred
    if not any(stage.name == DEPS and stage.kind is Kind.DEPS for stage in stages):
        inferred = inferred.model_copy(update={"dependencies": Dependencies()})
    return Prepared(
        _built_of(snapshot, manifest), manifest, service_env(inferred, work.src, tools.envs, pipeline.python), stages
    )


def _built_of(snapshot: Snapshot, manifest: ServiceManifest) -> Snapshot:
    """The copy as a build sees it: of `service.toml` counts what touches the build, and not how it is shipped.

    So an edit of a threshold is no change of the sources: no stage runs for it, and no version is made.
    """
    building = manifest.model_dump_json(exclude=set(Delivery.model_fields))
    files = {**snapshot.files, SERVICE_FILE: hashlib.sha256(building.encode()).hexdigest()}
    return Snapshot(files, content_digest(files.items()))
