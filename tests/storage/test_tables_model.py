"""Tables against a plain dict: random commands, failing commits, restarts."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import BaseModel

from henslowe.errors import Conflict, KeyRefused, StorageDegraded
from henslowe.storage import EventDraft, Store, TableSpec, keys
from tests.storage.faults import Fault, Faults
from tests.storage.stores import running

Scalar = str | int | bytes


class Row(BaseModel, frozen=True, extra="forbid"):
    key: Scalar | tuple[Scalar, ...]
    value: int
    tags: tuple[int, ...] = ()


KEYS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from(["", "a", "b", "a\0b", "1"]),
    st.binary(max_size=2),
    st.tuples(st.integers(0, 2), st.sampled_from(["x", "y"])),
)
HOSTILE = st.sampled_from([True, False, 1.0, (1, True), "\ud800", "x" * 600, 2**64])
ROWS = st.builds(Row, key=KEYS, value=st.integers(0, 2), tags=st.lists(st.integers(0, 1), max_size=1).map(tuple))


class Machine(RuleBasedStateMachine):
    """What sets and bags have in common; `model` maps a key to its rows."""

    kind: Any = "set"
    longest_key_bytes = keys.KEY_BYTES_MAX

    def __init__(self) -> None:
        super().__init__()
        # In memory where the system has such a folder: what a sync does is tested elsewhere.
        self.folder = Path(tempfile.mkdtemp(prefix="tables", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.runner = asyncio.Runner()
        self.faults = Faults()
        self.model: dict[Any, list[Row]] = {}
        self.said: list[int] = []
        self.spec = TableSpec(
            name="rows", row_type=Row, key="key", kind=self.kind, indexes={"value": lambda row: row.value}
        )
        self.start()

    def start(self) -> None:
        self.life = running(self.folder / "data", self.faults)
        self.store: Store = self.wait(self.life.__aenter__())
        self.table: Any = self.store.bag(self.spec) if self.kind == "bag" else self.store.table(self.spec)

    def wait(self, steps: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(steps, 5))

    def stop(self) -> None:
        self.wait(self.life.__aexit__(None, None, None))

    def teardown(self) -> None:
        self.stop()
        self.runner.close()
        shutil.rmtree(self.folder)

    def remember(self, row: Row) -> None:
        there = self.model.setdefault(row.key, [])
        if self.kind != "bag":
            self.model[row.key] = [row]
        elif row not in there:
            there.append(row)

    def expected(self, key: Any) -> list[Row]:
        return self.model.get(key, [])

    def found(self, key: Any) -> list[Row]:
        got = self.table.lookup(key)
        return list(got) if self.kind == "bag" else [got] * (got is not None)

    @rule(rows=st.lists(ROWS, max_size=4))
    def insert(self, rows: list[Row]) -> None:
        self.wait(self.table.insert(*rows))
        for row in rows:
            self.remember(row)

    @rule(key=KEYS)
    def take(self, key: Any) -> None:
        got = self.wait(self.table.take(key))
        assert (list(got) if self.kind == "bag" else [got] * (got is not None)) == self.expected(key)
        self.model.pop(key, None)

    @rule(row=ROWS, gone=KEYS, events=st.integers(0, 3))
    def change_and_say(self, row: Row, gone: Any, events: int) -> None:
        self.wait(self.commit(row, gone, events))
        self.remember(row)
        self.model.pop(gone, None)

    async def commit(self, row: Row, gone: Any, events: int) -> None:
        txn = self.store.transaction()
        txn.put(self.table, row)
        txn.delete(self.table, gone)
        for _ in range(events):
            txn.append(EventDraft("activity", "TOLD", "INFO", data={"n": len(self.said)}))
            self.said.append(len(self.said))
        await txn.commit()

    @rule(row=ROWS, gone=KEYS, fault=st.sampled_from([Fault.REFUSED, Fault.FULL]), more=ROWS)
    def refused_by_the_disk(self, row: Row, gone: Any, fault: Fault, more: Row) -> None:
        said = list(self.said)
        # Twice: a full disk gives up its ballast and tries again.
        self.faults.plan.extend([fault, fault])

        async def steps() -> None:
            first = self.commit(row, gone, 1)
            behind = asyncio.ensure_future(self.table.insert(more))
            with pytest.raises(StorageDegraded):
                await first
            with pytest.raises(StorageDegraded):
                await behind
            self.faults.plan.clear()

        self.wait(steps())
        self.said = said

    @rule(row=ROWS, gone=KEYS)
    def answer_of_the_disk_lost(self, row: Row, gone: Any) -> None:
        self.faults.plan.append(Fault.ANSWER_LOST)
        self.change_and_say(row, gone, 1)

    @rule(row=ROWS)
    def guarded(self, row: Row) -> None:
        seen = self.table.lookup(row.key)
        other = row.model_copy(update={"value": row.value + 1})

        async def steps() -> None:
            one, two = self.store.transaction(), self.store.transaction()
            for txn, mine in ((one, row), (two, other)):
                txn.expect(self.table, row.key, seen)
                txn.put(self.table, mine)
            winner = one.submit()
            if self.table.latest(row.key) != seen:
                with pytest.raises(Conflict):
                    two.submit()
            await winner

        self.wait(steps())
        self.remember(row)

    @rule(key=HOSTILE)
    def hostile_key(self, key: Any) -> None:
        row = Row.model_construct(key=key, value=1)
        with pytest.raises(KeyRefused):
            self.wait(self.table.insert(row))
        if not isinstance(key, str | int) or isinstance(key, bool):
            with pytest.raises(KeyRefused):
                self.table.lookup(key)

    @rule(value=st.integers(0, 2), kind=st.sampled_from([str, bytes]))
    def longest_key(self, value: int, kind: type) -> None:
        # A tag before and an end behind it.
        fits = self.longest_key_bytes - 2
        longest, longer = (("k" * size if kind is str else b"k" * size) for size in (fits, fits + 1))
        assert len(keys.pack(longest)) == self.longest_key_bytes
        row = Row(key=longest, value=value)
        self.wait(self.table.insert(row))
        self.remember(row)
        with pytest.raises(KeyRefused, match=f"at most {self.longest_key_bytes} bytes"):
            self.wait(self.table.insert(row.model_copy(update={"key": longer})))

    @rule()
    def restart(self) -> None:
        self.stop()
        self.start()

    @rule(key=KEYS)
    def lookup(self, key: Any) -> None:
        assert self.found(key) == self.expected(key)
        assert self.table.member(key) == bool(self.expected(key))

    @invariant()
    def same_rows(self) -> None:
        known = self.table.keys()
        assert {key: self.found(key) for key in known} == {k: v for k, v in self.model.items() if v}
        assert not self.table._flight

    @rule(value=st.integers(0, 3))
    def indexed(self, value: int) -> None:
        found = self.table.by("value", value)
        assert sorted(map(repr, found)) == sorted(
            repr(row) for rows in self.model.values() for row in rows if row.value == value
        )

    @rule()
    def same_events(self) -> None:
        log = list(self.store.events.scan(streams=("activity",)))
        assert [event.data["n"] for event in log] == self.said
        assert [event.seq for event in log] == list(range(1, len(self.said) + 1))


class SetMachine(Machine):
    @rule(rows=st.lists(ROWS, min_size=1, max_size=3))
    def insert_new(self, rows: list[Row]) -> None:
        free = not any(self.expected(row.key) for row in rows)
        assert self.wait(self.table.insert_new(*rows)) is free
        for row in rows if free else ():
            self.remember(row)

    @rule(key=KEYS, times=st.integers(1, 3))
    def count(self, key: Any, times: int) -> None:
        default = Row(key=key, value=10)
        before = self.expected(key) or [default]

        async def steps() -> list[int]:
            return await asyncio.gather(
                *(self.table.update_counter(key, "value", default=default) for _ in range(times))
            )

        assert self.wait(steps()) == [before[0].value + n + 1 for n in range(times)]
        self.remember(before[0].model_copy(update={"value": before[0].value + times}))


class OrderedMachine(SetMachine):
    kind = "ordered_set"

    @precondition(lambda self: self.model)
    @rule(key=KEYS, other=KEYS)
    def walk(self, key: Any, other: Any) -> None:
        order = sorted((k for k, rows in self.model.items() if rows), key=keys.pack)
        table = self.table
        assert [row.key for row in table.rows()] == order
        assert (table.first(), table.last()) == ((order[0], order[-1]) if order else (None, None))
        here = keys.pack(key)
        assert table.next(key) == next((k for k in order if keys.pack(k) > here), None)
        assert table.prev(key) == next((k for k in reversed(order) if keys.pack(k) < here), None)
        inside = [k for k in order if here <= keys.pack(k) < keys.pack(other)]
        assert [row.key for row in table.range(key, other)] == inside
        begins = [k for k in order if isinstance(k, tuple) and k[:1] == (1,)]
        assert [row.key for row in table.range(prefix=(1,))] == begins

    @rule(limit=st.integers(1, 3), prefix=st.sampled_from([None, (1,)]))
    def page_through(self, limit: int, prefix: Any) -> None:
        found: list[Row] = []
        page = self.table.page(limit=limit, prefix=prefix)
        while page:
            assert len(page) <= limit
            found += page
            page = self.table.page(page[-1].key, limit=limit, prefix=prefix)
        assert found == list(self.table.rows() if prefix is None else self.table.range(prefix=prefix))


class BagMachine(Machine):
    kind = "bag"
    longest_key_bytes = keys.KEY_BYTES_MAX - keys.SEQ.size


LIMITS = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
TestSet = SetMachine.TestCase
TestSet.settings = LIMITS
TestOrderedSet = OrderedMachine.TestCase
TestOrderedSet.settings = LIMITS
TestBag = BagMachine.TestCase
TestBag.settings = LIMITS
