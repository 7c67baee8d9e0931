"""What storage does by itself: recovers when the disk does, keeps its ballast, and names forgotten reads."""

import asyncio
import os
import subprocess
import sys
from contextlib import ExitStack, asynccontextmanager

import pytest

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.errors import LimitReached, StorageDegraded
from henslowe.storage import EventDraft, Store
from henslowe.storage.env import Environment
from henslowe.storage.keeper import LOOK
from henslowe.storage.notices import NoticeKind
from tests.storage.faults import Fault

WAIT_S = 5
SETTINGS = StorageSettings(map_size_gib=1, read_s_max=0.001)


class Kept:
    """A store with its keeper, and what it told."""

    def __init__(self, store, keeper):
        self.store = store
        self.keeper = keeper
        self.told = []
        self._heard = asyncio.Event()
        store.notices.listen(self._hear)

    def _hear(self, notice):
        self.told.append(notice)
        self._heard.set()

    async def hear(self, kind):
        """Waits for a notice of this kind; returns the last and forgets all."""

        async def wait():
            while kind not in [notice.kind for notice in self.told]:
                self._heard.clear()
                await self._heard.wait()

        await asyncio.wait_for(wait(), WAIT_S)
        found = next(notice for notice in reversed(self.told) if notice.kind is kind)
        self.told.clear()
        return found

    async def look(self):
        await self.keeper.call(LOOK, WAIT_S)


@asynccontextmanager
async def kept(data_dir, faults):
    Scheduler.install()
    store = Store.open(data_dir, "n1", SETTINGS, env_type=faults.env_type)
    refs = {}
    try:
        for spec in store.child_specs():
            refs[spec.id] = await spec.actor.start_link(*spec.args, parent=None, **spec.kwargs)
        yield Kept(store, refs["keeper"])
    finally:
        for ref in reversed(refs.values()):
            await ref.stop(block=False)
        store.close()


def append(store, data=None):
    txn = store.transaction()
    txn.append(EventDraft("activity", "T", "INFO", data=data or {}))
    return txn.submit()


async def test_a_disk_that_works_again_is_found_without_a_write_of_anybody(tmp_path, faults):
    async with kept(tmp_path / "data", faults) as it:
        faults.plan.extend([Fault.REFUSED, Fault.REFUSED])
        with pytest.raises(StorageDegraded):
            await append(it.store)
        assert (await it.hear(NoticeKind.DEGRADED)).data == {"cause": "injected"}
        await it.look()
        assert it.store.info().degraded == "injected"
        assert it.told == []
        await it.look()
        recovered = await it.hear(NoticeKind.RECOVERED)
        assert recovered.data["cause"] == "injected"
        assert it.store.info().degraded == ""
        await it.look()
        assert it.told == []
        assert it.store.events.last_seq() == 0


async def test_a_disk_that_refused_a_write_is_read_from_end_to_end_when_it_is_well_again(tmp_path, faults):
    async with kept(tmp_path / "data", faults) as it:
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await append(it.store)
        await it.look()
        assert (await it.hear(NoticeKind.RECOVERED)).data["full"] is False
        assert (await it.hear(NoticeKind.SCRUBBED)).data["findings"] == 0


async def test_a_keeper_that_is_killed_hears_nothing_any_more(tmp_path, faults):
    async with kept(tmp_path / "data", faults) as it:
        it.keeper.exit("kill")
        faults.plan.append(Fault.REFUSED)
        with pytest.raises(StorageDegraded):
            await append(it.store)
        assert it.told == []


async def test_the_ballast_is_laid_again_when_there_is_room(tmp_path, faults):
    async with kept(tmp_path / "data", faults) as it:
        assert it.store.info().ballast
        faults.plan.append(Fault.FULL)
        await append(it.store)
        assert not it.store.info().ballast
        await it.look()
        kinds = [notice.kind for notice in it.told]
        # It was given up and is back; a look that finds both has nothing to tell.
        assert kinds in ([], [NoticeKind.BALLAST_DROPPED, NoticeKind.BALLAST_LAID])
        assert (it.store.data_dir / "ballast").stat().st_blocks * 512 >= 1 << 20


