"""From a call to the disk and back: stored, found, bounded, and lost without harm."""

import json
import time
from contextlib import asynccontextmanager

import pytest

from henslowe.actors.kernel import Scheduler, names
from henslowe.config.settings import CaptureSettings, StorageSettings
from henslowe.errors import StorageError
from henslowe.storage import Store, open_readonly
from henslowe.storage.capture import FLUSH, WRITER_NAME, Exchange
from henslowe.storage.capture.log import CaptureLog
from henslowe.storage.keeper import LOOK, KeeperActor
from henslowe.storage.notices import NoticeKind
from henslowe.supervisors import Supervisor

WAIT_S = 5
SETTINGS = StorageSettings(map_size_gib=1)
EAGER = CaptureSettings(per_second_max=100_000)


def exchange(number=0, **fields):
    known = {
        "service": "hello",
        "version": 1,
        "instance": "hello@1#1",
        "unit": "p:ada:5",
        "unit_is_session": False,
        "era": "modern",
        "method": "tools/call",
        "params": {"name": "add", "arguments": {"a": number}},
        "answer": {"result": {"content": [{"type": "text", "text": str(number)}]}},
        "outcome": "ok",
        "latency_s": 0.0125,
        "read_only": True,
        "request_id": number,
    }
    return Exchange(**{**known, **fields})


@asynccontextmanager
async def running(data_dir, capture=EAGER):
    Scheduler.install()
    store = Store.open(data_dir, "n1", SETTINGS, capture=capture)
    refs = {}
    try:
        for spec in store.child_specs():
            name = WRITER_NAME if spec.id == "capture writer" else None
            refs[spec.id] = await spec.actor.start_link(*spec.args, parent=None, name=name, **spec.kwargs)
        yield store
        await refs.pop("capture writer").stop(block=False)
    finally:
        for ref in reversed(refs.values()):
            await ref.stop(block=False)
        store.close()


async def flushed():
    """Everything handed over so far is stored."""
    await names.via(WRITER_NAME).call(FLUSH, WAIT_S)


async def test_an_exchange_is_stored_without_its_secrets_and_found_again(tmp_path):
    async with running(tmp_path / "data") as store:
        params = {"name": "login", "arguments": {"user": "ada", "password": "hunter2"}}
        answer = {"result": {"content": [{"type": "text", "text": "token=eyJhbGciOiJI.eyJzdWIiOiIxIn0.c2ln"}]}}
        assert store.captures.read() == []
        store.captures.recorder.record(exchange(7, params=params, answer=answer, unit="p:ada:5"))
        await flushed()
        [found] = store.captures.read()
        assert (found.service, found.version, found.method, found.name) == ("hello", 1, "tools/call", "login")
        assert (found.era, found.instance, found.request_id, found.outcome) == ("modern", "hello@1#1", 7, "ok")
        assert (found.latency_ms, found.read_only, found.is_error, found.truncated) == (12.5, True, False, False)
        assert found.params["arguments"] == {"user": "ada", "password": "[redacted:password:len=7]"}
        assert (found.params_redactions, found.redactions) == (1, 2)
        assert "eyJ" not in str(found.result)
        assert found.error is None
        assert found.hlc > 0
        assert abs(found.time_ns - time.time_ns()) < 60e9
        assert 50 < found.params_bytes < 120
        assert store.captures.get(found.seq) == found
        assert store.captures.get(99) is None
    files = b"".join(path.read_bytes() for path in (tmp_path / "data" / "capture").iterdir())
    for secret in (b"hunter2", b"eyJhbGciOiJI", b"p:ada:5"):
        assert secret not in files


