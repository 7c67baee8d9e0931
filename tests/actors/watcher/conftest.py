"""A watched workspace per test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from watched_workspace import Remembering, Workspace

from henslowe.actors import names
from henslowe.actors.kernel import Scheduler


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Workspace]:
    Scheduler.install()
    workspace = Workspace(tmp_path / "workspace")
    workspace.dev.mkdir(parents=True)
    neighbours = [
        await Remembering.start_link(workspace.told, name=names.PIPELINE),
        await Remembering.start_link(workspace.events, name=names.BUS),
    ]
    yield workspace
    for ref in (workspace.watcher, *neighbours):
        if ref is not None and ref.is_alive():
            await ref.stop(block=False)
