"""The runner: by itself at boot, on command, at a bounded rate; and what is seen of migrations from outside."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from henslowe.config.settings import StorageSettings
from henslowe.errors import Conflict, NotFound
from henslowe.storage import EventDraft, Store
from henslowe.storage.inspection import DataDir
from henslowe.storage.migrations.planning import look
from henslowe.storage.migrations.progress import ORDER, MigrationRow, Phase
from henslowe.storage.migrations.runner import Migrate, MigrationRunner, RollBack, Rotate
from henslowe.storage.sealing import Secret
from tests.storage.migrating import backward, lead, new_spec, old, old_spec
from tests.storage.stores import OpenStore

ROWS = 130
FAST = StorageSettings(map_size_gib=1, migration_rows_per_s=1e9)


@asynccontextmanager
async def runner_of(store: Store, settings: StorageSettings = FAST, **named: object) -> AsyncIterator[MigrationRunner]:
    ref = await MigrationRunner.start_link(store.migrator, settings, store.rotation, parent=None, **named)
    try:
        yield ref
    finally:
        await ref.stop(block=False)


async def fill(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.table(old_spec()).insert(*(old(number) for number in range(ROWS)))


async def until(store: Store, wanted: Callable[[MigrationRow], bool]) -> MigrationRow:
    """The migration's row, as soon as it is as wanted: phases are told by events."""
    news = asyncio.Event()
    cancel = store.events.on_committed(lambda _: news.set())
    try:
        async with asyncio.timeout(5):
            while True:
                news.clear()
                for row in store.migrator.rows():
                    if wanted(row):
                        return row
                await news.wait()
    finally:
        cancel()


async def test_a_declared_migration_runs_to_the_flip_by_itself_and_is_dropped_after_the_window(
    open_store: OpenStore,
) -> None:
    await fill(open_store)
    now_s = [0.0]
    async with open_store() as store:
        people = store.table(new_spec())
        async with runner_of(store, now_s=lambda: now_s[0]) as runner:
            row = await until(store, lambda row: row.phase is Phase.FLIP)
            assert row.by == "henslowe"
            assert len(people) == ROWS
            now_s[0] = row.flipped_s + FAST.rollback_window_s + 1
            # A command, whichever, makes it look at once.
            with pytest.raises(NotFound):
                await runner.call(Migrate("nobody", Phase.FLIP, "ada"))
            await until(store, lambda row: row.phase is Phase.DROP)


async def test_a_manual_one_waits_for_a_command_and_what_is_under_way_goes_on_at_the_next_start(
    open_store: OpenStore,
) -> None:
    await fill(open_store)
    manual = FAST.model_copy(update={"migrations": "manual"})
    async with open_store() as store:
        store.table(new_spec())
        async with runner_of(store, manual) as runner:
            with pytest.raises(NotFound):
                await runner.call(Migrate("nobody", Phase.FLIP, "ada"))
            assert store.migrator.rows() == ()
            await store.migrator.begin("people", goal=Phase.VERIFY, by="ada")
    async with open_store() as store:
        store.table(new_spec())
        async with runner_of(store, manual) as runner:
            await until(store, lambda row: row.phase is Phase.VERIFY)
            await runner.call(Migrate("people", Phase.FLIP, "ada"))
            await until(store, lambda row: row.phase is Phase.FLIP)
            row = await runner.call(RollBack("people", "bob"))
            assert (row.phase, row.by) == (Phase.ROLLED_BACK, "bob")
            with pytest.raises(Conflict, match="it is back at schema 1"):
                await runner.call(RollBack("people", "bob"))


