"""Asking and telling supervisors and instances from outside: who is there, that one begin, and that somebody end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.instances.instance import instance_name
from henslowe.actors.kernel import (
    SHUTDOWN,
    ActorExit,
    CallTimeout,
    ChildInfo,
    ChildSpec,
    Ref,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from henslowe.actors.kernel import names as registry
from henslowe.config.upkeep import INSTANCES_MAX
from henslowe.errors import HensloweError

log = logging.getLogger(__name__)

SupervisorSpec = Callable[[str, int, float], ChildSpec]
"""Makes the spec of a temporary dynamic supervisor from its id, `max_restarts` and `max_seconds`. Supervisors live a
layer above the actors that they run, so the composition root says what one is."""

SERVICE_RESTARTS: Final = (0, 1.0)
"""A service's supervisor restarts nothing: its children are temporary."""
TERMINATE_S: Final = 30.0
"""Longest wait for a version's supervisor, which by then has nothing to stop."""
SLOTS_MAX: Final = 2 * INSTANCES_MAX + 16
"""Those that serve and stand by, and as many that are on their way out."""


def child_id(slot: int) -> str:
    """What a version's supervisor knows the instance in this slot by."""
    return "instance" if slot == 1 else f"instance {slot}"


def instances_of(version: VersionKey) -> list[Ref]:
    """The living instances of a version, whoever supervises them."""
    found = (registry.whereis(instance_name(version, slot)) for slot in range(1, SLOTS_MAX + 1))
    return [ref for ref in found if ref is not None]


class Supervisors:
    """One supervisor per service, and below it one per version. Runs in: the loop.

    Args:
        made: What a supervisor is.
    """

    def __init__(self, made: SupervisorSpec) -> None:
        self._made = made

    async def start(self, version: VersionKey, max_restarts: int, max_seconds: float) -> Ref:
        """Starts a version's supervisor, and its service's when there is none.

        Raises:
            HensloweError, ActorExit, CallTimeout: It cannot be started.
        """
        service = await self._of_service(version.service)
        started = await service.call(StartChild(self._made(str(version), max_restarts, max_seconds)))
        assert isinstance(started, Ref)
        return started

    async def terminate(self, version: VersionKey) -> None:
        """Ends a version's supervisor with all below it; one that is gone already is only logged."""
        try:
            for service in await children(registry.whereis(names.SERVICES)):
                if service.id == version.service and service.ref is not None:
                    await service.ref.call(TerminateChild(str(version)), timeout_s=TERMINATE_S)
        except (HensloweError, ActorExit, CallTimeout) as failure:
            log.info("version_was_gone", extra={"version": str(version), "cause": str(failure)})

    async def _of_service(self, service: ServiceName) -> Ref:
        services = registry.via(names.SERVICES)
        for child in await services.call(WhichChildren()):
            if child.id == service and child.ref is not None and child.ref.is_alive():
                found: Ref = child.ref
                return found
        started = await services.call(StartChild(self._made(service, *SERVICE_RESTARTS)))
        assert isinstance(started, Ref)
        return started


async def ended(instances: list[Ref], timeout_s: float) -> None:
    """Tell instances to end, and wait for them."""
    loop = asyncio.get_running_loop()
    waiting = []
    for instance in instances:
        gone: asyncio.Future[Any] = loop.create_future()

        def end(_ref: Ref, reason: Any, gone: asyncio.Future[Any] = gone) -> None:
            if not gone.done():
                gone.set_result(reason)

        waiting.append((gone, instance.watch(end)))
        instance.exit(SHUTDOWN)
    if waiting:
        await asyncio.wait([gone for gone, _ in waiting], timeout=timeout_s)
    for _, cancel in waiting:
        cancel()


async def children(supervisor: Ref | None) -> tuple[ChildInfo, ...]:
    """The children of a supervisor; none when it is not there."""
    if supervisor is None:
        return ()
    try:
        found: tuple[ChildInfo, ...] = await supervisor.call(WhichChildren())
    except (ActorExit, CallTimeout):
        return ()
    return found
