"""The event log: order, filters, cursors, listeners, retention."""

import asyncio
from fnmatch import fnmatchcase

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from henslowe.config.settings import StorageSettings
from henslowe.errors import Corrupt, LimitReached, StorageError
from henslowe.storage import STREAMS, CursorRow, EventDraft
from henslowe.storage.clock import HybridClock
from henslowe.storage.env import Environment
from henslowe.storage.eventlog import EventReader
from henslowe.storage.events import RINGS, encode
from henslowe.storage.keys import SEQ, pack
from henslowe.storage.partitions import RING, Appender, Layout, Retention
from tests.storage.test_quarantine import flip

TYPES = ("DEPLOY_START", "DEPLOY_COMPLETE", "LINT_COMPLETE", "CANARY_HEALTH")
SERVICES = ("", "hello", "world")


def drafts(count):
    return [EventDraft(STREAMS[n % 3], TYPES[n % 4], "INFO", SERVICES[n // 2 % 3], n, {"n": n}) for n in range(count)]


async def append(store, *some):
    txn = store.transaction()
    for draft in some:
        txn.append(draft)
    return (await txn.commit()).events


async def test_events_of_one_commit_follow_each_other_and_are_what_a_reader_gets(store):
    first = await append(store, *drafts(5))
    second = await append(store, *drafts(5))
    assert [event.seq for event in first + second] == list(range(1, 11))
    assert tuple(store.events.read()) == first + second
    assert store.events.last_seq() == 10
    assert store.events.get(7) == second[1]
    assert store.events.get(11) is None
    assert [event.hlc for event in first + second] == sorted({event.hlc for event in first + second})
    assert {(event.node, event.incarnation) for event in first} == {("n1", 1)}


async def test_numbers_go_on_after_a_restart(open_store):
    async with open_store() as store:
        before = await append(store, *drafts(3))
    async with open_store() as store:
        after = await append(store, *drafts(1))
        assert (after[0].seq, after[0].incarnation) == (4, 2)
        assert after[0].hlc > before[-1].hlc
        assert store.events.read() == [*before, *after]


async def test_time_goes_on_after_a_restart_though_the_wall_clock_was_set_back(open_store):
    async with open_store() as store:
        # As if another node, or this one before its clock was set back, had been a day ahead.
        store.clock.observe(store.clock.tick()[1] + (86_400_000 << 16))
        (ahead,) = await append(store, *drafts(1))
    async with open_store() as store:
        (after,) = await append(store, *drafts(1))
        assert after.hlc > ahead.hlc


async def test_every_filter_gives_what_a_scan_would(store):
    log = list(await append(store, *drafts(60)))
    reader = store.events

    @settings(max_examples=150, deadline=None)
    @given(
        after=st.integers(-1, 62),
        before=st.integers(0, 63),
        newest_first=st.booleans(),
        streams=st.sets(st.sampled_from(STREAMS)),
        types=st.sets(st.sampled_from(["DEPLOY_*", "LINT_COMPLETE", "*", "deploy_*", "NOTHING"]), max_size=2),
        services=st.sets(st.sampled_from(["hello", "world", "nobody"]), max_size=2),
        limit=st.integers(0, 70),
    )
    def check(*, after, before, newest_first, streams, types, services, limit):
        expected = [
            event
            for event in (reversed(log) if newest_first else log)
            if after < event.seq < before
            and event.stream in streams
            and (not types or any(fnmatchcase(event.type, pattern) for pattern in types))
            and (not services or event.service in services)
        ][:limit]
        found = reader.read(
            after_seq=after,
            before_seq=before,
            newest_first=newest_first,
            streams=streams,
            types=types,
            services=services,
            limit=limit,
        )
        assert found == expected

    check()


async def test_a_single_word_filters_as_a_list_of_it(store):
    await append(store, *drafts(12))
    assert store.events.read(types="LINT_*") == store.events.read(types=["LINT_*"])
    assert store.events.read(services="hello") == store.events.read(services=("hello",)) != []


async def test_scanning_goes_through_all_pages(store):
    await append(store, *drafts(50))
    assert [event.seq for event in store.events.scan(limit=7)] == list(range(1, 51))
    assert [event.seq for event in store.events.scan(limit=7, services="hello", after_seq=20)] == [
        event.seq for event in store.events.read(services="hello", after_seq=20)
    ]


async def test_a_cursor_is_durable_and_never_moves_back(open_store):
    async with open_store() as store:
        assert store.events.cursor("audit") == 0
        await store.events.advance("audit", 5)
        await store.events.advance("audit", 3)
    async with open_store() as store:
        assert store.events.cursor("audit") == 5


async def test_a_cursor_moves_together_with_its_reader_effect(store):
    txn = store.transaction()
    txn.put(store.events.cursors, CursorRow(name="audit", seq=9))
    txn.append(EventDraft("lifecycle", "AUDITED", "SUCCESS"))
    await txn.commit()
    assert store.events.cursor("audit") == 9


async def test_a_damaged_cursor_is_at_the_beginning_until_it_is_written_again(open_store):
    async with open_store() as store:
        await store.events.advance("audit", 5)
        await store.events.advance("other", 6)
        folder = store.data_dir
    flip(folder, pack("audit"), "t.cursors")
    async with open_store() as store:
        assert (store.events.cursor("audit"), store.events.cursor_to_be("audit")) == (0, 0)
        assert store.events.cursor("other") == 6
        await store.events.advance("audit", 2)
        assert store.events.cursor("audit") == 2
    async with open_store() as store:
        assert store.events.cursor("audit") == 2


@pytest.mark.parametrize(
    ("name", "key", "value", "said"),
    [
        ("e.lifecycle.0", SEQ.pack(1)[1:], b"", "expected a number of 8 bytes"),
        ("e.lifecycle.0.type", b"T", SEQ.pack(2), "under another word than its own"),
        ("e.lifecycle.0.type", b"T", SEQ.pack(9), "the log does not have it"),
        ("e.lifecycle.0.type", b"T\xff", SEQ.pack(1), "is no type of an event"),
    ],
)
async def test_entries_that_cannot_be_are_damage(store, name, key, value, said):
    await append(store, *(EventDraft("lifecycle", type_, "INFO") for type_ in "TUTT"))
    with store._env.write() as txn:
        txn.put(key, value, db=store._env.db(name))
    types = "T*" if key.startswith(b"T") else ()
    with pytest.raises(Corrupt, match=said):
        store.events.read(types=types)


async def test_a_service_that_an_index_lists_wrongly_is_damage(store):
    await append(store, *(EventDraft("lifecycle", "T", "INFO", service) for service in "ab"))
    with store._env.write() as txn:
        txn.put(b"a", SEQ.pack(2), db=store._env.db("e.lifecycle.0.service"))
    assert [event.service for event in store.events.read(services="b")] == ["b"]
    with pytest.raises(Corrupt, match="under another word"):
        store.events.read(services="a", types="T")


@pytest.mark.parametrize("newest_first", [True, False])
async def test_an_index_entry_that_became_another_is_noticed_by_its_order(open_store, newest_first):
    async with open_store() as store:
        await append(store, *(EventDraft("lifecycle", "T", "INFO") for _ in range(9)))
        data = store.data_dir / "core" / "data.mdb"
    content, listed = data.read_bytes(), b"".join(map(SEQ.pack, range(1, 10)))
    assert listed in content
    data.write_bytes(content.replace(listed, b"".join(map(SEQ.pack, (1, 2, 3, 4, 5, 6, 7, 9, 9)))))
    async with open_store() as store:
        assert len(store.events.read()) == 9
        with pytest.raises(Corrupt, match="out of order"):
            store.events.read(types="T", newest_first=newest_first)


async def test_listeners_hear_every_event_in_order_before_the_committer_goes_on(store):
    heard = []
    cancel = store.events.on_committed(heard.extend)
    await asyncio.gather(*(append(store, *drafts(3)) for _ in range(20)))
    assert heard == store.events.read()
    cancel()
    cancel()
    await append(store, *drafts(1))
    assert len(heard) == 60


async def test_a_broken_listener_harms_neither_the_commit_nor_the_others(store):
    reported, heard = [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def broken(_):
        raise ZeroDivisionError

    store.events.on_committed(broken)
    store.events.on_committed(heard.extend)
    assert len(await append(store, *drafts(2))) == 2
    assert len(heard) == 2
    assert [type(error) for error in reported] == [ZeroDivisionError]


@pytest.mark.parametrize(
    ("draft", "error"),
    [
        (EventDraft("gossip", "T", "INFO"), StorageError),
        (EventDraft("activity", "", "INFO"), StorageError),
        (EventDraft("activity", "T", "INFO", data={"a": object()}), StorageError),
        (EventDraft("activity", "T" * 256, "INFO"), LimitReached),
        (EventDraft("activity", "T", "INFO", data={"a": "x" * (1 << 20)}), LimitReached),
    ],
)
async def test_an_event_that_cannot_be_stored_is_refused_before_anything_is_sent(store, draft, error):
    with pytest.raises(error):
        await append(store, EventDraft("activity", "GOOD", "INFO"), draft)
    assert store.events.last_seq() == 0


async def test_a_full_queue_refuses_instead_of_growing(open_store):
    async with open_store(StorageSettings(map_size_gib=1, writer_queue=16)) as store:
        waiting, refused = [], 0
        for _ in range(2000):
            txn = store.transaction()
            txn.append(EventDraft("activity", "T", "INFO"))
            try:
                waiting.append(txn.submit())
            except LimitReached:
                refused += 1
        await asyncio.gather(*waiting)
        assert refused > 0
        assert store.events.last_seq() == len(waiting)


class Log:
    """A log alone, without a store: what retention does is the appender's."""

    def __init__(self, folder, retention):
        self.env = Environment.open(folder, map_bytes=1 << 30)
        layout = Layout(self.env, RINGS)
        self.reader = EventReader(self.env, layout)
        self.appender = Appender(self.env, layout, {"activity": retention})
        self.appender.load()

    def append(self, count, *, at_s=0.0, stream="activity"):
        draft = EventDraft(stream, "T", "INFO", "hello")
        one = encode(draft, node="n1", incarnation=1, time_ns=int(at_s * 1e9), hlc=1)
        txn = self.env.begin()
        self.appender.append(txn, [one] * count)
        txn.commit()

    def seqs(self, **filters):
        return [event.seq for event in self.reader.read(limit=100_000, **filters)]


def test_retention_keeps_at_least_what_is_wanted_and_little_more(tmp_path):
    log = Log(tmp_path / "core", Retention(events_max=150))
    for _ in range(100):
        log.append(5)
        kept = log.seqs()
        assert kept == list(range(kept[0], log.reader.last_seq() + 1))
        assert min(150, log.reader.last_seq()) <= len(kept) <= 150 + 2 * 150 // (RING - 1)
        assert kept == log.seqs(types="T") == log.seqs(services="hello") == log.seqs(newest_first=True)[::-1]
    assert log.reader.counts()["activity"] == len(kept)
    log.env.close()
    again = Log(tmp_path / "core", Retention(events_max=150))
    assert again.seqs() == kept
    again.append(5)
    assert again.seqs()[-5:] == list(range(501, 506))
    again.env.close()


def test_retention_by_age_drops_what_is_older(tmp_path):
    log = Log(tmp_path / "core", Retention(events_max=1500, age_s_max=60))
    for minute in range(5):
        log.append(100, at_s=minute * 60)
    assert log.seqs()[0] > 200
    log.env.close()


def test_retention_by_age_needs_no_new_events(tmp_path):
    log = Log(tmp_path / "core", Retention(events_max=1500, age_s_max=60))
    for second in range(0, 60, 10):
        log.append(10, at_s=second)

    def expire(at_s):
        txn = log.env.begin()
        dropped = log.appender.expire(txn, int(at_s * 1e9))
        txn.commit()
        return dropped

    assert expire(63) == 0
    assert expire(65) == 1
    assert expire(85) == 2
    assert log.seqs()[0] == 31
    assert expire(1000) == 3
    assert log.seqs() == []
    log.append(1, at_s=1001)
    assert log.seqs() == [61]
    log.env.close()


def test_retention_by_size_bounds_the_file(tmp_path):
    log = Log(tmp_path / "core", Retention(events_max=1_000_000, bytes_max=2 << 20))
    for _ in range(200):
        log.append(400)
    stored = log.reader.counts()["activity"]
    assert 2_000 < stored < 40_000
    assert log.env.info().used_bytes < 4 << 20
    assert log.seqs()[-1] == 80_000
    log.env.close()


def test_lifecycle_is_never_dropped(tmp_path):
    log = Log(tmp_path / "core", Retention(events_max=15))
    for _ in range(50):
        log.append(2)
        log.append(2, stream="lifecycle")
    assert len(log.seqs(streams=("lifecycle",))) == 100
    assert len(log.seqs(streams=("activity",))) == 2 * RING
    log.env.close()


def test_a_reader_keeps_its_view_while_the_partition_under_it_is_dropped(tmp_path):
    log = Log(tmp_path / "core", Retention(events_max=15))
    log.append(1)
    scan = log.reader.scan(limit=1)
    with log.env.read() as txn:
        before = log.reader._layout.partitions(txn, "activity")
        for _ in range(60):
            log.append(1)
        slot = log.reader._layout.slot("activity", before[0].slot)
        assert txn.stat(db=slot.log)["entries"] == 1
        assert log.reader._layout.partitions(txn, "activity") == before
    assert [event.seq for event in scan] == log.seqs()
    log.env.close()


@settings(suppress_health_check=list(HealthCheck))
@given(st.lists(st.integers(0, 10**15), min_size=1), st.integers(0, 2**63))
def test_the_hybrid_clock_only_grows(wall, foreign):
    times = iter(wall)
    clock = HybridClock(0, lambda: next(times))
    readings = [clock.tick()[1] for _ in wall[:-1]]
    clock.observe(foreign)
    readings.append(clock.tick()[1])
    assert readings == sorted(set(readings))
    assert readings[-1] > foreign


async def test_age_is_kept_to_also_by_a_log_that_was_silent_for_long(open_store):
    day_ns = 86_400 * 10**9
    now_ns = 1_700_000_000 * 10**9
    aged = StorageSettings(map_size_gib=1, activity_age_max_s=90 * 86_400.0, output_age_max_s=0)
    async with open_store(aged) as store:

        async def say(day):
            store.clock._now_ns = lambda: now_ns + day * day_ns
            txn = store.transaction()
            for stream in ("lifecycle", "activity", "output"):
                txn.append(EventDraft(stream, "T", "INFO", "s", 1, {"day": day}))
            await txn.commit()

        def days(stream):
            return [event.data["day"] for event in store.events.read(streams=(stream,))]

        for day in (0, 1, 50, 95, 120, 300, 301):
            await say(day)
        # Within a fifteenth of the limit, as partitions are dropped whole.
        assert days("activity") == [300, 301]
        assert days("lifecycle") == days("output") == [0, 1, 50, 95, 120, 300, 301]