async def test_captures_are_found_by_what_they_are_newest_first_and_page_by_page(tmp_path):
    async with running(tmp_path / "data") as store:
        record = store.captures.recorder.record
        for number in range(60):
            service = ("hello", "world")[number % 2]
            name = ("add", "sub", "div")[number % 3]
            error = {"error": {"code": -32603, "message": "no"}}
            record(
                exchange(
                    number,
                    service=service,
                    version=1 + number // 30,
                    params={"name": name},
                    **({"answer": error, "outcome": "internal_error"} if number % 10 == 0 else {}),
                )
            )
        record(exchange(60, method="resources/read", params={"uri": "file:///a"}, answer=None, error="timeout"))
        await flushed()
        read = store.captures.read

        def numbers(**filters):
            return [found.request_id for found in read(**filters)]

        assert numbers(limit=1000) == list(range(60, -1, -1))
        assert numbers(service="world", version=2, limit=100) == list(range(59, 30, -2))
        assert numbers(service="hello", method="tools/call", name="add", limit=100) == list(range(54, -1, -6))
        assert numbers(method="resources/read") == [60]
        assert numbers(name="file:///a") == [60]
        assert numbers(errors=True, limit=100) == [60, 50, 40, 30, 20, 10, 0]
        assert numbers(errors=False, limit=3) == [59, 58, 57]
        assert numbers(newest_first=False, limit=3) == [0, 1, 2]
        page = read(service="hello", limit=10)
        older = read(service="hello", limit=10, before_seq=page[-1].seq)
        assert older[0].seq < page[-1].seq
        assert len({found.seq for found in (*page, *older)}) == 20
        since = read(limit=11)[-1].time_ns
        assert numbers(since_ns=since, limit=100)[-1] == 50
        assert numbers(until_ns=since, limit=1) == [49]
        assert numbers(since_ns=since, until_ns=since) == []
        failed = read(limit=1)[0]
        assert (failed.error, failed.result, failed.is_error) == ("timeout", None, True)
        scanned = store.captures.log.reader.scan(service="world", limit=7)
        assert [found.request_id for found in scanned] == list(range(1, 60, 2))
        assert [found.request_id for found in store.captures.log.reader.scan(limit=7)] == list(range(61))


async def test_units_are_told_apart_and_not_told(tmp_path):
    async with running(tmp_path / "data") as store:
        for unit in ("p:ada:1", "p:ada:1", "p:bob:1"):
            store.captures.recorder.record(exchange(unit=unit))
        await flushed()
        units = [found.unit for found in store.captures.read()]
        assert units[1] == units[2] != units[0]
        assert "ada" not in "".join(units)


async def test_captures_outlive_a_stop_and_are_readable_in_the_next_life(tmp_path):
    async with running(tmp_path / "data") as store:
        store.captures.recorder.record(exchange(1))
    # Nobody waited: stopping stores what waits.
    async with running(tmp_path / "data") as store:
        await flushed()
        assert [found.request_id for found in store.captures.read()] == [1]
        store.captures.recorder.record(exchange(2))
        await flushed()
        assert [found.seq for found in store.captures.read()] == [2, 1]
        assert store.info().capture.exchanges == 2
    with open_readonly(tmp_path / "data") as disk:
        assert [found.request_id for found in disk.captures.read()] == [2, 1]


async def test_a_long_exchange_is_cut_and_says_so(tmp_path):
    async with running(tmp_path / "data", CaptureSettings(per_second_max=1000, record_bytes_max=2_048)) as store:
        answer = {"result": {"content": [{"type": "text", "text": "a b " * 100_000}]}}
        params = {"name": "add", "arguments": {"rows": [{"n": n} for n in range(10_000)]}}
        store.captures.recorder.record(exchange(params=params, answer=answer))
        await flushed()
        [found] = store.captures.read()
        assert found.truncated
        assert found.answer_bytes > 400_000
        assert len(json.dumps(found.params)) < 4_096
        assert found.result["content"][0]["text"].endswith("[truncated:text:len=400000]")
        assert 900 < len(found.result["content"][0]["text"]) < 2_100


async def test_what_cannot_be_encoded_costs_one_record_and_names_no_content(tmp_path, caplog):
    async with running(tmp_path / "data") as store:
        store.captures.recorder.record(exchange(1, params={"name": "add", "n": 1 << 70}))
        store.captures.recorder.record(exchange(2))
        await flushed()
        assert [found.request_id for found in store.captures.read()] == [2]
        assert store.captures.info().failed == 1
        assert str(1 << 70) not in caplog.text


