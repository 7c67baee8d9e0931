"""What the router knows survives it and the node: traffic, limits' windows, mirrored calls. No goodbye is needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from henslowe.actors import names
from henslowe.actors.health import ServiceWindows
from henslowe.actors.ids import InstanceId
from henslowe.actors.messages import Action, Mirrored, Strategy
from henslowe.actors.pairing import Asked, answer_of, lost
from henslowe.actors.router import EVIDENCE
from henslowe.actors.router.copies import Mirrorings
from henslowe.actors.router.counters import RECENT_KEPT_MAX, UNITS_KEPT_MAX, ServiceCounter
from henslowe.actors.router.pacing import PACKED_MAX
from henslowe.actors.router.pieces import PIECE, at_once, unpacked
from henslowe.actors.router.randomised import UNITS_MAX
from henslowe.actors.router.rows import TRAFFIC, TrafficRow
from henslowe.actors.routes import Arm, CallRecord, Outcome
from henslowe.config.upkeep import HealthSettings
from henslowe.storage import Store
from tests.actors.conftest import Clock
from tests.actors.delivery import HELLO, Delivery, key, until
from tests.actors.router.test_router_actor import tick

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]
GOOD, BAD = answer_of({"result": {"content": []}}), lost(Outcome.CRASH, "it ended")


def traffic_is_kept(store: Store, calls: int) -> bool:
    row = store.table(TRAFFIC).lookup(HELLO)
    return row is not None and sum(unit[1] for unit in unpacked(row.counted["units"])) >= calls


async def busy_life(open_store: OpenStore, workspace: Path, clock: Clock, *, sessions: int = 25) -> None:
    """A node that served some sessions for a while, and ended without a word."""
    async with open_store() as store:
        plane = Delivery(store, workspace, clock)
        await plane.start()
        await plane.ship("a")
        for at in range(sessions):
            plane.serve(f"session-{at}", session=True)
        await tick(plane, clock)
        await until(lambda: traffic_is_kept(store, sessions))
        await plane.stop(kill=True)


async def test_a_deploy_right_after_a_restart_of_a_busy_node_is_a_canary(
    open_store: OpenStore, tmp_path: Path, clock: Clock
) -> None:
    await busy_life(open_store, tmp_path / "workspace", clock)
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock)
        await plane.start()
        assert len(plane.traffic.units_of(HELLO)) == 25, "before anything else happened"
        await plane.ship("b")
        assert plane.states()[2] == "CANARY"
        await plane.stop()


async def test_traffic_of_long_ago_is_forgotten_over_a_restart(
    open_store: OpenStore, tmp_path: Path, clock: Clock
) -> None:
    await busy_life(open_store, tmp_path / "workspace", clock)
    clock.now_s += 601.0
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock)
        await plane.start()
        assert plane.traffic.units_of(HELLO) == ()
        await until(lambda: store.table(TRAFFIC).lookup(HELLO) is None)
        await plane.ship("b")
        assert plane.states()[2] == "ACTIVE"
        await plane.stop()


async def test_traffic_that_another_henslowe_kept_is_no_reason_not_to_start(
    store: Store, tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    txn = store.transaction()
    txn.put(store.table(TRAFFIC), TrafficRow(service=HELLO, counted={"people": 7}, windows=[], saved_s=0.0))
    await txn.commit()
    plane = Delivery(store, tmp_path / "workspace", clock)
    await plane.start()
    await plane.ship("a")
    assert plane.serve("client-1") == 1
    assert "traffic_not_understood" in caplog.text
    await plane.stop()


async def test_traffic_is_written_now_and_then_and_at_the_end(store: Store, tmp_path: Path, clock: Clock) -> None:
    plane = Delivery(store, tmp_path / "workspace", clock)
    await plane.start()
    await plane.ship("a")
    plane.serve("client-1")
    await tick(plane, clock)
    await until(lambda: traffic_is_kept(store, 1))
    plane.serve("client-1")
    await tick(plane, clock)
    assert not traffic_is_kept(store, 2), "half a minute is not over"
    await plane.stop(names.ROUTER)
    await until(lambda: traffic_is_kept(store, 2))
    await plane.stop()


async def test_that_a_service_came_to_be_busy_is_written_at_once(store: Store, tmp_path: Path, clock: Clock) -> None:
    plane = Delivery(store, tmp_path / "workspace", clock)
    await plane.start()
    await plane.ship("a")
    for at in range(1, 21):
        plane.serve(f"session-{at}", session=True)
        await tick(plane, clock)
    await until(lambda: traffic_is_kept(store, 20))
    await plane.stop()


async def test_a_limit_looks_at_the_minutes_before_a_restart_too(
    open_store: OpenStore, tmp_path: Path, clock: Clock
) -> None:
    limits = HealthSettings(max_error_rate=0.2, min_calls=10, window_s=60.0)
    cautious = {"alpha": 1e-9, "units_min": 1_000}
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock, limits, **cautious)
        await plane.start()
        await plane.ship("a")
        await plane.ship("b", Strategy.CANARY)
        route = plane.routes.current[HELLO]
        unlucky = next(f"client-{at}" for at in range(1_000) if route.pick(f"client-{at}")[1] == key(2))
        for _ in range(9):
            plane.serve(unlucky, {2: Outcome.TOOL_ERROR})
        await tick(plane, clock)
        await until(lambda: traffic_is_kept(store, 9))
        assert plane.states()[2] == "CANARY", "nine calls are not enough"
        await plane.stop(kill=True)
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock, limits, **cautious)
        await plane.start()
        await tick(plane, clock)
        plane.serve(unlucky, {2: Outcome.TOOL_ERROR})
        await until(lambda: plane.states()[2] == "ROLLED_BACK")
        assert plane.version(2).reason.startswith("10 of 10 calls failed in the last 60 s")
        await plane.stop()


async def test_what_mirrored_calls_have_shown_survives_a_restart(
    open_store: OpenStore, tmp_path: Path, clock: Clock
) -> None:
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock)
        await plane.start()
        await plane.ship("a")
        await plane.ship("b", Strategy.CANARY)
        epoch = plane.routes.current[HELLO].epoch
        for answer in (GOOD, *[BAD] * 7):
            plane.tell(Mirrored(key(2), epoch, Asked("look", answer, [GOOD]), 0), names.ROUTER)
        await tick(plane, clock, 10.0)
        await until(lambda: (row := store.table(EVIDENCE).lookup(HELLO)) is not None and row.copies)
        assert plane.states()[2] == "CANARY"
        await plane.stop(kill=True)
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock)
        await plane.start()
        assert plane.states()[2] == "CANARY"
        for _ in range(2):
            plane.tell(Mirrored(key(2), epoch, Asked("look", BAD, [GOOD]), 0), names.ROUTER)
        await tick(plane, clock)
        await until(lambda: plane.states()[2] == "ROLLED_BACK")
        assert "10 mirrored: 1 alike, 9 fail on the new version only" in plane.version(2).reason
        await plane.stop()


async def test_what_was_kept_of_one_rollout_is_not_held_against_the_next(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    plane = Delivery(store, tmp_path / "workspace", clock)
    await plane.start()
    await plane.ship("a")
    await plane.ship("b", Strategy.CANARY)
    epoch = plane.routes.current[HELLO].epoch
    for _ in range(7):
        plane.tell(Mirrored(key(2), epoch, Asked("look", BAD, [GOOD]), 0), names.ROUTER)
    await tick(plane, clock, 10.0)
    await until(lambda: store.table(EVIDENCE).lookup(HELLO))
    await plane.command(Action.ROLLBACK)
    await plane.ship("c", Strategy.CANARY)
    epoch = plane.routes.current[HELLO].epoch
    plane.tell(Mirrored(key(3), epoch, Asked("look", GOOD, [GOOD]), 0), names.ROUTER)
    await tick(plane, clock)
    await tick(plane, clock)
    trial = plane.traffic.current[HELLO].trial
    assert trial is not None
    assert (trial.numbers["mirror"]["calls"], trial.numbers["mirror"]["failed_new"]) == (1, 0)
    await plane.stop()


# -- a busy trial, of which more is known than may be written in one turn ----------------


def calls_kept(store: Store) -> int:
    row = store.table(EVIDENCE).lookup(HELLO)
    return sum(row.learned[side]["calls"] for side in ("new", "old")) if row is not None else 0


async def busy_trial(plane: Delivery, clock: Clock, sessions: int) -> None:
    await plane.start()
    await plane.ship("a")
    await plane.ship("b", Strategy.CANARY)
    await plane.command(Action.HOLD)
    for at in range(sessions):
        plane.serve(f"session-{at}", session=True)
    await tick(plane, clock, 10.0)


async def test_what_a_busy_trial_has_shown_is_written_over_several_turns(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    plane = Delivery(store, tmp_path / "workspace", clock)
    await busy_trial(plane, clock, 3_000)
    entries, turns = 2 * UNITS_MAX, 1  # of two streams; nothing is known of how long calls took before
    while not calls_kept(store):
        turns += 1
        await tick(plane, clock, 0.0)
        assert turns <= entries  # each turn goes on
    assert turns > entries / (PACKED_MAX + PIECE)
    assert calls_kept(store) == 3_000
    await plane.stop()


async def test_a_node_that_is_killed_while_evidence_is_packed_has_what_was_written_before(
    open_store: OpenStore, tmp_path: Path, clock: Clock
) -> None:
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace", clock)
        await busy_trial(plane, clock, 5)
        await until(lambda: calls_kept(store) == 5)
        for at in range(3_000):
            plane.serve(f"session-{at}", session=True)
        await tick(plane, clock, 10.0)
        await plane.stop(kill=True)
    async with open_store() as store:
        assert calls_kept(store) == 5
        plane = Delivery(store, tmp_path / "workspace", clock)
        await plane.start()
        await tick(plane, clock)
        trial = plane.traffic.current[HELLO].trial
        assert trial is not None
        assert trial.numbers["calls"] + trial.numbers["control_calls"] == 5
        await plane.stop()


async def test_evidence_that_is_being_packed_is_written_before_the_router_ends(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    plane = Delivery(store, tmp_path / "workspace", clock)
    await busy_trial(plane, clock, 3_000)
    plane.serve("one-more", session=True)
    await plane.stop(names.ROUTER)
    await until(lambda: calls_kept(store) == 3_001)
    await plane.stop()


async def test_evidence_of_a_trial_that_ends_while_it_is_packed_is_not_written(
    store: Store, tmp_path: Path, clock: Clock
) -> None:
    plane = Delivery(store, tmp_path / "workspace", clock)
    await busy_trial(plane, clock, 3_000)
    await plane.command(Action.ROLLBACK)
    for _ in range(3):
        await tick(plane, clock, 10.0)
    await plane.stop(names.ROUTER)
    await plane.command(Action.PIN, to_version=1)  # durable after all that was written before
    assert store.table(EVIDENCE).lookup(HELLO) is None
    await plane.stop()


# -- the parts ----------------


def record(at: int, version: int, rng: random.Random) -> CallRecord:
    outcome = Outcome.TIMEOUT if rng.random() < 0.1 else Outcome.OK
    took_s, tool = rng.lognormvariate(-3, 1), rng.choice(("look", "find"))
    return CallRecord(key(version), Arm.STABLE, f"u{at % 50}", True, tool, outcome, took_s, 1_000.0 + at, 1)


def test_a_rollout_after_a_restart_is_set_up_by_the_same_past() -> None:
    rng, whole, again = random.Random(1), ServiceCounter(HELLO, 600.0), ServiceCounter(HELLO, 600.0)
    for at in range(RECENT_KEPT_MAX):
        whole.add(record(at, 1 + at % 2, rng))
    again.load(whole.dump())
    assert again.past(key(1), 1.5) == whole.past(key(1), 1.5)
    assert again.past(key(1), 1.5).failures > 0
    whole.forget_old(1_860.0)
    again.forget_old(1_860.0)
    assert again.dump() == whole.dump()


def test_of_many_units_and_calls_the_latest_are_kept() -> None:
    counter, calls = ServiceCounter(HELLO, 600.0), UNITS_KEPT_MAX + RECENT_KEPT_MAX
    for at in range(calls):
        counter.add(CallRecord(key(1), Arm.STABLE, f"u{at}", True, f"t{at}", Outcome.OK, 0.1, 1_000.0 + at, 1))
    kept = counter.dump()
    assert (len(kept["units"]), len(kept["recent"])) == (UNITS_KEPT_MAX, RECENT_KEPT_MAX)
    assert (kept["units"][-1][0], kept["recent"][-1][1]) == (f"u{calls - 1}", f"t{calls - 1}")


def test_windows_say_the_same_of_each_version_after_a_restart() -> None:
    rng, before, after = random.Random(2), ServiceWindows(), ServiceWindows()
    for at in range(2_000):
        outcome = Outcome.TIMEOUT if rng.random() < 0.1 else Outcome.OK
        took_s, now_s = 0.0 if at % 7 == 0 else rng.lognormvariate(-3, 2), 1_000.0 + at / 10
        record = CallRecord(key(1 + at % 2), Arm.STABLE, "u", True, "echo", outcome, took_s, now_s, 1)
        record.instance = InstanceId(f"i{at % 6}")
        before.add(record, span_s=300.0)
    after.load(HELLO, at_once(before.dump(1_200.0)))
    for number in (1, 2):
        for now_s in (1_200.0, 1_350.0, 1_800.0):
            assert after.of_version(key(number), now_s) == before.of_version(key(number), now_s)
    assert before.of_version(key(1), 1_350.0).calls > 0
    assert after.of_instances(1_200.0) == {}, "the instances of before are gone"


def test_copies_go_on_where_they_were_dumped() -> None:
    before, after = Mirrorings(lambda value: value), Mirrorings(lambda value: value)
    for dropped, answer in enumerate((GOOD, BAD, answer_of({"result": {"content": [1]}}))):
        before.add(Asked("look", answer, [GOOD], beside=[GOOD]), dropped)
    after.load(before.dump())
    assert after.numbers() == before.numbers()
    assert after.words == before.words
    for one, dropped in ((before, 3), (after, 0), (before, 5), (after, 2)):  # the gateway counts from its start
        one.add(Asked("look", BAD, [GOOD]), dropped)
    assert after.numbers() == {**before.numbers(), "dropped": 4}
    assert before.dropped == 5
