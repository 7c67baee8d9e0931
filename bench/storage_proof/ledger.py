"""The ledger: a workload in which everything says what it did, so that any later state can be judged by itself.

Each step is one transaction: a counted row goes up by one, sometimes a long value is put or deleted and a note is
added, and events of all three streams say so in the same commit. Events of `lifecycle` are never dropped, so replaying
them must give the rows exactly. What was acknowledged is told by the number of its last event: the log's order is the
commits' order, so a log that reaches it without a gap has everything before it.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from henslowe.actors.kernel import Scheduler
from henslowe.config.settings import StorageSettings
from henslowe.errors import HensloweError
from henslowe.storage import STREAMS, EventDraft, Store, TableSpec
from henslowe.storage.capture.record import Exchange, Waiting, encode

NODE = "n1"
# Below what people may set: the ring of partitions comes around within a short trace.
SETTINGS = StorageSettings(map_size_gib=1).model_copy(update={"activity_events_max": 150})
COUNTED_ROWS = 40
TYPES, SERVICES = 5, 3
CAPTURE_BYTES_MAX = 16_384


class Counted(BaseModel, frozen=True):
    """A row that only grows."""

    row: int
    value: int
    load: bytes = b""


class Long(BaseModel, frozen=True):
    """A value of several pages, put and deleted."""

    name: str
    content: bytes


class Note(BaseModel, frozen=True):
    """One of several under a key."""

    about: str
    number: int


COUNTED = TableSpec(
    name="counted", row_type=Counted, key="row", kind="ordered_set", indexes={"odd": lambda row: row.value % 2}
)
LONG = TableSpec(name="long", row_type=Long, key="name")
NOTES = TableSpec(name="notes", row_type=Note, key="about", kind="bag")


@dataclass(slots=True)
class Acknowledged:
    """What the store has promised to keep."""

    seq: int = 0
    context: int = 0
    captures: int = 0
    builds: set[str] = field(default_factory=set)

    def add(self, told: Mapping[str, Any]) -> None:
        """Takes in one acknowledgement."""
        self.seq = max(self.seq, told.get("seq", 0))
        self.context = max(self.context, told.get("context", 0))
        self.captures = max(self.captures, told.get("captures", 0))
        if "build" in told:
            self.builds.add(told["build"])


@asynccontextmanager
async def opened(folder: Path, settings: StorageSettings = SETTINGS) -> AsyncIterator[Store]:
    """One life of the store, with its writer."""
    Scheduler.install()
    store = Store.open(folder, NODE, settings)
    try:
        spec = store.child_spec()
        writer = await spec.actor.start_link(*spec.args, parent=None)
        try:
            yield store
        finally:
            await writer.stop(block=False)
    finally:
        store.close()


class Ledger:
    """Writes into one store."""

    def __init__(self, store: Store, dice: random.Random) -> None:
        self._store = store
        self._dice = dice
        self._counted, self._long = store.table(COUNTED), store.table(LONG)
        self._notes = store.bag(NOTES)

    async def step(self, *, load_bytes: int = 0) -> dict[str, Any]:
        """One transaction, with an event of `load_bytes` more if wanted; what was acknowledged with it.

        Raises:
            HensloweError: The store refused it.
        """
        dice, txn = self._dice, self._store.transaction()
        row = dice.randrange(COUNTED_ROWS)
        before = self._counted.latest(row)
        value = before.value + 1 if before else 1
        said: dict[str, Any] = {"row": row, "value": value}
        txn.put(self._counted, Counted(row=row, value=value, load=dice.randbytes(dice.choice((0, 200, 2000)))))
        if dice.random() < 0.3:
            name = f"long{dice.randrange(6)}"
            said["long"] = [name, dice.choice((None, 3_000, 9_000, 20_000))]
            size = said["long"][1]
            if size is None:
                txn.delete(self._long, name)
            else:
                txn.put(self._long, Long(name=name, content=value.to_bytes(4, "big") * (size // 4)))
        if dice.random() < 0.2:
            about = f"about{dice.randrange(4)}"
            if dice.random() < 0.2:
                said["note"] = [about, None]
                txn.delete(self._notes, about)
            else:
                said["note"] = [about, value]
                txn.put(self._notes, Note(about=about, number=value))
        txn.append(EventDraft("lifecycle", f"T{row % TYPES}", "SUCCESS", f"s{row % SERVICES}", row, said))
        for _ in range(dice.choice((0, 1, 4))):
            stream, kind = dice.choice(("activity", "activity", "output")), dice.randrange(TYPES)
            txn.append(EventDraft(stream, f"T{kind}", "INFO", f"s{dice.randrange(SERVICES)}", 1, {"for": value}))
        if load_bytes:
            txn.append(EventDraft("output", "T0", "INFO", "s0", 1, {"load": dice.randbytes(load_bytes)}))
        committed = await txn.commit()
        return {"seq": committed.first_seq + len(committed.events) - 1}

    async def share(self, number: int) -> dict[str, Any]:
        """Sets a value of the shared context."""
        await self._store.context.open("shared").set("number", number)
        return {"context": number}

    def record(self, number: int) -> dict[str, Any]:
        """Records the exchange of this number, counted from 1, in a commit of its own."""
        captures = self._store.captures
        captures.log.open()
        params = {"name": "count", "arguments": {"number": number}}
        answer = {"result": {"content": [{"type": "text", "text": "x" * self._dice.choice((10, 3_000))}]}}
        exchange = Exchange("s0", 1, "s0@1", "u", True, "handshake", "tools/call", params, answer, "ok", 0.01, True)
        waiting = Waiting(*self._store.clock.tick(), 100, 3_000, exchange)
        encoded = encode(waiting, captures.redactor, bytes_max=CAPTURE_BYTES_MAX, salt=captures.log.salt)
        captures.log.append([encoded])
        return {"captures": number}

    def archive(self, tree: Path) -> dict[str, Any]:
        """Stores a tree of files, some of them new."""
        tree.mkdir(parents=True, exist_ok=True)
        for name in self._dice.sample("abcdef", 3):
            (tree / name).write_bytes(self._dice.randbytes(self._dice.choice((10, 5_000))))
        return {"build": self._store.archive.put(tree).build_id}


def check(folder: Path, acknowledged: Acknowledged, *, clean: bool = False) -> list[str]:
    """Opens the store as the next node would; what is wrong with it."""
    try:
        store = Store.open(folder, NODE, SETTINGS)
    except HensloweError as error:
        return [f"does not open: {error.message[:100]}"]
    except Exception as error:
        return [f"does not open, and not in words: {type(error).__name__}: {error}"[:150]]
    try:
        if clean is store.recovered:
            return ["the kind of the last stop was not noticed"]
        return wrong_with(store, acknowledged)
    except HensloweError as error:
        return [f"cannot be read: {error.message[:100]}"]
    except Exception as error:
        return [f"cannot be read, and not in words: {type(error).__name__}: {error}"[:150]]
    finally:
        store.close()


def wrong_with(store: Store, acknowledged: Acknowledged) -> list[str]:
    """What an open store lacks of what it has promised."""
    log = {stream: store.events.read(streams=[stream], limit=1_000_000) for stream in STREAMS}
    seqs = sorted(event.seq for events in log.values() for event in events)
    wrong: list[str] = []
    last = store.events.last_seq()
    if last < acknowledged.seq:
        wrong.append(f"lost {acknowledged.seq - last} acknowledged events")
    # What retention dropped is older than all of the stream that is left.
    dropped_before = log["activity"][0].seq if log["activity"] else 0
    expected = [seq for seq in seqs if seq < dropped_before] + list(range(max(dropped_before, 1), last + 1))
    if seqs != expected:
        wrong.append(f"a gap among {len(seqs)} events up to {last}")
    wrong += _wrong_indexes(store, log)
    wrong += _wrong_rows(store, log["lifecycle"])
    if (store.context.open("shared").get("number") or 0) < acknowledged.context:
        wrong.append("lost an acknowledged value of the context")
    for build in acknowledged.builds:
        store.archive.verify(build)
    return wrong + (_wrong_captures(store, acknowledged.captures) if acknowledged.captures else [])


def _wrong_captures(store: Store, recorded: int) -> list[str]:
    log = store.captures.log
    log.open()
    if log.lost:
        return [f"the capture was damaged: {log.lost[:100]}"]
    numbers = [one.params["arguments"]["number"] for one in store.captures.read(newest_first=False, limit=1_000_000)]
    if numbers != list(range(1, len(numbers) + 1)):
        return [f"a gap among {len(numbers)} captures"]
    # The last commit may be lost with the power: that is what capture is promised.
    return [f"lost {recorded - len(numbers)} captures"] if len(numbers) < recorded - 1 else []


def _wrong_indexes(store: Store, log: dict[str, list[Any]]) -> list[str]:
    for stream, events in log.items():
        everything = {"streams": [stream], "limit": len(events) + 1}
        by_type = store.events.read(types="T*", **everything)
        by_service = store.events.read(services=[f"s{n}" for n in range(SERVICES)], **everything)
        if not events == by_type == by_service:
            return [f"an index of {stream} is not its log"]
    return []


def _wrong_rows(store: Store, history: list[Any]) -> list[str]:
    counted: dict[int, int] = {}
    long: dict[str, bytes] = {}
    notes: dict[str, list[int]] = {}
    for event in history:
        said = event.data
        if said["value"] != counted.get(said["row"], 0) + 1:
            return [f"row {said['row']} skipped a value in the history"]
        counted[said["row"]] = said["value"]
        name, size = said.get("long", (None, None))
        if size is not None:
            long[name] = said["value"].to_bytes(4, "big") * (size // 4)
        elif name is not None:
            long.pop(name, None)
        about, number = said.get("note", (None, None))
        if number is not None and number not in notes.get(about, []):
            notes.setdefault(about, []).append(number)
        elif about is not None and number is None:
            notes.pop(about, None)
    table, bag = store.table(COUNTED), store.bag(NOTES)
    wrong = []
    if {row.row: row.value for row in table.rows()} != counted or [row.row for row in table.rows()] != sorted(counted):
        wrong.append("rows are not what their history says")
    if {row.name: row.content for row in store.table(LONG).rows()} != long:
        wrong.append("long values are not what their history says")
    if {about: [note.number for note in bag.lookup(about)] for about in bag.keys()} != notes:  # noqa: SIM118 - a bag
        wrong.append("notes are not what their history says")
    odd = table.by("odd", 1)
    if sorted(row.row for row in odd) != sorted(row for row, value in counted.items() if value % 2):
        wrong.append("an index of a table is not its rows")
    return wrong
