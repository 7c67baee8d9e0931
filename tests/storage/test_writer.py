"""What happens when the disk refuses, the writer dies, or nobody waits any more."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from pydantic import BaseModel

from henslowe.actors.kernel import Scheduler, names
from henslowe.config.settings import StorageSettings
from henslowe.errors import StorageDegraded, StorageError
from henslowe.storage import EventDraft, Store, TableSpec, open_readonly
from henslowe.storage.commits import Commit
from henslowe.storage.env import Environment
from henslowe.storage.writer import Committer
from henslowe.supervisors import Supervisor
from tests.storage.faults import Fault, Faults
from tests.storage.stores import running


class Row(BaseModel, frozen=True):
    name: str
    value: int = 0


ROWS = TableSpec(name="rows", row_type=Row, key="name")


def append(store, data=None):
    txn = store.transaction()
    txn.append(EventDraft("activity", "T", "INFO", data=data or {}))
    return txn.submit()


async def test_a_refused_commit_changes_nothing_and_the_next_one_works(store, faults):
    table = store.table(ROWS)
    await table.insert(Row(name="a"))
    faults.plan.append(Fault.REFUSED)
    with pytest.raises(StorageDegraded, match="cannot commit: injected"):
        await table.insert(Row(name="a", value=1))
    assert table.lookup("a") == table.latest("a") == Row(name="a")
    assert store.info().degraded == "injected"
    await table.insert(Row(name="a", value=2))
    assert table.lookup("a") == Row(name="a", value=2)
    assert (store.info().degraded, faults.reopened) == ("", 1)


async def test_what_was_submitted_on_top_of_a_refused_commit_is_refused_too(store, faults):
    table = store.table(ROWS)
    faults.plan.append(Fault.REFUSED)
    first = store.transaction()
    first.put(table, Row(name="a"))
    second = store.transaction()
    second.expect(table, "a", Row(name="a"))
    second.put(table, Row(name="b"))
    results = await asyncio.gather(first.submit(), second.submit(), return_exceptions=True)
    assert [type(result) for result in results] == [StorageDegraded, StorageDegraded]
    assert table.rows() == ()


async def test_a_commit_that_reached_the_disk_is_acknowledged_though_its_answer_was_lost(open_store, faults):
    async with open_store() as store:
        faults.plan.append(Fault.ANSWER_LOST)
        txn = store.transaction()
        txn.put(store.table(ROWS), Row(name="a"))
        txn.append(EventDraft("activity", "T", "INFO"))
        assert (await txn.commit()).first_seq == 1
        assert (await append(store)).first_seq == 2
    async with open_store() as store:
        assert store.table(ROWS).lookup("a") == Row(name="a")
        assert store.events.last_seq() == 2


async def test_a_refused_commit_is_not_taken_for_that_of_another_who_came_between(tmp_path, faults):
    class Between(faults.env_type):
        """Where another commits, with the number of the writer's lost transaction, before the writer looks."""

        def reopen(self):
            number = self.last_txn_id()
            with self._lmdb.begin(write=True) as txn:
                self._lmdb.open_db(b"another's", txn)
            assert self.last_txn_id() == number + 1
            super().reopen()

    faults.env_type = Between
    async with running(tmp_path / "data", faults) as store:
        table = store.table(ROWS)
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await table.insert(Row(name="a"))
        assert table.rows() == ()
        await table.insert(Row(name="b"))
    with open_readonly(tmp_path / "data") as disk:
        assert disk.table(ROWS).rows() == (Row(name="b"),)


