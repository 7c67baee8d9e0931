"""`PartitionSupervisor`: the same child several times, and an address that picks one of them by key.

    await PartitionSupervisor.start_link(
        ChildSpec("starter", DynamicSupervisor, shutdown_s=INFINITY), partitions=4, name="starters"
    )
    await partition("starters", session_id).call(StartChild(spec))

For an actor that is a bottleneck: a dynamic supervisor waits for each child's `init`, so four of them start four
children at a time. Equal keys meet the same partition for as long as the supervisor lives.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Hashable
from typing import Any

from henslowe.actors.kernel import NOPROC, ActorExit, ChildSpec, Via, names

from ._base import Child
from .policy import AutoShutdown, Strategy
from .static import Supervisor


class PartitionSupervisor(Supervisor):
    """Runs `partitions` children made from one spec, with the ids "0", "1" and so on. It must have a name.

    Args:
        spec: What each partition is; its own name is not used.
        partitions: How many; as many as processors when not given.
        with_arguments: `(args, partition) -> args`: what a partition's actor gets instead of `spec.args`.
        strategy: As for `Supervisor`, like the rest.
        max_restarts: Restarts that are tolerated within `max_seconds`.
        max_seconds: For how long a restart counts.
        auto_shutdown: Whether the exit of significant children ends the supervisor.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        partitions: int | None = None,
        with_arguments: Callable[[tuple[Any, ...], int], tuple[Any, ...]] | None = None,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    ) -> None:
        super().__init__(
            strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds, auto_shutdown=auto_shutdown
        )
        self.partitions = partitions if partitions is not None else os.cpu_count() or 1
        if self.partitions < 1:
            raise ValueError(f"expected at least 1 partition, got {self.partitions}")
        self._spec = spec
        self._with_arguments = with_arguments

    async def init(self) -> Any:
        """Starts the partitions in order."""
        if self.ref.name is None:
            raise ValueError("expected a name for a PartitionSupervisor, got none: partitions are found by it")
        for number in range(self.partitions):
            spec = dataclasses.replace(self._spec, id=str(number), name=f"{self.ref.name}/{number}")
            if self._with_arguments is not None:
                spec = dataclasses.replace(spec, args=self._with_arguments(spec.args, number))
            self.children[str(number)] = Child(spec)
        return await super().init()


def partition(name: str, key: Hashable) -> Via:
    """The address of the partition for `key`; it survives the partition's restarts.

    Integers go round (`key % partitions`, their sign dropped), other keys by their hash, which differs between runs
    of Python. Runs in: any thread.

    Raises:
        ActorExit: `NOPROC`: no `PartitionSupervisor` has that name.
    """
    ref = names.whereis(name)
    actor = ref._actor if ref is not None else None
    if not isinstance(actor, PartitionSupervisor):
        raise ActorExit(NOPROC, f"no partition supervisor is named {name}")
    number = abs(key) if isinstance(key, int) else hash(key)
    return names.via(f"{name}/{number % actor.partitions}")
