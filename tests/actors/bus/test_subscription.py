"""The pure half of the bus: one subscription against a plain list as its oracle."""

from dataclasses import dataclass
from fnmatch import fnmatchcase

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from henslowe.actors.bus.subscription import (
    READ_MAX,
    Filter,
    Progress,
    Read,
    committed,
    confirmed,
    next_read,
    opened,
    was_read,
)


@dataclass(slots=True, frozen=True)
class Entry:
    seq: int
    stream: str = "lifecycle"
    type: str = "PROMOTE"
    service: str = "hello"


ALL = Filter.of(["lifecycle", "activity"], [], [])


def entries(*seqs: int) -> tuple[Entry, ...]:
    return tuple(Entry(seq) for seq in seqs)


@pytest.mark.parametrize(
    ("streams", "types", "services", "wanted"),
    [
        (["lifecycle"], [], [], True),
        (["activity", "output"], [], [], False),
        (["lifecycle"], ["CANARY_*"], [], False),
        (["lifecycle"], ["CANARY_*", "PRO*"], [], True),
        (["lifecycle"], ["promote"], [], False),
        (["lifecycle"], ["PRO"], [], False),
        (["lifecycle"], [], ["other"], False),
        (["lifecycle"], ["PROMOTE"], ["other", "hello"], True),
    ],
)
def test_a_filter_wants_what_stream_type_and_service_say(
    streams: list[str], types: list[str], services: list[str], wanted: bool
) -> None:
    assert Filter.of(streams, types, services).wants(Entry(1)) is wanted


def test_new_events_go_out_from_memory_while_caught_up() -> None:
    state, sent = committed(opened(after=3, head=3, window=10), ALL, entries(4, 5))
    assert sent == entries(4, 5)
    assert state.caught_up
    assert next_read(state) is None


def test_a_full_window_only_moves_the_head_and_reads_again_after_a_confirmation() -> None:
    state, sent = committed(opened(after=0, head=0, window=2), ALL, entries(1, 2, 3, 4))
    assert sent == entries(1, 2)
    assert next_read(state) is None, "there is no room"
    state, sent = committed(state, ALL, entries(5))
    assert sent == ()
    assert next_read(confirmed(state, 1)) == Read(after_seq=2, before_seq=6, limit=1)


def test_the_cursor_stops_before_the_first_unconfirmed_event_and_passes_unwanted_ones() -> None:
    only_hello = Filter.of(["lifecycle"], [], ["hello"])
    events = (Entry(1), Entry(2, service="other"), Entry(3), Entry(4, service="other"))
    state, _ = committed(opened(after=0, head=0, window=5), only_hello, events)
    assert state.cursor == 0
    assert confirmed(state, 1).cursor == 2
    assert confirmed(state, 3).cursor == 4


def test_a_commit_that_the_subscription_knows_already_is_not_delivered_again() -> None:
    state, sent = committed(opened(after=5, head=5, window=5), ALL, entries(4, 5, 6))
    assert sent == entries(6)
    assert committed(state, ALL, entries(6)) == (state, ())


def test_a_gap_before_a_commit_is_read_from_the_log() -> None:
    state, sent = committed(opened(after=5, head=5, window=5), ALL, entries(8))
    assert sent == ()
    assert next_read(state) == Read(5, 9, 5)


def test_a_cursor_beyond_the_log_starts_at_its_end() -> None:
    assert opened(after=100, head=7, window=5).position == 7


def test_one_read_is_bounded_whatever_the_window() -> None:
    assert next_read(opened(after=0, head=10_000, window=5_000)) == Read(0, 10_001, READ_MAX)


class SubscriptionMachine(RuleBasedStateMachine):
    """Commits, reads, confirmations and crashes in any order; the oracle is the list of wanted events."""

    log: list[Entry]
    state: Progress
    received: list[int]
    resumed_after: int
    saved: int

    @initialize(window=st.integers(1, 5), types=st.sampled_from([(), ("A*",), ("A?", "B")]))
    def open(self, window: int, types: tuple[str, ...]) -> None:
        self.log, self.window, self.types = [], window, types
        self.filter = Filter.of(["lifecycle"], types, ["x"])
        self.saved = 0
        self._open()

    def _open(self) -> None:
        self.received = []
        self.resumed_after = self.saved
        self.state = opened(after=self.saved, head=len(self.log), window=self.window)

    def _wanted(self, entry: Entry) -> bool:
        return (
            entry.stream == "lifecycle"
            and entry.service == "x"
            and (not self.types or any(fnmatchcase(entry.type, t) for t in self.types))
        )

    @rule(
        batch=st.lists(
            st.tuples(
                st.sampled_from(["lifecycle", "output"]), st.sampled_from(["A1", "A22", "B"]), st.sampled_from("xxy")
            ),
            min_size=1,
            max_size=7,
        )
    )
    def commit(self, batch: list[tuple[str, str, str]]) -> None:
        events = [Entry(len(self.log) + n, *words) for n, words in enumerate(batch, 1)]
        self.log.extend(events)
        self.state, sent = committed(self.state, self.filter, events)
        self._receive(sent)

    @precondition(lambda self: next_read(self.state) is not None)
    @rule()
    def read(self) -> None:
        read = next_read(self.state)
        assert read is not None
        inside = [e for e in self.log if read.after_seq < e.seq < read.before_seq and self._wanted(e)]
        self.state, sent = was_read(self.state, read, inside[: read.limit])
        self._receive(sent)

    @precondition(lambda self: self.received)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        self.state = confirmed(self.state, data.draw(st.sampled_from(self.received)))

    @rule()
    def save_the_cursor(self) -> None:
        assert self.state.cursor >= self.saved
        self.saved = self.state.cursor

    @rule()
    def crash_and_resume(self) -> None:
        self._open()

    def _receive(self, events: tuple[Entry, ...]) -> None:
        self.received.extend(event.seq for event in events)

    @invariant()
    def what_came_is_a_gapless_run_of_the_log_in_order(self) -> None:
        due = [e.seq for e in self.log if e.seq > self.resumed_after and self._wanted(e)]
        assert self.received == due[: len(self.received)]

    @invariant()
    def nothing_unconfirmed_is_behind_the_cursor(self) -> None:
        assert all(seq > self.state.cursor for seq in self.state.unconfirmed)
        due = [e.seq for e in self.log if self._wanted(e) and e.seq > self.state.cursor]
        assert due[: len(self.state.unconfirmed)] == list(self.state.unconfirmed)

    @invariant()
    def memory_is_bounded_by_the_window(self) -> None:
        assert len(self.state.unconfirmed) <= self.window
        assert self.state.position <= self.state.head == len(self.log)

    def teardown(self) -> None:
        if not hasattr(self, "state"):
            return
        for _ in range(2 * len(self.log) + 2):
            self.state = confirmed(self.state, len(self.log))
            if next_read(self.state) is None:
                break
            self.read()
        assert self.received == [e.seq for e in self.log if e.seq > self.resumed_after and self._wanted(e)]
        assert self.state.cursor == len(self.log)


SubscriptionMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_order_is_kept_and_nothing_is_skipped = SubscriptionMachine.TestCase
