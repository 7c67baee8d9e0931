"""Rollouts in steps, freezes and the line, over a real store, router and version machine: also across a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from henslowe.actors.messages import Action, LineAction, LineCommand, Strategy
from henslowe.actors.routes import Outcome
from henslowe.actors.versions import LINE, LineRow, replay
from henslowe.actors.versions.line import replay_line
from henslowe.config.ramp import Plan, Step
from henslowe.errors import Conflict
from tests.actors.conftest import OpenStore
from tests.actors.delivery import HELLO, Delivery, key, living, until

CLIMB = Plan(
    steps=(Step(weight=10, min_calls=5), Step(weight=50, min_calls=5, gate="owner"), Step(weight=75, min_calls=5))
)


def serve_until(plane: Delivery, calls: int, fails: dict[int, Outcome] | None = None, *, canary: int = 2) -> None:
    """Calls of many clients until the canary has answered so many."""
    met = at = 0
    while met < calls:
        at += 1
        met += plane.serve(f"client-{at}", fails) == canary


async def test_a_canary_climbs_by_its_calls_waits_at_its_gate_and_goes_on_after_a_restart(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with living(open_store, tmp_path / "workspace", units_min=2) as plane:
        await plane.ship("a")
        await plane.ship("b", Strategy.CANARY, CLIMB)
        serve_until(plane, 5)
        await until(lambda: plane.row.step == 2)
        route = plane.routes.current[HELLO]
        assert (route.canary, route.canary_weight, route.epoch) == (key(2), 5_000, plane.row.epoch)
        serve_until(plane, 5)
        await until(lambda: plane.version(2).gate == "owner")
    async with living(open_store, tmp_path / "workspace", units_min=2) as plane:
        await until(lambda: HELLO in plane.routes.current and plane.up == {1, 2})
        assert (plane.row.step, plane.version(2).gate) == (2, "owner")
        await plane.command(Action.APPROVE)
        serve_until(plane, 60)
        await until(lambda: plane.row.step == 3)
        serve_until(plane, 5)
        await until(lambda: plane.row.active == 2)
        assert plane.row.weights == ()
        services, versions = replay(plane.store.events.scan(streams=("lifecycle",)))
        assert services[HELLO] == plane.row
        assert versions[key(2)] == plane.version(2)


async def test_a_canary_that_fails_at_its_second_step_is_taken_back_with_what_the_first_one_showed(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with living(open_store, tmp_path / "workspace") as plane:
        await plane.ship("a")
        await plane.ship("b", Strategy.CANARY, CLIMB)
        serve_until(plane, 5)
        await until(lambda: plane.row.step == 2)
        serve_until(plane, 20, {2: Outcome.INTERNAL_ERROR})
        await until(lambda: plane.states() == {1: "ACTIVE", 2: "ROLLED_BACK"})
        assert "beside 0 of" in plane.version(2).reason


async def test_a_stopped_line_outlives_the_node_and_what_waited_goes_on_when_it_is_started(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with living(open_store, tmp_path / "workspace") as plane:
        await plane.ship("a")
        reply = await plane.call(LineCommand(LineAction.STOP, "ann", "outage"))
        assert reply["changed"]
        await plane.build("b")
        await until(lambda: plane.up == {1, 2})
    async with living(open_store, tmp_path / "workspace") as plane:
        await until(lambda: plane.up == {1, 2})
        with pytest.raises(Conflict, match=r"henslowe start-the-line` \(outage\)"):
            await plane.command(Action.PROMOTE)
        await plane.call(LineCommand(LineAction.START, "ann"))
        await until(lambda: plane.row.active == 2)
        (row,) = plane.store.table(LINE).rows()
        assert row == LineRow()
        assert replay_line(plane.store.events.scan(streams=("lifecycle",))) == {"line": row}


async def test_at_the_end_of_a_freeze_what_waited_goes_on_by_itself(open_store: OpenStore, tmp_path: Path) -> None:
    now = [1_000.0]
    async with living(open_store, tmp_path / "workspace", now_s=lambda: now[0]) as plane:
        await plane.ship("a")
        await plane.command(Action.FREEZE, until_s=1_000.2)
        await plane.build("b")
        await until(lambda: plane.up == {1, 2})
        assert plane.states() == {1: "ACTIVE", 2: "STAGED"}
        now[0] = 1_001.0
        await until(lambda: plane.row.active == 2)