def test_the_batch_of_a_killed_writer_is_not_taken_for_stored_because_of_what_came_after(tmp_path):
    class Killed(BaseException):
        pass

    class Killing(Environment):
        killing = False

        def db(self, name, *, dup=False):
            if self.killing:  # in the middle of the transaction
                raise Killed
            return super().db(name, dup=dup)

    env = Killing.open(tmp_path / "env", map_bytes=1 << 24)
    env.declare({"t": False})
    committer = Committer(env, None, None)
    stored, lost = [Commit([("t", b"a", b"1")], [], {})], [Commit([("t", b"b", b"1")], [], {})]
    committer.commit(stored)
    assert committer.stored(stored)
    env.killing = True
    with pytest.raises(Killed):
        committer.commit(lost)
    env.killing = False
    env.declare({"another's": False})
    assert not committer.stored(lost)
    committer.commit(lost)
    assert committer.stored(lost)
    assert not Committer(env, None, None).stored(lost)
    env.close()


async def test_an_environment_in_panic_is_opened_again_and_the_batch_is_tried(store, faults):
    table = store.table(ROWS)
    faults.plan.append(Fault.PANIC)
    await table.insert(Row(name="a"))
    assert (faults.reopened, store.info().degraded) == (1, "")
    assert table.lookup("a") == Row(name="a")
    faults.plan.extend([Fault.REFUSED, Fault.PANIC])
    with pytest.raises(StorageDegraded):
        await table.insert(Row(name="b"))
    await table.insert(Row(name="c"))
    assert [row.name for row in table.rows()] == ["a", "c"]


async def test_a_full_disk_gives_up_its_ballast_once(store, faults):
    ballast = store.data_dir / "ballast"
    assert ballast.stat().st_blocks * 512 >= 1 << 20
    faults.plan.append(Fault.FULL)
    await append(store)
    assert not ballast.exists()
    faults.plan.append(Fault.FULL)
    with pytest.raises(StorageDegraded) as refused:
        await append(store)
    assert "free space" in refused.value.hint


async def test_readers_keep_their_handles_while_the_environment_is_reopened(store, faults):
    await append(store)
    reader = store.events
    faults.plan.extend([Fault.REFUSED] * 3)
    for _ in range(3):
        with pytest.raises(StorageDegraded):
            await append(store)
        assert reader.last_seq() == 1
    assert [event.seq for event in reader.read(types="T")] == [1]


async def test_cancelling_the_wait_cancels_nothing_else(store):
    table = store.table(ROWS)
    first, second = (
        asyncio.ensure_future(table.insert(Row(name="a"))),
        asyncio.ensure_future(table.insert(Row(name="b"))),
    )
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 5)
    assert first.cancelled()
    assert table.member("a")
    assert table.member("b")


async def test_an_environment_that_cannot_be_reopened_costs_the_writer_and_its_successor_opens_it(tmp_path, faults):
    Scheduler.install()
    settings = StorageSettings(map_size_gib=1)
    store = Store.open(tmp_path / "data", "n1", settings, env_type=faults.env_type)
    supervisor = await Supervisor.start_link([store.child_spec()], parent=None, max_restarts=5, max_seconds=60)
    assert (await asyncio.wait_for(append(store), 5)).first_seq == 1
    faults.plan.append(Fault.REFUSED)
    faults.failing_reopens = 1
    with pytest.raises(StorageDegraded, match="the writer crashed"):
        await asyncio.wait_for(append(store), 5)
    assert (await asyncio.wait_for(append(store), 5)).first_seq == 2
    assert [event.seq for event in store.events.read()] == [1, 2]
    await supervisor.stop(block=False)
    store.close()


async def test_commits_are_grouped(store):
    before = store.info().core.last_txn_id
    await asyncio.gather(*(append(store) for _ in range(500)))
    assert store.info().core.last_txn_id - before < 50


async def test_commits_wait_for_a_writer_and_a_restarted_one_goes_on(tmp_path):
    Scheduler.install()
    store = Store.open(tmp_path / "data", "n1", StorageSettings(map_size_gib=1))
    waiting = append(store)
    supervisor = await Supervisor.start_link([store.child_spec()], parent=None, max_restarts=5, max_seconds=60)
    assert (await asyncio.wait_for(waiting, 5)).first_seq == 1
    writer = names.whereis("storage.writer")
    down = asyncio.Event()
    writer.watch(lambda *_: asyncio.get_running_loop().call_soon(down.set))
    writer.exit("kill")
    assert (await asyncio.wait_for(append(store), 5)).first_seq == 2
    await supervisor.stop(block=False)
    store.close()


