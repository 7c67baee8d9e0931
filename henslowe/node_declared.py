"""The services that no folder of the workspace holds: declared in the configuration, or brought by extensions."""

from __future__ import annotations

from collections.abc import Mapping

from henslowe.actors import names
from henslowe.actors.ids import service_name
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec, Wire
from henslowe.actors.messages import DeclareService, RetireService
from henslowe.actors.pipeline import packages
from henslowe.actors.versions import SERVICES, Kind
from henslowe.config.settings import DeclaredService, Settings
from henslowe.node_extensions import ToolService
from henslowe.storage import Store

DECLARE_S = 60.0
"""Longest wait for one declaration: the version machine first lays out and starts what served in the last life."""


async def declare(store: Store, settings: Settings, tools: Mapping[str, ToolService]) -> None:
    """Make the declared services those of the configuration and of the tools that extensions bring.

    New and changed ones are started, missing ones retired.
    """
    versions = registry.via(names.VERSIONS)
    for name, service in settings.services.items():
        alone = not (settings.workspace / "dev" / name).exists()
        launch, resolved = launch_of(service), packages.as_written(service.command)
        metadata = {"resolved": resolved} if resolved else {}
        declared = DeclareService(service_name(name), launch, takes_over=alone, metadata=metadata)
        await versions.call(declared, DECLARE_S)
    for name, tool in tools.items():
        await versions.call(DeclareService(service_name(name), tool.launch, tool.semver), DECLARE_S)
    for row in list(store.table(SERVICES).rows()):
        if row.kind is Kind.DECLARED and row.service not in settings.services and row.service not in tools:
            await versions.call(RetireService(row.service), DECLARE_S)


def launch_of(service: DeclaredService) -> LaunchSpec:
    """How a declared service is launched: pipes for a command alone, HTTP where there is a url."""
    return LaunchSpec(
        wire=Wire.HTTP if service.url else Wire.STDIO,
        command=service.command,
        url=service.url,
        cwd=service.cwd,
        env=dict(service.env),
        ready_timeout_s=service.ready_timeout_s,
    )
