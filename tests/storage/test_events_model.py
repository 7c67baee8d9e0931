"""The event log against a plain list: random appends and reads, failing commits, retention, cursors, restarts."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from henslowe.config.settings import StorageSettings
from henslowe.errors import LimitReached, StorageDegraded, StorageError
from henslowe.storage import STREAMS, CursorRow, Event, EventDraft, Store
from henslowe.storage.partitions import RING
from tests.storage.faults import Fault, Faults
from tests.storage.stores import running

KEPT = 30
SETTINGS = StorageSettings(map_size_gib=1).model_copy(update={"activity_events_max": KEPT})
TYPES = ("PROMOTE", "PROBATION", "LINT_OK", "É", "*")
PATTERNS = (*TYPES, "PRO*", "[*]", "?", "pro*", "NOTHING")
SERVICES = ("", "hello", "wörld", "s" * 255)
NAMES = ("audit", "mirror")
DRAFTS = st.builds(
    EventDraft,
    stream=st.sampled_from(STREAMS),
    type=st.sampled_from(TYPES),
    status=st.just("INFO"),
    service=st.sampled_from(SERVICES),
    version=st.integers(0, 3),
    data=st.dictionaries(st.sampled_from(["a", "\ud800", ""]), st.integers(-5, 5) | st.none(), max_size=2),
)
REFUSED = st.sampled_from(
    [
        EventDraft("gossip", "T", "INFO"),
        EventDraft("activity", "", "INFO"),
        EventDraft("activity", "T" * 256, "INFO"),
        EventDraft("activity", "T", "INFO", "s" * 256),
        EventDraft("activity", "T", "INFO", data={"of": object()}),
        EventDraft("activity", "T", "INFO", data={"of": "x" * (1 << 20)}),
    ]
)
# More in one commit than a partition holds, too.
BATCHES = st.lists(DRAFTS, min_size=1, max_size=2 * KEPT // RING + 6)


class Log(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        # In memory where the system has such a folder: what a sync does is tested elsewhere.
        self.folder = Path(tempfile.mkdtemp(prefix="events", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        self.runner = asyncio.Runner()
        self.faults = Faults()
        self.log: list[Event] = []
        self.heard: list[Event] = []
        self.cursors: dict[str, int] = {}
        self.dropped_before = 0
        self.start()

    def start(self) -> None:
        self.life = running(self.folder / "data", self.faults, SETTINGS)
        self.store: Store = self.wait(self.life.__aenter__())
        self.store.events.on_committed(self.heard.extend)

    def wait(self, steps: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(asyncio.wait_for(steps, 5))

    def teardown(self) -> None:
        self.wait(self.life.__aexit__(None, None, None))
        self.runner.close()
        shutil.rmtree(self.folder)

    async def commit(self, drafts: list[EventDraft], cursor: CursorRow | None = None) -> tuple[Event, ...]:
        txn = self.store.transaction()
        for draft in drafts:
            txn.append(draft)
        if cursor is not None:
            txn.put(self.store.events.cursors, cursor)
        return (await txn.commit()).events

    def remember(self, drafts: list[EventDraft], events: tuple[Event, ...]) -> None:
        assert [(e.stream, e.type, e.status, e.service, e.version, e.data) for e in events] == [
            (d.stream, d.type, d.status, d.service, d.version, d.data) for d in drafts
        ]
        assert all((e.node, e.incarnation) == ("n1", self.store.incarnation) for e in events)
        self.log.extend(events)

    # -- writing ----------------

    @rule(drafts=BATCHES)
    def append(self, drafts: list[EventDraft]) -> None:
        self.remember(drafts, self.wait(self.commit(drafts)))

    @rule(one=BATCHES, other=BATCHES)
    def append_side_by_side(self, one: list[EventDraft], other: list[EventDraft]) -> None:
        async def both() -> list[tuple[Event, ...]]:
            return await asyncio.gather(self.commit(one), self.commit(other))

        for drafts, events in zip((one, other), self.wait(both()), strict=True):
            self.remember(drafts, events)

    @rule(drafts=BATCHES, fault=st.sampled_from([Fault.REFUSED, Fault.FULL]))
    def refused_by_the_disk(self, drafts: list[EventDraft], fault: Fault) -> None:
        # Twice: a full disk gives up its ballast and tries again.
        self.faults.plan.extend([fault, fault])
        with pytest.raises(StorageDegraded):
            self.wait(self.commit(drafts, CursorRow(name="audit", seq=1 << 40)))
        self.faults.plan.clear()

    @rule(drafts=BATCHES)
    def answer_of_the_disk_lost(self, drafts: list[EventDraft]) -> None:
        self.faults.plan.append(Fault.ANSWER_LOST)
        self.append(drafts)

    @rule(drafts=BATCHES, refused=REFUSED)
    def refused_before_it_is_sent(self, drafts: list[EventDraft], refused: EventDraft) -> None:
        with pytest.raises((StorageError, LimitReached)):
            self.wait(self.commit([*drafts, refused]))

    @rule(name=st.sampled_from(NAMES), back=st.integers(-3, 10))
    def advance(self, name: str, back: int) -> None:
        seq = max(0, len(self.log) - back)
        self.wait(self.store.events.advance(name, seq))
        self.cursors[name] = max(self.cursors.get(name, 0), seq)

    @rule(name=st.sampled_from(NAMES), drafts=BATCHES)
    def advance_with_an_effect(self, name: str, drafts: list[EventDraft]) -> None:
        seq = self.store.events.cursor(name) + 1
        self.remember(drafts, self.wait(self.commit(drafts, CursorRow(name=name, seq=seq))))
        self.cursors[name] = seq

    @rule()
    def restart(self) -> None:
        before = self.store.incarnation
        self.wait(self.life.__aexit__(None, None, None))
        self.start()
        assert self.store.incarnation == before + 1

    # -- reading ----------------

    def kept(self) -> list[Event]:
        return [event for event in self.log if event.stream != "activity" or event.seq >= self.dropped_before]

    @rule(
        after=st.integers(-1, 200),
        before=st.integers(0, 200),
        newest_first=st.booleans(),
        streams=st.sets(st.sampled_from(STREAMS)),
        types=st.sets(st.sampled_from(PATTERNS), max_size=2),
        services=st.sets(st.sampled_from([*SERVICES[1:], "nobody"]), max_size=2),
        limit=st.integers(0, 40),
    )
    def read(
        self,
        *,
        after: int,
        before: int,
        newest_first: bool,
        streams: set[str],
        types: set[str],
        services: set[str],
        limit: int,
    ) -> None:
        expected = [
            event
            for event in (reversed(self.kept()) if newest_first else self.kept())
            if after < event.seq < before
            and event.stream in streams
            and (not types or any(fnmatchcase(event.type, pattern) for pattern in types))
            and (not services or event.service in services)
        ][:limit]
        found = self.store.events.read(
            after_seq=after,
            before_seq=before,
            newest_first=newest_first,
            streams=streams,
            types=types,
            services=services,
            limit=limit,
        )
        assert found == expected

    @rule(page=st.integers(1, 7), service=st.sampled_from(["", "hello"]))
    def scan(self, page: int, service: str) -> None:
        wanted = {"services": service} if service else {}
        assert list(self.store.events.scan(limit=page, **wanted)) == [
            event for event in self.kept() if service in ("", event.service)
        ]

    @rule(seq=st.integers(0, 200))
    def get(self, seq: int) -> None:
        assert self.store.events.get(seq) == next((event for event in self.kept() if event.seq == seq), None)

    @invariant()
    def complete(self) -> None:
        reader = self.store.events
        assert [event.seq for event in self.log] == list(range(1, len(self.log) + 1))
        assert reader.last_seq() == len(self.log)
        assert self.heard == self.log
        assert {name: reader.cursor(name) for name in NAMES} == {name: self.cursors.get(name, 0) for name in NAMES}
        hlcs = [event.hlc for event in self.log]
        assert hlcs == sorted(set(hlcs))

    @invariant()
    def retention(self) -> None:
        kept = self.store.events.read(streams=["activity"], limit=10_000)
        ever = [event for event in self.log if event.stream == "activity"]
        # The newest are kept, as many as wanted, little more, and what is gone stays gone.
        assert kept == ever[len(ever) - len(kept) :]
        assert len(kept) >= min(KEPT, len(ever))
        if len(kept) < len(ever):
            assert kept[0].seq >= self.dropped_before
            self.dropped_before = kept[0].seq
        assert self.store.events.counts() == {
            stream: sum(event.stream == stream for event in self.kept()) for stream in STREAMS
        }


TestLog = Log.TestCase
TestLog.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