async def test_a_closed_store_refuses_and_fails_what_waits(tmp_path):
    store = Store.open(tmp_path / "data", "n1", StorageSettings(map_size_gib=1))
    waiting = append(store)
    store.close()
    with pytest.raises(StorageError, match="the store is closed"):
        await waiting
    with pytest.raises(StorageError, match="the store is closed"):
        append(store)
    with pytest.raises(StorageError, match="it is closed"):
        store.events.read()


async def test_stopping_the_writer_commits_what_waits(tmp_path):
    async with running(tmp_path / "data", Faults()) as store:
        waiting = [append(store) for _ in range(3000)]
    assert [(await one).first_seq for one in waiting] == list(range(1, 3001))
    async with running(tmp_path / "data", Faults()) as store:
        assert store.events.last_seq() == 3000


@pytest.mark.root
async def test_a_disk_that_is_really_full_refuses_writes_serves_reads_and_recovers(small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (4 << 20))
    acknowledged = 0
    async with running(small_disk / "data", Faults()) as store:
        ballast = Path(store.data_dir / "ballast")
        assert ballast.exists()

        async def fill() -> None:
            nonlocal acknowledged
            for n in range(100):
                acknowledged = (await append(store, {"n": n, "load": os.urandom(500_000)})).first_seq

        with pytest.raises(StorageDegraded, match="No space left"):
            await fill()
        assert not ballast.exists()
        assert acknowledged > 5
        assert [event.data["n"] for event in store.events.read()] == list(range(acknowledged))
        assert "No space left" in store.info().degraded
        filler.unlink()
        assert (await append(store, {"load": os.urandom(500_000)})).first_seq == acknowledged + 1
        assert store.info().degraded == ""
    async with running(small_disk / "data", Faults()) as store:
        assert store.events.last_seq() == acknowledged + 1


async def test_a_commit_is_stored_and_acknowledged_once_however_often_its_writer_is_killed(tmp_path):
    Scheduler.install()
    dice = random.Random(7)
    store = Store.open(tmp_path / "data", "n1", StorageSettings(map_size_gib=1))
    table = store.table(ROWS)
    supervisor = await Supervisor.start_link([store.child_spec()], parent=None, max_restarts=1_000, max_seconds=1)
    killed = asyncio.Event()
    acknowledged = 0

    async def count_up(name):
        nonlocal acknowledged
        while not killed.is_set():
            txn = store.transaction()
            row = table.lookup(name, Row(name=name))
            txn.put(table, row.model_copy(update={"value": row.value + 1}))
            txn.append(EventDraft("lifecycle", "COUNTED", "SUCCESS", name, row.value + 1, {}))
            await txn.commit()
            acknowledged += 1

    counting = [asyncio.create_task(count_up(name)) for name in "abcd"]
    for _ in range(60):
        seen = acknowledged
        while acknowledged == seen and not any(task.done() for task in counting):
            await asyncio.sleep(dice.random() * 0.01)
        names.whereis("storage.writer").exit("kill")
        await names.via("storage.writer").up()
    killed.set()
    await asyncio.wait_for(asyncio.gather(*counting), 5)
    counted = [(event.service, event.version) for event in store.events.scan(streams=("lifecycle",))]
    assert len(counted) == len(set(counted)) == acknowledged
    in_memory = table.rows()
    await supervisor.stop(block=False)
    store.close()
    with open_readonly(tmp_path / "data") as disk:
        assert sorted(disk.table(ROWS).rows(), key=str) == sorted(in_memory, key=str)
