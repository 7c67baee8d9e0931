"""The router with the version machine over a real store: traffic in, verdicts out, and what survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors import names
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Action, RoutesChanged, Strategy
from henslowe.actors.router import EVIDENCE
from henslowe.actors.router.actor import FAILED_CALLS_SAID_PER_S, Tick
from henslowe.actors.routes import PILE, Outcome
from henslowe.storage import Store
from tests.actors.conftest import Clock
from tests.actors.delivery import HELLO, Delivery, key, until

FAILING = {2: Outcome.TOOL_ERROR}


@pytest.fixture
async def delivery(store: Store, tmp_path: Path, clock: Clock) -> AsyncIterator[Delivery]:
    """Version 1 serves, version 2 is its canary with a tenth of the units."""
    plane = Delivery(store, tmp_path / "workspace", clock)
    await plane.start()
    await plane.ship("a")
    await plane.ship("b", Strategy.CANARY)
    await until(lambda: plane.routes.current[HELLO].canary == key(2))
    yield plane
    await plane.stop()


async def tick(delivery: Delivery, clock: Clock, seconds: float = 1.0) -> None:
    """Time passes, and the router has thought about it."""
    clock.now_s += seconds
    router = registry.whereis(names.ROUTER)
    assert router is not None
    router.send(Tick())
    await router.call(RoutesChanged((HELLO,)))


async def test_a_failing_canary_is_caught_and_taken_back_by_itself(delivery: Delivery, clock: Clock) -> None:
    served = 0
    while delivery.row.canary and served < 500:
        delivery.serve(f"client-{served}", FAILING)
        served += 1
        if served % 20 == 0:
            await tick(delivery, clock)
    await until(lambda: delivery.states()[2] == "ROLLED_BACK")
    await until(lambda: delivery.routes.current[HELLO].canary is None)
    assert "evidence" in delivery.version(2).reason
    verdicts = delivery.said_of("CANARY_VERDICT")
    assert [(event.status, event.data["decision"]) for event in verdicts] == [("FAILED", "rollback")]


async def test_a_pile_of_calls_is_taken_in_before_the_next_moment_to_think(store: Store, tmp_path: Path) -> None:
    plane = Delivery(store, tmp_path / "workspace", lambda: 0.0)
    await plane.start()
    await plane.ship("a")
    router = registry.whereis(names.ROUTER)
    assert router is not None
    await router.call(RoutesChanged((HELLO,)))
    for _ in range(PILE):
        plane.serve("client")
    assert len(plane.observations) == PILE
    for _ in range(20):  # turns of the loop, which take much less than the second between two such moments
        await asyncio.sleep(0)
    assert len(plane.observations) == 0
    await plane.stop()


async def test_a_failure_is_thought_about_at_once(delivery: Delivery) -> None:
    """No clock moves here: the fifth broken call wakes the router, which wakes the version machine."""
    route = delivery.routes.current[HELLO]
    unlucky = next(f"client-{at}" for at in range(1_000) if route.pick(f"client-{at}")[1] == key(2))
    for _ in range(5):
        delivery.serve(unlucky, {2: Outcome.TRANSPORT})
    await until(lambda: delivery.states()[2] == "ROLLED_BACK")


async def test_a_canary_that_is_still_starting_after_a_restart_is_not_blamed(delivery: Delivery, clock: Clock) -> None:
    await delivery.stop(names.ROUTER)
    await delivery.start(names.ROUTER)
    route = delivery.routes.current[HELLO]
    unlucky = next(f"client-{at}" for at in range(1_000) if route.pick(f"client-{at}")[1] == key(2))
    for _ in range(9):
        delivery.serve(unlucky, {2: Outcome.CRASH})
    await tick(delivery, clock)
    assert delivery.states()[2] == "CANARY"
    delivery.serve(unlucky)
    for _ in range(5):
        delivery.serve(unlucky, {2: Outcome.CRASH})
    await until(lambda: delivery.states()[2] == "ROLLED_BACK")


async def test_a_good_canary_is_promoted_and_the_old_version_held_back_as_control(
    delivery: Delivery, clock: Clock
) -> None:
    for at in range(3_000):
        delivery.serve(f"client-{at}")
        if at % 100 == 0:
            await tick(delivery, clock)
        if delivery.row.active == 2:
            break
    await until(lambda: delivery.row.active == 2)
    await until(lambda: delivery.routes.current[HELLO].stable == key(2))
    route = delivery.routes.current[HELLO]
    assert (route.stable, route.canary, route.holdback, route.canary_weight) == (key(2), key(1), True, 500)


async def test_a_held_canary_stays_whatever_the_evidence_says_for_it(delivery: Delivery, clock: Clock) -> None:
    await delivery.command(Action.HOLD)
    for at in range(1_500):
        delivery.serve(f"client-{at}")
    await tick(delivery, clock)
    await tick(delivery, clock)
    assert delivery.traffic.current[HELLO].trial is not None
    assert delivery.traffic.current[HELLO].trial.decision == "promote"
    assert delivery.states()[2] == "CANARY"


async def test_evidence_survives_a_restart_of_the_router(delivery: Delivery, clock: Clock) -> None:
    for at in range(200):
        delivery.serve(f"client-{at}")
    await tick(delivery, clock)
    calls = delivery.traffic.current[HELLO].trial
    assert calls is not None
    await delivery.stop(names.ROUTER)
    await until(lambda: evidence_is_saved(delivery))
    assert delivery.routes.current[HELLO].canary == key(2), "traffic goes on while the router is away"
    await delivery.start(names.ROUTER)
    await tick(delivery, clock)
    await tick(delivery, clock)
    again = delivery.traffic.current[HELLO].trial
    assert again is not None
    assert again.numbers == calls.numbers


def evidence_is_saved(delivery: Delivery) -> bool:
    row = delivery.store.table(EVIDENCE).lookup(HELLO)
    return row is not None and row.new == 2


async def test_the_evidence_of_a_trial_that_is_over_is_deleted(delivery: Delivery, clock: Clock) -> None:
    delivery.serve("client-1")
    await tick(delivery, clock, 10.0)
    await until(lambda: evidence_is_saved(delivery))
    await delivery.command(Action.ROLLBACK)
    await until(lambda: delivery.store.table(EVIDENCE).lookup(HELLO) is None)


async def test_a_verdict_that_the_version_machine_missed_is_cast_again(delivery: Delivery, clock: Clock) -> None:
    await delivery.stop(names.VERSIONS)
    route = delivery.routes.current[HELLO]
    unlucky = next(f"client-{at}" for at in range(1_000) if route.pick(f"client-{at}")[1] == key(2))
    for _ in range(5):
        delivery.serve(unlucky, {2: Outcome.TRANSPORT})
    await tick(delivery, clock)
    await delivery.start(names.VERSIONS)
    await tick(delivery, clock)
    await until(lambda: delivery.states()[2] == "ROLLED_BACK")
    assert len(delivery.said_of("CANARY_VERDICT")) == 1


async def test_health_is_said_at_most_once_a_second_and_only_with_traffic(delivery: Delivery, clock: Clock) -> None:
    await tick(delivery, clock)
    assert delivery.said_of("CANARY_HEALTH") == []
    delivery.serve("client-1")
    await tick(delivery, clock)
    for _ in range(20):
        delivery.serve("client-1")
        await tick(delivery, clock, 0.01)
    assert [event.status for event in delivery.said_of("CANARY_HEALTH")] == ["HEALTHY"]


async def test_failed_calls_are_said_a_few_times_a_second_and_then_counted(delivery: Delivery, clock: Clock) -> None:
    for at in range(50):
        delivery.serve(f"client-{at}", {1: Outcome.TOOL_ERROR})
    await tick(delivery, clock)
    await until(lambda: delivery.said_of("CALL_FAILED"))
    said = delivery.said_of("CALL_FAILED")
    assert len(said) == FAILED_CALLS_SAID_PER_S
    assert said[0].data["error"] == "boom"
    delivery.serve("client-1", {1: Outcome.TOOL_ERROR, 2: Outcome.TOOL_ERROR})
    await tick(delivery, clock)
    await until(lambda: delivery.said_of("CALL_FAILED")[-1].data["unsaid"] > 30)


async def test_the_traffic_that_is_published_decides_strategy_auto(delivery: Delivery, clock: Clock) -> None:
    await delivery.command(Action.ROLLBACK)
    for at in range(25):
        delivery.serve(f"session-{at}", session=True)
    await tick(delivery, clock)
    assert len(delivery.traffic.units_of(HELLO)) == 25
    await delivery.ship("c")
    assert delivery.states()[3] == "CANARY"
    met = {delivery.serve(f"session-{at}", session=True) for at in range(25)}
    assert met == {1, 3}, "also a small canary meets somebody"


async def test_a_failing_canary_is_taken_back_although_the_clock_went_back(delivery: Delivery, clock: Clock) -> None:
    for number in (2, 3):
        for n in range(500):
            delivery.serve(f"unit-{n}", FAILING | {3: Outcome.TOOL_ERROR})
        await tick(delivery, clock, 0.0)
        await until(lambda number=number: delivery.states()[number] == "ROLLED_BACK")
        clock.now_s -= 3_600
        if number == 2:
            await delivery.ship("c", Strategy.CANARY)


async def test_a_tick_that_comes_while_routes_change_is_no_second_clock(delivery: Delivery, clock: Clock) -> None:
    for _ in range(10):
        await tick(delivery, clock)
    router = registry.whereis(names.ROUTER)
    assert router is not None
    assert len(router._timers or ()) == 1
