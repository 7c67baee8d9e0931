"""What the test of an extension needs: its life as a node leads it, without a node.

async with started(Counter(), tmp_path) as running:
    assert await running.call(Add("a")) == 1
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from henslowe.actors.kernel import Ref, Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.extensions import Context, Event, Module, TableSpec
from henslowe.storage import Store


@dataclass(slots=True, frozen=True)
class Running:
    """A started extension."""

    context: Context
    actor: Ref | None = None
    """Of a state manager."""

    async def call(self, message: Any) -> Any:
        """Ask a state manager's actor."""
        assert self.actor is not None, "only a state manager has an actor"
        return await self.actor.call(message, 5.0)


@asynccontextmanager
async def started(
    module: Module, folder: Path, *, name: str = "extension", options: Mapping[str, Any] | None = None
) -> AsyncIterator[Running]:
    """Starts an extension over a real store in `folder`, and stops it."""
    Scheduler.install()
    specs: tuple[TableSpec[Any], ...] = tuple(getattr(module, "tables", ()))
    store = Store.open(folder / "data", "trying", StorageSettings(map_size_gib=1), tables=specs)
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args)
    assert writer is not None, "a writer does not ignore its start"
    own = folder / "own"
    own.mkdir(exist_ok=True)
    context = Context(name, own, options or {}, store.table if specs else None)
    try:
        await module.start(context)
        try:
            if not specs:
                yield Running(context)
                return
            child = module.child(context)  # type: ignore[attr-defined]  # a state manager
            actor = await child.actor.start_link(*child.args, **child.kwargs)
            assert actor is not None, "expected an actor that does not ignore its start"
            try:
                yield Running(context, actor)
            finally:
                await actor.stop(block=False)
        finally:
            await module.stop()
    finally:
        await writer.stop(block=False)
        store.close()


def event(seq: int, event_type: str = "DEPLOY_COMPLETE", service: str = "hello", **data: Any) -> Event:
    """An event as the node gives it."""
    return Event(
        seq=seq,
        stream="lifecycle",
        node="trying",
        incarnation=1,
        time_ns=0,
        hlc=0,
        type=event_type,
        status="SUCCESS",
        service=service,
        version=1,
        data=data,
    )
