"""Export: exact JSON Lines, CSV that runs nothing in a spreadsheet, and bounds by number, time and age."""

import csv
import io
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from henslowe.errors import ConfigError
from henslowe.storage import STREAMS, Event, EventDraft
from henslowe.storage.export import BOM, Form, Wanted, exported, window

HOUR_NS = 3_600 * 10**9
START_NS = 1_700_000_000 * 10**9


class Log:
    """Events an hour apart, as a reader of the log gives them."""

    def __init__(self, *data, **fields):
        self.events = [
            Event(
                **{
                    "seq": at,
                    "stream": "activity",
                    "node": "n1",
                    "incarnation": 1,
                    "time_ns": START_NS + at * HOUR_NS,
                    "hlc": at,
                    "type": "T",
                    "status": "INFO",
                    "service": "hello",
                    "version": 1,
                    "data": each,
                    **fields,
                }
            )
            for at, each in enumerate(data, 1)
        ]

    def last_seq(self):
        return len(self.events)

    def read(self, *, after_seq=0, before_seq=1 << 62, streams=STREAMS, types=(), services=(), limit=256):
        assert set(streams) <= set(STREAMS)
        return [event for event in self.events if after_seq < event.seq < before_seq][:limit]


def text_of(log, form, **options):
    return "".join(exported(log, form, Wanted(), **options))


def cells_of(log):
    return list(csv.reader(io.StringIO(text_of(log, Form.CSV), newline="")))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
@pytest.mark.parametrize("field", ["type", "status", "service", "node"])
def test_no_cell_begins_as_a_formula(start, field):
    header, row = cells_of(Log({}, **{field: f"{start}cmd|' /C calc'!A0"}))
    cell = row[header.index(field)]
    assert cell.startswith("'" + start)


def test_text_with_quotes_commas_and_line_ends_comes_back_as_it_was():
    said = 'a "quoted", text\r\nover\nlines, with ünïcode and \u2028'
    header, row = cells_of(Log({"line": said}))
    assert json.loads(row[header.index("data")]) == {"line": said}
    assert text_of(Log({}), Form.CSV).endswith("\r\n")


def test_a_byte_order_mark_is_there_when_it_is_asked_for():
    assert text_of(Log({}), Form.CSV, bom=True).startswith(BOM + "seq,")
    assert not text_of(Log({}), Form.CSV).startswith(BOM)
    assert not text_of(Log({}), Form.JSONL, bom=True).startswith(BOM)


def test_json_lines_are_exact_also_for_what_has_no_utf8():
    log = Log({"line": "=1+1", "path": "caf\udce9", "raw": b"\x00\xff"}, {"n": 2**63})
    first, second = map(json.loads, text_of(log, Form.JSONL).encode().decode().splitlines())
    assert first["data"] == {"line": "=1+1", "path": "caf\udce9", "raw": "00ff"}
    assert (second["seq"], second["data"]["n"], second["time_ns"]) == (2, 2**63, START_NS + 2 * HOUR_NS)
    assert text_of(log, Form.CSV).encode()


def test_an_empty_log_is_a_header_or_nothing():
    assert text_of(Log(), Form.CSV).count("\r\n") == 1
    assert text_of(Log(), Form.JSONL) == ""


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("", "", [1, 2, 3, 4, 5]),
        ("2", "4", [3, 4]),
        ("2023-11-15T00:13:20+00:00", "", [2, 3, 4, 5]),
        ("", "2023-11-15T00:13:20+00:00", [1]),
        ("2h", "", [4, 5]),
        ("90m", "30m", [4]),
        ("1w", "5h", []),
        ("2000-01-01", "2099-01-01", [1, 2, 3, 4, 5]),
    ],
)
def test_bounds_are_numbers_times_and_ages(since, until, expected):
    log = Log(*({} for _ in range(5)))
    after, before = window(log, since, until, now_s=START_NS / 1e9 + 5.5 * 3600)
    assert [event.seq for event in log.events if after < event.seq < before] == expected


@pytest.mark.parametrize("text", ["yesterday", "-5", "1y", "2026-13-01", "9" * 30, "٣"])
def test_a_bound_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="since: expected a sequence number"):
        window(Log({}), text)


async def test_a_follower_gets_what_is_there_and_what_comes_each_once_and_ends_when_told(store):
    async def say(number):
        txn = store.transaction()
        txn.append(EventDraft("activity", f"T{number % 2}", "INFO", "s", 1, {"n": number}))
        await txn.commit()

    for number in range(3):
        await say(number)
    stop, got, seen = threading.Event(), [], threading.Semaphore(0)

    def follow():
        for event in store.events.follow(types="T0", stop=stop, poll_s=0.001):
            got.append(event.data["n"])
            seen.release()

    with ThreadPoolExecutor() as pool:
        following = pool.submit(follow)
        for number in range(3, 21):
            await say(number)
        loop_deadline = time.monotonic() + 5
        count = 0
        while count < 11 and time.monotonic() < loop_deadline:
            count += seen.acquire(timeout=5)
        stop.set()
        following.result(timeout=5)
    assert got == list(range(0, 21, 2))
