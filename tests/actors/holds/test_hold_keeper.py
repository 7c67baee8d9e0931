"""Versions that somebody uses are kept running, and let go afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors import names
from henslowe.actors.holds import HoldKeeper
from henslowe.actors.holds import keeper as keeper_module
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import LoopActor, Scheduler
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import EnsureInstance, HoldVersion, InstanceBroken, ReleaseInstance
from henslowe.actors.versions import VERSIONS, VersionRow, VersionState
from henslowe.config.settings import StorageSettings
from henslowe.storage import Store

ONE, TWO = VersionKey(ServiceName("hello"), 1), VersionKey(ServiceName("hello"), 2)


class Manager(LoopActor):
    """Keeps what it is told; stands for the instance manager."""

    def __init__(self, heard: asyncio.Queue[Any]) -> None:
        super().__init__()
        self.heard = heard

    def handle_cast(self, message: Any) -> None:
        self.heard.put_nowait(message)


class Place:
    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.keeper: Any = None

    async def next(self) -> Any:
        async with asyncio.timeout(5):
            return await self.heard.get()


@pytest.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(keeper_module, "TICK_S", 0.01)
    Scheduler.install()
    store = Store.open(tmp_path / "data", "n1", StorageSettings(map_size_gib=1))
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args)
    launch = LaunchSpec(command=("true",))
    rows = [
        VersionRow(service=key.service, number=key.number, state=VersionState.ARCHIVED, launch=launch)
        for key in (ONE, TWO)
    ]
    await store.table(VERSIONS).insert(*rows)
    place = Place()
    manager = await Manager.start_link(place.heard, name=names.INSTANCES)
    place.keeper = await HoldKeeper.start_link(
        store, tmp_path, lambda *_: None, drain_s=7.0, now_s=lambda: place.now_s, name=names.HOLDS
    )
    try:
        yield place
    finally:
        for ref in (place.keeper, manager, writer):
            await ref.stop(block=False)
        store.close()


async def test_a_version_that_is_used_is_started_and_let_go_when_it_rests(place: Place) -> None:
    place.keeper.cast(HoldVersion(ONE, 10.0))
    started = await place.next()
    assert isinstance(started, EnsureInstance)
    assert (started.version, started.holder) == (ONE, "holds")
    place.now_s += 10.0
    assert await place.next() == ReleaseInstance(ONE, 7.0, "holds")


async def test_a_version_that_cannot_run_is_not_tried_at_every_use(place: Place) -> None:
    place.keeper.cast(HoldVersion(ONE, 100.0))
    assert (await place.next()).version == ONE
    place.keeper.cast(InstanceBroken(ONE, "it ends at once"))
    place.keeper.cast(HoldVersion(ONE, 100.0))
    place.keeper.cast(HoldVersion(TWO, 100.0))
    assert (await place.next()).version == TWO
    place.now_s += keeper_module.BROKEN_FIRST_S
    place.keeper.cast(HoldVersion(ONE, 100.0))
    assert (await place.next()).version == ONE


async def test_a_version_that_is_gone_is_not_started(place: Place) -> None:
    place.keeper.cast(HoldVersion(VersionKey(ONE.service, 9), 5.0))
    place.keeper.cast(HoldVersion(ONE, 5.0))
    assert (await place.next()).version == ONE


async def test_what_a_predecessor_held_is_let_go(place: Place) -> None:
    place.keeper.cast(HoldVersion(ONE, 100.0))
    await place.next()
    place.keeper.send(keeper_module.Settle())
    assert await place.next() == ReleaseInstance(TWO, 7.0, "holds")