async def test_a_damaged_record_is_thrown_away_and_told_and_the_node_starts(tmp_path):
    async with running(tmp_path / "data") as store:
        store.captures.recorder.record(exchange(1))
    data = tmp_path / "data" / "capture" / "data.mdb"
    whole = bytearray(data.read_bytes())
    for page in range(2, len(whole) // 4096):
        whole[page * 4096] ^= 0x40
    data.write_bytes(whole)
    (tmp_path / "data" / "running").touch()
    async with running(tmp_path / "data") as store:
        told = []
        store.notices.listen(told.append)
        await flushed()
        assert store.captures.read() == []
        assert store.captures.info().lost
        store.captures.recorder.record(exchange(2))
        await flushed()
        assert [found.request_id for found in store.captures.read()] == [2]


async def test_a_damaged_record_keeps_nobody_from_reading_the_rest(tmp_path):
    async with running(tmp_path / "data"):
        pass
    (tmp_path / "data" / "capture").mkdir()
    (tmp_path / "data" / "capture" / "data.mdb").write_bytes(b"not a database" * 1000)
    with open_readonly(tmp_path / "data") as disk:
        assert disk.captures is None
        assert disk.events.last_seq() == 0


async def test_too_old_captures_are_dropped_when_the_node_starts(tmp_path):
    async with running(tmp_path / "data") as store:
        store.captures.recorder.record(exchange(1))
    log = CaptureLog(tmp_path / "data" / "capture", EAGER, clean=True)
    log.open()
    week_ns = 7 * 86_400 * 10**9
    assert log.expire(time.time_ns() + week_ns // 2) == 0
    assert log.expire(time.time_ns() + 2 * week_ns) == 1
    assert log.reader.read() == []
    log.close()
    with pytest.raises(StorageError, match="the capture is closed"):
        log.append([])


async def test_the_record_stays_within_its_size(tmp_path):
    capture = CaptureSettings(per_second_max=100_000, keep_mib=1, queue_bytes_max=64 << 20)
    async with running(tmp_path / "data", capture) as store:
        filler = "lorem ipsum dolor " * 100
        for number in range(3_000):
            store.captures.recorder.record(exchange(number, params={"name": "add", "text": filler}))
        await flushed()
        info = store.captures.info()
        assert info.exchanges < 600
        assert info.env.used_bytes < 4 << 20
        assert store.captures.read(limit=1)[0].request_id == 2_999


async def test_a_writer_that_is_killed_loses_at_most_what_it_had_taken(tmp_path):
    Scheduler.install()
    store = Store.open(tmp_path / "data", "n1", SETTINGS, capture=EAGER)
    supervisor = await Supervisor.start_link(store.child_specs(), parent=None, max_restarts=100, max_seconds=1)
    for number in range(20):
        store.captures.recorder.record(exchange(number))
        if number % 5 == 0:
            names.whereis(WRITER_NAME).exit("kill")
            await names.via(WRITER_NAME).up()
    await flushed()
    assert [found.request_id for found in store.captures.read()] == list(range(19, -1, -1))
    await supervisor.stop(block=False)
    store.close()


async def test_dropped_captures_are_told_by_the_keeper(tmp_path):
    capture = CaptureSettings(per_second_max=100_000, queue_bytes_max=65_536)
    async with running(tmp_path / "data", capture) as store:
        told = []
        store.notices.listen(told.append)
        for number in range(20):
            store.captures.recorder.record(exchange(number, params={"name": "add", "text": "x" * 10_000}))
        keeper = await KeeperActor.start_link(store._kept, parent=None)
        await keeper.call(LOOK, WAIT_S)
        await keeper.call(LOOK, WAIT_S)
        await keeper.stop(block=False)
        assert [(notice.kind, notice.data) for notice in told] == [(NoticeKind.CAPTURES_DROPPED, {"count": 14})]
