"""The keeper killed at every named place: the version goes its way, and each hook heard of it under one id."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from henslowe.actors import failpoints, names
from henslowe.actors.hooks import HookState
from henslowe.actors.kernel import KILL
from henslowe.actors.kernel import names as registry
from henslowe.storage import Store
from tests.actors.delivery import until
from tests.actors.hooks.hooked import Hooked

URL = "https://hooks.example.org/deployments"
PLACES = [place for place in failpoints.ALL if place.startswith("hooks.")]


@pytest.mark.parametrize("kills", [1, 3])
@pytest.mark.parametrize("place", PLACES)
async def test_killed_there_it_asks_and_tells_all_the_same(
    store: Store, tmp_path: Path, place: str, kills: int
) -> None:
    plane = Hooked(store, tmp_path / "workspace")
    plane.workspace.mkdir()
    left = [None] * kills

    def die() -> None:
        if left:
            left.pop()
            keeper = registry.whereis(names.HOOKS)
            assert keeper is not None
            keeper.exit(KILL)
            raise asyncio.CancelledError  # nothing behind this place is done

    plane.says(
        {"on": "deploy:start", "name": "first", "url": URL},
        {"on": "deploy:start", "name": "second", "url": URL},
        {"on": "promote:after", "name": "told", "url": URL},
    )
    await plane.start()
    failpoints.arm(place, die)
    try:
        await plane.build("a")
        while not plane.ended("promote:after"):
            await until(lambda: registry.whereis(names.HOOKS) is None or plane.ended("promote:after"))
            if registry.whereis(names.HOOKS) is None:
                # As their supervisor does: what was started after the keeper is started after it again.
                await plane.stop(names.VERSIONS, kill=True)
                plane.forget(names.HOOKS)
                await plane.start(names.HOOKS, names.VERSIONS)
    finally:
        failpoints.disarm()
    assert len(left) < kills, "nobody was killed"
    assert plane.row.active == 1
    rows = plane.rows()
    assert [(row.name, row.state) for row in rows] == [
        ("first", HookState.DONE),
        ("second", HookState.DONE),
        ("told", HookState.DONE),
    ]
    assert {each["id"] for each in plane.receiver.received} == {row.id for row in rows}
    first = [each["hook"] for each in plane.receiver.received]
    assert list(dict.fromkeys(first)) == ["first", "second", "told"]
    await plane.stop()
