"""Asking and telling supervisors and instances from outside: who is there, and that somebody end."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from henslowe.actors.ids import VersionKey
from henslowe.actors.instances.instance import instance_name
from henslowe.actors.kernel import SHUTDOWN, ActorExit, CallTimeout, ChildInfo, Ref, WhichChildren
from henslowe.actors.kernel import names as registry
from henslowe.config.upkeep import INSTANCES_MAX

SLOTS_MAX: Final = 2 * INSTANCES_MAX + 16
"""Those that serve and stand by, and as many that are on their way out."""


def child_id(slot: int) -> str:
    """What a version's supervisor knows the instance in this slot by."""
    return "instance" if slot == 1 else f"instance {slot}"


def instances_of(version: VersionKey) -> list[Ref]:
    """The living instances of a version, whoever supervises them."""
    found = (registry.whereis(instance_name(version, slot)) for slot in range(1, SLOTS_MAX + 1))
    return [ref for ref in found if ref is not None]


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
