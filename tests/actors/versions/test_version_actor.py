"""The version machine over a real store: one commit per transition, effects that survive, links, restarts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors import names
from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, InstanceId
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import (
    Action,
    CreateVersion,
    DeclareService,
    EnsureInstance,
    InstanceDown,
    NameVersion,
    ReleaseInstance,
    Strategy,
    VersionBuilt,
)
from henslowe.actors.versions import OUTBOX, SERVICES, VERSIONS, EffectKind, OutboxRow, TryAgain, replay
from henslowe.actors.versions.contracts import CONTRACTS
from henslowe.errors import Conflict, NotFound
from henslowe.storage import Key, Store, remove_tree
from henslowe.storage.keys import pack
from tests.actors.conftest import OpenStore
from tests.actors.delivery import HELLO, LAUNCH, Delivery, key, living, until


@pytest.fixture
async def delivery(store: Store, tmp_path: Path) -> AsyncIterator[Delivery]:
    plane = Delivery(store, tmp_path / "workspace")
    await plane.start()
    yield plane
    await plane.stop()


async def settled(delivery: Delivery) -> None:
    await until(lambda: len(delivery.store.table(OUTBOX)) == 0)


async def test_an_edit_is_laid_out_started_routed_and_linked(delivery: Delivery) -> None:
    await delivery.ship("a")
    await settled(delivery)
    ensure = next(message for message in delivery.heard if isinstance(message, EnsureInstance))
    assert ensure.root == delivery.workspace / "archive/hello/v1.0.0"
    assert (ensure.root / "server.py").read_text() == "print('a')\n"
    assert delivery.routes.current[HELLO].stable == key(1)
    assert delivery.link("active") == "../archive/hello/v1.0.0"
    assert delivery.link("staged") is None


async def test_the_workspace_shows_what_is_staged_canary_and_active(delivery: Delivery) -> None:
    await delivery.ship("a")
    delivery.slow.add(2)
    await delivery.build("b", Strategy.CANARY)
    await settled(delivery)
    assert delivery.link("staged") == "../archive/hello/v1.0.0+2"
    delivery.slow.clear()
    await delivery.ship("c", Strategy.CANARY)
    await settled(delivery)
    assert (delivery.link("staged"), delivery.link("canary")) == (None, "../archive/hello/v1.0.0+3")
    await delivery.command(Action.ROLLBACK)
    await settled(delivery)
    assert (delivery.link("canary"), delivery.link("active")) == (None, "../archive/hello/v1.0.0")


async def test_the_events_of_the_log_replay_to_exactly_the_tables(delivery: Delivery) -> None:
    for source in "abc":
        await delivery.ship(source)
    await delivery.ship("d", Strategy.CANARY)
    await delivery.command(Action.PROMOTE)
    await delivery.command(Action.ROLLBACK)
    services, versions = replay(delivery.store.events.scan(streams=("lifecycle",)))
    assert services == {row.service: row for row in delivery.store.table(SERVICES).rows()}
    assert versions == {row.key: row for row in delivery.store.table(VERSIONS).rows()}


async def test_an_instance_is_released_only_after_the_routes_have_changed(delivery: Delivery) -> None:
    for source in "ab":
        await delivery.ship(source)
    await settled(delivery)
    await delivery.stop(names.ROUTER)
    await delivery.ship("c")
    assert delivery.heard_of(ReleaseInstance) == []
    await delivery.start(names.ROUTER)
    await until(lambda: delivery.heard_of(ReleaseInstance) == [1])
    assert delivery.routes.current[HELLO].stable == key(3)
    await settled(delivery)


async def test_an_effect_that_was_committed_before_a_crash_is_performed_after_it(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with living(open_store, tmp_path / "workspace") as plane:
        await plane.ship("a")
        await settled(plane)
        await plane.stop(names.VERSIONS, kill=True)
        leftover = OutboxRow(service=HELLO, epoch=1, effect="release:7", kind=EffectKind.RELEASE, version=7)
        await plane.store.table(OUTBOX).insert(leftover)
        await plane.start(names.VERSIONS)
        await until(lambda: plane.heard_of(ReleaseInstance) == [7])
        await settled(plane)


async def test_the_next_life_of_the_node_runs_and_routes_what_served(open_store: OpenStore, tmp_path: Path) -> None:
    async with living(open_store, tmp_path / "workspace") as plane:
        await plane.ship("a")
        await plane.ship("b")
    async with living(open_store, tmp_path / "workspace") as plane:
        await until(lambda: plane.heard_of(EnsureInstance) == [2, 1])
        assert plane.routes.current[HELLO].stable == key(2)


async def test_a_version_that_crashed_on_probation_is_not_booted_after_an_unclean_stop(
    open_store: OpenStore, tmp_path: Path
) -> None:
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace")
        await plane.start()
        await plane.ship("a")
        await plane.ship("b")
        plane.tell(InstanceDown(key(2), InstanceId("i"), "exit 139", expected=False))
        await until(lambda: plane.version(2).crashes == 1)
        await plane.stop(kill=True)
    async with open_store() as store:
        store.recovered = True
        plane = Delivery(store, tmp_path / "workspace")
        await plane.start()
        await until(lambda: plane.row.active == 1)
        assert plane.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}
        await plane.stop(names.VERSIONS)
        await plane.start(names.VERSIONS)
        assert plane.row.active == 1
        await plane.stop()


async def test_a_version_of_which_others_serve_on_can_be_gone_back_to_at_once(delivery: Delivery) -> None:
    await delivery.ship("a")
    await delivery.ship("b")
    delivery.slow.add(1)  # were it to be started again, it would not come up
    delivery.tell(InstanceDown(key(1), InstanceId("i"), "exit 1", expected=False, left=2))
    await delivery.command(Action.ROLLBACK)
    assert delivery.row.active == 1


async def test_probation_ends_by_itself(store: Store, tmp_path: Path) -> None:
    plane = Delivery(store, tmp_path / "workspace", probation_s=0.05)
    await plane.start()
    await plane.ship("a")
    await plane.ship("b")
    await until(lambda: plane.row.permanent == 2)
    assert not plane.version(2).probation
    await plane.stop()


async def test_a_new_instance_manager_is_told_what_has_to_run(delivery: Delivery) -> None:
    await delivery.ship("a")
    await settled(delivery)
    await delivery.stop(names.INSTANCES, kill=True)
    delivery.heard.clear()
    await delivery.start(names.INSTANCES)
    await until(lambda: delivery.heard_of(EnsureInstance) == [1])


async def test_a_new_instance_manager_is_told_what_must_not_run(delivery: Delivery) -> None:
    for source in "abc":
        await delivery.ship(source)
    await settled(delivery)
    await delivery.stop(names.INSTANCES, kill=True)
    delivery.heard.clear()
    await delivery.start(names.INSTANCES)
    await until(lambda: delivery.heard_of(ReleaseInstance) == [1])
    assert delivery.heard_of(EnsureInstance) == [3, 2]


async def test_a_machine_that_is_up_before_the_instance_manager_tells_it_later(delivery: Delivery) -> None:
    await delivery.ship("a")
    await settled(delivery)
    await delivery.stop(names.VERSIONS, names.INSTANCES, kill=True)
    delivery.heard.clear()
    await delivery.start(names.VERSIONS)
    await delivered(delivery)
    await delivery.start(names.INSTANCES)
    await until(lambda: delivery.heard_of(EnsureInstance) == [1])
    await delivery.stop(names.INSTANCES, kill=True)
    await delivery.start(names.INSTANCES)
    await until(lambda: delivery.heard_of(EnsureInstance) == [1, 1])


async def test_instances_are_told_when_the_router_is_there_again(delivery: Delivery) -> None:
    await delivery.ship("a")
    await settled(delivery)
    await delivery.stop(names.ROUTER, names.VERSIONS, kill=True)
    delivery.heard.clear()
    await delivery.start(names.VERSIONS)
    await delivered(delivery)
    await delivery.start(names.ROUTER)
    await until(lambda: delivery.heard_of(EnsureInstance) == [1])


async def test_a_probation_ends_although_its_timer_was_faster_than_the_clock(store: Store, tmp_path: Path) -> None:
    now_s, looks = 1_000_000.0, 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return now_s

    plane = Delivery(store, tmp_path / "workspace", clock, probation_s=0.05)
    await plane.start()
    await plane.ship("a")
    await plane.ship("b")
    await plane.stop(names.ROUTER)  # it looks at the clock as well
    await delivered(plane)
    seen = looks
    await until(lambda: looks > seen)  # the timer has come, and it is too early
    assert plane.version(2).probation
    now_s += 1.0
    await until(lambda: plane.row.permanent == 2)
    await plane.stop()


async def delivered(delivery: Delivery) -> None:
    """Everything that was sent to the machine was handled."""
    assert await delivery.call(NameVersion(key(1), "9.9.9", BuildId("f" * 64)))


async def test_a_version_that_does_not_start_fails_and_the_old_one_serves(delivery: Delivery) -> None:
    await delivery.ship("a")
    delivery.broken.add(2)
    await delivery.build("b")
    await until(lambda: delivery.states()[2] == "FAILED")
    assert delivery.routes.current[HELLO].stable == key(1)


async def test_a_build_that_is_not_in_the_archive_fails_its_version(delivery: Delivery) -> None:
    await delivery.call(CreateVersion(HELLO, "a", Strategy.AUTO, 1_000))
    await delivery.call(VersionBuilt(key(1), BuildId("0" * 64), "1.0.0", LAUNCH, Contract()))
    await until(lambda: delivery.states()[1] == "FAILED")
    assert "cannot lay out its build" in delivery.version(1).reason


async def test_a_folder_that_was_deleted_is_laid_out_again_for_going_back(delivery: Delivery) -> None:
    for source in "abc":
        await delivery.ship(source)
    await settled(delivery)
    folder = delivery.workspace / "archive/hello/v1.0.0"
    remove_tree(folder)
    await delivery.command(Action.ROLLBACK, to_version=1)
    await until(lambda: delivery.row.active == 1)
    assert (folder / "server.py").exists()


async def test_a_declared_service_runs_without_folder_and_links_and_heals(delivery: Delivery) -> None:
    delivery.broken.add(1)
    declared = DeclareService(HELLO, LAUNCH, "2.0.0", metadata={"resolved": {"exact": True}})
    assert await delivery.call(declared) == key(1)
    assert delivery.version(1).metadata == declared.metadata
    await until(lambda: delivery.states()[1] == "FAILED")
    delivery.broken.clear()
    machine = registry.whereis(names.VERSIONS)
    assert machine is not None
    machine.send(TryAgain(HELLO, 1))
    await until(lambda: delivery.row.active == 1)
    ensures = [message for message in delivery.heard if isinstance(message, EnsureInstance)]
    assert {ensure.root for ensure in ensures} == {None}
    assert delivery.link("active") is None


async def test_a_service_whose_folder_is_gone_can_be_declared_and_goes_back_into_its_build(delivery: Delivery) -> None:
    await delivery.ship("a")
    with pytest.raises(Conflict):
        await delivery.call(DeclareService(HELLO, LAUNCH, "2.0.0"))
    await delivery.call(DeclareService(HELLO, LAUNCH, "2.0.0", takes_over=True))
    await until(lambda: delivery.row.active == 2)
    await settled(delivery)
    assert delivery.link("active") is None
    await delivery.stop(names.INSTANCES)
    delivery.heard.clear()
    await delivery.start(names.INSTANCES)
    await delivery.command(Action.ROLLBACK, to_version=1)
    await until(lambda: delivery.row.active == 1)
    roots = {m.version.number: m.root for m in delivery.heard if isinstance(m, EnsureInstance)}
    assert roots[1] == delivery.workspace / "archive/hello/v1.0.0"
    await settled(delivery)
    assert delivery.link("active") == "../archive/hello/v1.0.0"


async def test_a_refused_command_is_an_answer_and_the_machine_goes_on(delivery: Delivery) -> None:
    with pytest.raises(NotFound):
        await delivery.command(Action.PROMOTE)
    await delivery.ship("a")
    with pytest.raises(Conflict):
        await delivery.command(Action.ROLLBACK)
    assert (await delivery.command(Action.HOLD))["changed"]


async def test_a_version_has_its_name_before_it_is_laid_out(delivery: Delivery) -> None:
    await delivery.ship("a")
    assert await delivery.call(NameVersion(key(2), "1.0.0", BuildId("f" * 64))) == "1.0.0+2"
    assert await delivery.call(NameVersion(key(2), "1.1.0", BuildId("f" * 64))) == "1.1.0"
    assert await delivery.call(NameVersion(key(2), "1.0.0", BuildId(delivery.version(1).build))) == "1.0.0"


async def test_a_link_that_is_in_the_way_stops_nothing(delivery: Delivery) -> None:
    (delivery.workspace / "active" / HELLO).mkdir(parents=True)
    await delivery.ship("a")
    await settled(delivery)
    assert delivery.routes.current[HELLO].stable == key(1)


async def test_old_versions_lose_their_folder(store: Store, tmp_path: Path) -> None:
    plane = Delivery(store, tmp_path / "workspace", keep_versions=2, probation_s=0)
    await plane.start()
    for source in "abcdef":
        await plane.ship(source)
    await until(lambda: len(store.table(OUTBOX)) == 0)
    folders = sorted(path.name for path in (plane.workspace / "archive/hello").iterdir())
    assert folders == [f"v1.0.0+{n}" for n in (3, 4, 5, 6)]
    await plane.stop()


async def test_a_contract_is_kept_as_long_as_a_version_that_has_it(store: Store, tmp_path: Path) -> None:
    plane = Delivery(store, tmp_path / "workspace", keep_versions=2, probation_s=0)
    await plane.start()
    contracts = store.table(CONTRACTS)
    tool = {"name": "greet", "inputSchema": {"type": "object"}}
    plane.contract = Contract(tools=(tool,), digest="first")
    await plane.ship("a")
    kept = contracts.lookup((HELLO, "first"))
    assert kept is not None
    assert kept.contract == plane.contract
    plane.contract = Contract(digest="second")
    for source in "bcdef":
        await plane.ship(source)
    assert [row.digest for row in contracts.rows()] == ["second"]
    await plane.stop()


async def test_a_version_is_compared_with_the_active_one(delivery: Delivery) -> None:
    delivery.contract = Contract(tools=({"name": "greet", "inputSchema": {"type": "object"}},), digest="first")
    await delivery.ship("a")
    delivery.contract = Contract(digest="second")
    await delivery.ship("b")
    rows = {row.number: row for row in delivery.store.table(VERSIONS).rows()}
    assert rows[2].metadata["contract"]["changes"] == [{"step": "major", "subject": "tool 'greet'", "text": "removed"}]


@pytest.mark.parametrize(("table", "packed"), [("t.services", HELLO), ("t.versions", (HELLO, 2))])
async def test_a_damaged_row_is_rebuilt_from_its_history_before_anything_is_decided(
    open_store: OpenStore, tmp_path: Path, table: str, packed: Key
) -> None:
    async with open_store() as store:
        plane = Delivery(store, tmp_path / "workspace")
        await plane.start()
        for source in "ab":
            await plane.ship(source)
        await settled(plane)
        await plane.stop()
        before = store.table(SERVICES).rows(), store.table(VERSIONS).rows()
        with store._env.write() as txn:
            db = store._env.db(table)
            txn.put(pack(packed), txn.get(pack(packed), db=db)[:-1], db=db)
    async with living(open_store, tmp_path / "workspace") as plane:
        await until(lambda: bool(plane.store.events.read(types="STORAGE_HEALED")))
        await until(lambda: HELLO in plane.routes.current and plane.routes.current[HELLO].stable == key(2))
        assert (plane.store.table(SERVICES).rows(), plane.store.table(VERSIONS).rows()) == before
        assert plane.store.quarantined() == []
        (healed,) = plane.store.events.read(types="STORAGE_HEALED")
        assert healed.data["place"] == f"core/{table}"
    async with open_store() as store:
        assert (store.table(SERVICES).rows(), store.table(VERSIONS).rows()) == before
        assert store.quarantined() == []
