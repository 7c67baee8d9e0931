"""A person's own limits on versions: what passes them is taken back at once, with its numbers and its failing calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors.journal import draft
from henslowe.actors.messages import Strategy
from henslowe.actors.routes import Outcome
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.upkeep import HealthSettings
from henslowe.storage import Store
from tests.actors.delivery import HELLO, Delivery, key, until
from tests.actors.router.test_router_actor import Clock, tick

LIMITS = HealthSettings(max_error_rate=0.2, min_calls=10, window_s=60.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def delivery(store: Store, tmp_path: Path, clock: Clock) -> AsyncIterator[Delivery]:
    """Version 1 serves, for good. With evidence that never suffices, only the limits decide."""
    plane = Delivery(store, tmp_path / "workspace", clock, LIMITS, alpha=1e-9, units_min=1_000, probation_s=1_000.0)
    await plane.start()
    await plane.ship("a")
    yield plane
    await plane.stop()


async def test_a_canary_beyond_a_limit_fails_over_to_the_active_version(
    delivery: Delivery, clock: Clock, store: Store
) -> None:
    await delivery.ship("b", Strategy.CANARY)
    said = (
        draft(EventType.INSTANCE_OUTPUT, Status.INFO, key=key(number), stream=Stream.OUTPUT, source="i", line=line)
        for number, line in ((1, "fine"), (2, "Traceback"), (2, "KeyError: 'x'"))
    )
    txn = store.transaction()
    for event in said:
        txn.append(event)
    await txn.commit()
    route, served, at = delivery.routes.current[HELLO], 0, 0
    while served < 10:
        failing = {2: Outcome.TOOL_ERROR} if served % 3 == 0 else None
        served += delivery.serve(f"client-{at}", failing, error="boom: password=hunter2") == 2
        at += 1
    assert route.canary == key(2)
    await tick(delivery, clock)
    await until(lambda: delivery.states()[2] == "ROLLED_BACK")
    assert delivery.row.active == 1
    assert delivery.version(2).reason == (
        "4 of 10 calls failed in the last 60 s (40.0%), health.max_error_rate is 20.0%"
    )
    (decided,) = delivery.said_of("CANARY_VERDICT")
    assert (decided.status, decided.data["decision"], decided.data["limit"]) == ("FAILED", "rollback", "max_error_rate")
    assert (decided.data["allowed"], decided.data["seen"], decided.data["window_calls"]) == (0.2, 0.4, 10)
    assert [call["outcome"] for call in decided.data["failing_calls"]] == ["tool_error"] * 4
    assert {call["error"] for call in decided.data["failing_calls"]} == {"boom: password=[redacted:assigned:len=7]"}
    assert decided.data["log_tail"] == ["Traceback", "KeyError: 'x'"]


async def test_too_few_calls_pass_no_limit(delivery: Delivery, clock: Clock) -> None:
    await delivery.ship("b", Strategy.CANARY)
    served = at = 0
    while served < 9:
        served += delivery.serve(f"client-{at}", {2: Outcome.TOOL_ERROR}) == 2
        at += 1
    await tick(delivery, clock)
    await tick(delivery, clock)
    assert delivery.states()[2] == "CANARY"


async def test_a_version_on_probation_beyond_a_limit_is_followed_by_the_one_before(
    delivery: Delivery, clock: Clock
) -> None:
    await delivery.ship("b", Strategy.IMMEDIATE)
    await until(lambda: delivery.routes.current[HELLO].stable == key(2))
    assert delivery.version(2).probation
    for at in range(10):
        delivery.serve(f"client-{at}", {2: Outcome.TOOL_ERROR})
    await tick(delivery, clock)
    await until(lambda: delivery.row.active == 1)
    assert delivery.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


async def test_a_permanent_version_beyond_a_limit_is_an_alarm_said_once_and_taken_back_when_it_is_well(
    delivery: Delivery, clock: Clock
) -> None:
    for at in range(10):
        delivery.serve(f"client-{at}", {1: Outcome.TOOL_ERROR})
    await tick(delivery, clock)
    await tick(delivery, clock)
    traffic = delivery.traffic.current[HELLO]
    assert traffic.passed[key(1)].limit == "max_error_rate"
    assert traffic.versions[key(1)].window.failures == 10
    assert delivery.states()[1] == "ACTIVE"
    await tick(delivery, clock, 200.0)
    assert [event.status for event in delivery.said_of("VERSION_HEALTH")] == ["UNHEALTHY", "HEALTHY"]
    assert not delivery.traffic.current[HELLO].passed