async def test_a_forgotten_read_is_named_once_and_shown_as_long_as_it_lasts(tmp_path, faults):
    async with kept(tmp_path / "data", faults) as it:
        with it.store._env.read():
            while not it.told:
                await it.look()
            await it.look()
            [notice] = it.told
            assert notice.kind is NoticeKind.READ_PINNED
            assert (notice.data["environment"], notice.data["pid"]) == ("core", 0)
            assert notice.data["thread_name"] == "MainThread"
            assert notice.data["site"].startswith("storage/test_storage_keeper.py:")
            assert "test_a_forgotten_read" in notice.data["site"]
            [shown] = it.store.info().pinned
            assert shown.pid == os.getpid()
            assert "test_a_forgotten_read" in shown.site
        await it.look()
        assert it.store.info().pinned == ()


HOLD = """
import sys, lmdb
env = lmdb.open(sys.argv[1], readonly=True, map_size=0, lib_version=0, max_readers=256)
held = [env.begin() for _ in range(int(sys.argv[2]))]
print("held", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def holder_of(path, reads):
    """Another process that holds so many read transactions."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), str(reads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), WAIT_S) == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=WAIT_S)


async def test_a_read_of_another_process_is_named_by_its_pid_and_freed_when_it_dies(tmp_path, faults):
    async with kept(tmp_path / "data", faults) as it:
        async with holder_of(tmp_path / "data" / "core", 1) as other:
            await it.look()  # first seen
            while not it.told:
                await it.look()
            [notice] = it.told
            assert notice.kind is NoticeKind.READ_PINNED
            assert (notice.data["pid"], notice.data["environment"]) == (other.pid, "core")
            assert [read.pid for read in it.store.info().pinned] == [other.pid]
        it.told.clear()
        await it.look()
        freed = await it.hear(NoticeKind.READERS_FREED)
        assert freed.data == {"environment": "core", "count": 1}
        assert it.store.info().pinned == ()


async def test_readers_of_a_killed_process_that_fill_the_table_stop_nobody(tmp_path):
    env = Environment.open(tmp_path / "core", map_bytes=1 << 30)
    async with holder_of(tmp_path / "core", 256):
        with pytest.raises(LimitReached, match="256 readers are at work"), env.read():
            pass
    with env.read() as txn:
        assert txn.id() >= 0
    env.close()


def test_as_many_reads_as_there_can_be_refuse_the_next_and_no_other(tmp_path):
    env = Environment.open(tmp_path / "core", map_bytes=1 << 30)
    with ExitStack() as held:
        for _ in range(256):
            held.enter_context(env.read())
        with pytest.raises(LimitReached), env.read():
            pass
        assert len(env.open_reads()[0]) == 256
    with env.read():
        assert len(env.open_reads()[0]) == 1
    env.close()


@pytest.mark.root
async def test_a_full_disk_refuses_reads_on_and_recovers_by_itself(small_disk, faults):
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (6 << 20))
    async with kept(small_disk / "data", faults) as it:

        async def fill():
            for n in range(100):
                await append(it.store, {"n": n, "load": os.urandom(400_000)})

        with pytest.raises(StorageDegraded, match="No space left"):
            await fill()
        degraded = await it.hear(NoticeKind.DEGRADED)
        assert degraded.data["cause"] == "No space left on device"
        assert not it.store.info().ballast
        stored = it.store.events.last_seq()
        assert [event.data["n"] for event in it.store.events.read()] == list(range(stored))
        await it.look()
        assert it.store.info().degraded == "No space left on device"
        filler.unlink()
        await it.hear(NoticeKind.RECOVERED)
        assert it.store.info().degraded == ""
        assert it.store.events.last_seq() == stored
        assert (await append(it.store, {"load": os.urandom(400_000)})).first_seq == stored + 1
