"""What the router knows is written a little each turn, and every service in turn."""

from __future__ import annotations

from dataclasses import replace

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.router import EVIDENCE, Evidence, Rules, Trial
from henslowe.actors.router.counters import ServiceCounter
from henslowe.actors.router.keeping import Keeping
from henslowe.actors.router.pacing import PACKED_MAX, SAVE_S, TRAFFIC_SAVES_MAX, Pacing
from henslowe.actors.router.rows import TRAFFIC
from henslowe.actors.router.watched import Watched
from henslowe.actors.routes import Arm, CallRecord, Outcome
from henslowe.storage import Store
from tests.actors.delivery import until
from tests.actors.router.test_evidence import BUSY, CANARY

ONE, OTHER = ServiceName("one"), ServiceName("other")


def watched(service: ServiceName, units: int) -> Watched:
    """A service on trial, with one call of each unit."""
    trial: Trial = replace(CANARY, service=service, new=VersionKey(service, 2), old=VersionKey(service, 1))
    found = Watched(ServiceCounter(service, 600.0), evidence=Evidence(trial, Rules(), BUSY))
    call_all(found, units)
    return found


def call_all(found: Watched, units: int) -> None:
    assert found.evidence is not None
    for at in range(units):
        version = found.evidence.trial.old or found.evidence.trial.new
        record = CallRecord(version, Arm.STABLE, f"u{at}", True, "echo", Outcome.OK, 0.1, 100.0, 7)
        found.evidence.update(record)
        found.counter.add(record)
    found.unsaved = found.traffic_unsaved = True


def calls_of(store: Store, service: ServiceName) -> int:
    row = store.table(EVIDENCE).lookup(service)
    return int(row.learned["old"]["calls"]) if row is not None else 0


async def test_each_service_is_written_once_before_any_of_them_again(store: Store) -> None:
    services = {name: watched(name, 2_000) for name in (ONE, OTHER)}
    pacing, now_s, turns = Pacing(Keeping(store), services, busy_units=10_000), 1_000.0, 0
    while pacing.under_way or not turns:
        pacing.turn(now_s)
        turns += 1
        now_s += SAVE_S
        call_all(services[ONE], 1)
    assert turns >= 2 * 2 * 2_000 / (2 * PACKED_MAX)
    await until(lambda: calls_of(store, OTHER) == 2_000)
    assert calls_of(store, ONE) == 2_000, "what came while it was packed is for the next time"
    pacing.finish(now_s)
    await until(lambda: calls_of(store, ONE) == 2_000 + turns)


async def test_a_small_trial_is_written_in_one_turn_and_not_again_before_its_time(store: Store) -> None:
    services = {ONE: watched(ONE, 20)}
    pacing = Pacing(Keeping(store), services, busy_units=10_000)
    pacing.turn(1_000.0)
    await until(lambda: calls_of(store, ONE) == 20)
    call_all(services[ONE], 1)
    pacing.turn(1_000.0 + SAVE_S / 2)
    assert services[ONE].unsaved
    pacing.turn(1_000.0 + SAVE_S)
    await until(lambda: calls_of(store, ONE) == 21)


async def test_traffic_is_written_of_a_few_services_in_one_turn(store: Store) -> None:
    services = {ServiceName(f"s{at}"): watched(ServiceName(f"s{at}"), 1) for at in range(TRAFFIC_SAVES_MAX + 1)}
    pacing = Pacing(Keeping(store), services, busy_units=10_000)
    pacing.turn(1_000.0)
    assert sum(each.traffic_unsaved for each in services.values()) == 1
    while pacing.under_way:
        pacing.turn(1_000.1)
    pacing.turn(1_000.2)
    await until(lambda: len(store.table(TRAFFIC)) == TRAFFIC_SAVES_MAX + 1)
