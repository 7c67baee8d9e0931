"""The version machine asks for the replay of captured calls, over crashes, and waits for no answer for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors import names
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Rehearse, Rehearsed, ReleaseInstance, Resemblance, Strategy
from henslowe.actors.versions import VERSIONS, replay
from henslowe.storage import Store
from henslowe.storage.capture import FLUSH, WRITER_NAME, Exchange
from henslowe.testing import Probe, Supervised, assert_receive, supervised
from tests.actors.delivery import Delivery, key, until


@pytest.fixture
async def group(store: Store) -> AsyncIterator[Supervised]:
    """A capture with one call in it."""
    async with supervised() as made:
        await made.start_spec(store.captures.child_spec())
        answer = {"result": {"content": []}}
        call = Exchange("hello", 1, "i", "u", True, "legacy", "tools/call", {"name": "a"}, answer, "ok", 0.01, True)
        store.captures.recorder.record(call)
        await registry.via(WRITER_NAME).call(FLUSH, 5.0)
        yield made


@pytest.fixture
async def delivery(store: Store, tmp_path: Path, group: Supervised) -> AsyncIterator[Delivery]:
    plane = Delivery(store, tmp_path / "workspace")
    await plane.start()
    await plane.ship("a")
    yield plane
    await plane.stop()


async def rehearsal(group: Supervised) -> Probe:
    """Plays the rehearsal: a mailbox."""
    probe: Probe = (await group.start(Probe, name=names.REHEARSAL))._actor
    return probe


async def test_a_version_is_rehearsed_and_taken_back_before_it_is_routed(delivery: Delivery, group: Supervised) -> None:
    probe = await rehearsal(group)
    await delivery.build("b", Strategy.IMMEDIATE)
    asked: Rehearse = await assert_receive(probe, Rehearse)
    assert (asked.version, asked.against, asked.budget_s) == (key(2), 1, 1.0)
    delivery.tell(Rehearsed(key(2), 1, Resemblance.FAILS, "3 of 4 fail"))
    await until(lambda: delivery.states()[2] == "ROLLED_BACK")
    await until(lambda: delivery.heard_of(ReleaseInstance) == [2])
    assert delivery.routes.current[key(1).service].stable == key(1)
    _, versions = replay(delivery.store.events.scan(streams=("lifecycle",)))
    assert versions == {row.key: row for row in delivery.store.table(VERSIONS).rows()}


async def test_a_canary_has_more_time(delivery: Delivery, group: Supervised) -> None:
    probe = await rehearsal(group)
    await delivery.build("b", Strategy.CANARY)
    assert (await assert_receive(probe, Rehearse)).budget_s == 10.0


async def test_after_a_crash_it_asks_again(delivery: Delivery, group: Supervised) -> None:
    probe = await rehearsal(group)
    await delivery.build("b", Strategy.IMMEDIATE)
    await assert_receive(probe, Rehearse)
    await delivery.stop(names.VERSIONS, kill=True)
    await delivery.start(names.VERSIONS)
    assert (await assert_receive(probe, Rehearse)).version == key(2)
    delivery.tell(Rehearsed(key(2), 1, Resemblance.ALIKE, "4 alike"))
    await until(lambda: delivery.row.active == 2)


async def test_where_nobody_rehearses_it_goes_on(delivery: Delivery) -> None:
    await delivery.ship("b", Strategy.IMMEDIATE)
    found = delivery.version(2).rehearsal
    assert found is not None
    assert (found.found, found.why) == ("unknown", "nothing was replayed: no answer came")