async def test_a_migration_that_stands_still_does_not_keep_others_from_running(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.table(old_spec()).insert(*(old(number) for number in range(ROWS)))
        await store.table(replace(old_spec(), name="zealots")).insert(*(old(number) for number in range(ROWS)))
    wrong = replace(new_spec().migrations[0], backward=lambda fields: backward(fields) | {"age_s": 0})
    fine = replace(new_spec().migrations[0], table="zealots")
    async with open_store() as store:
        store.table(new_spec(wrong))
        store.table(replace(new_spec(), name="zealots", migrations=(fine,)))
        async with runner_of(store):
            await until(store, lambda row: row.table == "zealots" and row.phase is Phase.FLIP)
            stopped = await until(store, lambda row: row.table == "people" and bool(row.problem))
            assert stopped.phase is Phase.BACKFILL


async def test_a_rotation_runs_in_the_runner_too(
    open_store: OpenStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with open_store() as store:
        await store.secrets.set("token", Secret("value"), by="ada")
        before = store.vault.keys().current
        rotated = asyncio.Event()
        store.events.on_committed(lambda events: [rotated.set() for event in events if event.type == "SECRETS_ROTATED"])
        async with runner_of(store) as runner:
            row = await runner.call(Rotate("ada"))
            assert row.key_id != before
            async with asyncio.timeout(5):
                await rotated.wait()
        assert before not in store.vault.keys().ids
        assert store.secrets.reveal("token") == "value"


async def test_the_plan_is_read_from_the_files_and_changes_nothing(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        data_dir = store.data_dir
    before = (data_dir / "core" / "data.mdb").read_bytes()
    rows, (planned,) = look(data_dir, [new_spec()])
    assert rows == []
    assert (planned.table, planned.from_schema, planned.to_schema, planned.phase) == ("people", 1, 2, None)
    assert (planned.rows, planned.reversible) == (ROWS, True)
    assert look(data_dir, [old_spec()]) == ([], [])
    assert (data_dir / "core" / "data.mdb").read_bytes() == before
    for phase in ORDER:
        async with open_store() as store:
            store.table(new_spec())
            await lead(store, phase)
        (row,), plan = look(data_dir, [new_spec()])
        assert row.phase is phase
        assert [each.phase for each in plan] == ([] if phase is Phase.DROP else [phase])
        # What is dumped is the table, whichever of its sub-databases that is.
        with DataDir.open(data_dir) as found:
            assert {raw.schema for raw in found.rows("people")} == {2 if row.flipped else 1}
            assert found.tables().count("people") == 1


async def test_live_writes_wait_no_longer_than_a_page_takes(open_store: OpenStore) -> None:
    await fill(open_store)
    async with open_store() as store:
        people = store.table(new_spec())
        async with runner_of(store) as runner:
            await runner.call(Migrate("people", Phase.DROP, "ada"))
            done = asyncio.ensure_future(until(store, lambda row: row.phase is Phase.DROP))
            events = 0
            while not done.done():
                txn = store.transaction()
                txn.append(EventDraft("activity", "T", "INFO"))
                await txn.commit()
                events += 1
            # Between the pages of a migration of some ten, others were committed every time.
            assert events > 10
            assert len(people) == ROWS


async def test_a_rotation_that_was_killed_between_key_and_first_page_goes_on_by_itself(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with open_store() as store:
        await store.secrets.set("token", Secret("value"), by="ada")
        keys = store.vault.keys()
        store.vault.file.write((bytes(32), *keys.keys))
    async with open_store() as store:
        rotated = asyncio.Event()
        store.events.on_committed(lambda events: [rotated.set() for event in events if event.type == "SECRETS_ROTATED"])
        async with runner_of(store), asyncio.timeout(5):
            await rotated.wait()
        assert store.vault.keys().keys == (bytes(32),)
        assert store.secrets.reveal("token") == "value"


async def test_a_key_file_that_may_not_be_used_does_not_keep_the_runner_from_its_work(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HENSLOWE_SECRET_KEY_FILE", str(tmp_path / "key"))
    (tmp_path / "key").write_text("rubbish")
    await fill(open_store)
    async with open_store() as store:
        store.table(new_spec())
        async with runner_of(store):
            await until(store, lambda row: row.phase is Phase.FLIP)
