"""The event bus: appends what is published, delivers what is committed, and forgets nothing that is not confirmed.

    number = await bus.call(Subscribe(self.ref, types=("CANARY_*",), cursor="audit"))
    # then, for each Delivery(number, events) in handle_cast:
    bus.cast(Confirm(number, events[-1].seq))

**Every** commit is delivered, also of those who write events with their rows and never talk to the bus. What goes out
is read from memory while a subscriber keeps up and from the log when it does not, so a slow subscriber costs nothing.

**Crashes.** A subscriber that ends is forgotten; with a durable cursor it continues, when it subscribes again, after
what it confirmed. When the bus itself ends, its subscribers have to subscribe again: in the node's tree they are
started after the bus and therefore restarted with it; others monitor it. What was cast to the bus and not committed
is lost, what was called and answered is not.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors.bus.subscription import Filter, Progress, committed, confirmed, next_read, opened, was_read
from henslowe.actors.kernel import NOREPLY, Down, LoopActor, Ref, Reply
from henslowe.actors.messages import Confirm, Delivery, Publish, Subscribe, Unsubscribe
from henslowe.errors import ConfigError, Corrupt, HensloweError, LimitReached
from henslowe.storage import STREAMS, CursorRow, Event, Store

log = logging.getLogger(__name__)

SUBSCRIPTIONS_MAX: Final = 10_000
"""As many as the gateway's and the admin API's streams together: each may hold one."""
WINDOW_MAX: Final = 10_000
"""Bounds the memory of one subscription: an integer here, and the events in the subscriber's mailbox."""


@dataclass(slots=True, frozen=True)
class WhichSubscriptions:
    """Call to BUS. Reply: a tuple of `SubscriptionInfo`, oldest first."""


@dataclass(slots=True, frozen=True)
class SubscriptionInfo:
    """One subscription, as people see it. `behind` counts sequence numbers, wanted or not."""

    number: int
    subscriber: str
    cursor: str
    position: int
    unconfirmed: int
    behind: int


@dataclass(slots=True)
class _Entry:
    """One subscription and what the actor does for it."""

    number: int
    subscriber: Ref
    monitor: Any
    wanted: Filter
    progress: Progress
    cursor: str
    saved: int
    """The cursor's value that is durable, or on its way."""
    saving: bool = False
    catching_up: bool = False


@dataclass(slots=True, frozen=True)
class _Committed:
    """Info to self: events of one group commit."""

    events: tuple[Event, ...]


@dataclass(slots=True, frozen=True)
class _CatchUp:
    """Info to self: read one page for a subscription that is behind."""

    number: int


@dataclass(slots=True, frozen=True)
class _Saved:
    """Info to self: the write of a cursor ended, with or without an error."""

    number: int
    error: BaseException | None


class EventBus(LoopActor):
    """Publishes and delivers. Owns no event: a crash loses the subscriptions in memory, never a committed event.

    Args:
        store: The open store of the node.
    """

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._entries: dict[int, _Entry] = {}
        self._numbers = itertools.count(1)
        self._head = 0

    def init(self) -> None:
        """Listen to the log from now on."""
        cancel = self._store.events.on_committed(lambda events: self.ref.send(_Committed(events)))
        # Also after a kill, when `terminate` does not run.
        self.ref.watch(lambda *_: cancel())
        self._head = self._store.events.last_seq()

    def handle_call(self, message: Publish | Subscribe | Unsubscribe | WhichSubscriptions, sender: Reply) -> object:
        """Publish durably, or change and show the subscriptions."""
        match message:
            case Publish():
                self._submit(message).add_done_callback(functools.partial(_answer_published, sender))
                return NOREPLY
            case Subscribe():
                return self._subscribe(message)
            case Unsubscribe(number):
                self._forget(number)
                return None
            case WhichSubscriptions():
                return tuple(_info(entry) for entry in self._entries.values())

    def handle_cast(self, message: Publish | Confirm) -> None:
        """Publish without waiting, or take a confirmation."""
        match message:
            case Publish(events):
                try:
                    self._submit(message).add_done_callback(functools.partial(_log_unpublished, len(events)))
                except HensloweError as error:
                    log.warning("events_lost", extra={"count": len(events), "reason": str(error)})
            case Confirm(number, seq):
                entry = self._entries.get(number)
                if entry is not None:
                    entry.progress = confirmed(entry.progress, seq)
                    self._save_cursor(entry)
                    self._catch_up_soon(entry)

    def handle_info(self, message: _Committed | _CatchUp | _Saved | Down) -> None:
        """Deliver, catch up, and hear of subscribers that ended."""
        match message:
            case _Committed(events):
                self._deliver_committed(events)
            case _CatchUp(number):
                entry = self._entries.get(number)
                if entry is not None:
                    self._read_page(entry)
            case _Saved(number, error):
                self._cursor_saved(number, error)
            case Down():
                for entry in [entry for entry in self._entries.values() if entry.monitor is message.mref]:
                    self._forget(entry.number)

    # -- publishing ----------------

    def _submit(self, message: Publish) -> asyncio.Future[Any]:
        txn = self._store.transaction()
        for event in message.events:
            txn.append(event)
        return txn.submit()

    # -- subscriptions ----------------

    def _subscribe(self, message: Subscribe) -> int:
        _check(message)
        if message.cursor:
            # The newest holder of a cursor is the one that lives: the other was restarted, its end is on the way.
            for old in [entry for entry in self._entries.values() if entry.cursor == message.cursor]:
                self._forget(old.number)
        if len(self._entries) >= SUBSCRIPTIONS_MAX:
            raise LimitReached(f"cannot subscribe: there are {len(self._entries)} subscriptions, which is the limit")
        saved = self._cursor(message.cursor)
        if message.after_seq is not None:
            after = max(saved, message.after_seq)
        else:
            after = saved if message.cursor else self._head
        number = next(self._numbers)
        entry = self._entries[number] = _Entry(
            number=number,
            subscriber=message.subscriber,
            monitor=self.monitor(message.subscriber),
            wanted=Filter.of(message.streams, message.types, message.services),
            progress=opened(after=after, head=self._head, window=message.window),
            cursor=message.cursor,
            saved=saved,
        )
        self._catch_up_soon(entry)
        return number

    def _forget(self, number: int) -> None:
        entry = self._entries.pop(number, None)
        if entry is not None:
            self.demonitor(entry.monitor)
            self._save_cursor(entry, last=True)

    # -- delivery ----------------

    def _deliver_committed(self, events: tuple[Event, ...]) -> None:
        self._head = max(self._head, events[-1].seq)
        for entry in self._entries.values():
            entry.progress, out = committed(entry.progress, entry.wanted, events)
            _send(entry, out)
            self._catch_up_soon(entry)

    def _catch_up_soon(self, entry: _Entry) -> None:
        """One page per message, so that others are served in between."""
        if not entry.catching_up and next_read(entry.progress) is not None:
            entry.catching_up = True
            self.ref.send(_CatchUp(entry.number))

    def _read_page(self, entry: _Entry) -> None:
        entry.catching_up = False
        read = next_read(entry.progress)
        if read is None:
            return
        wanted = entry.wanted
        try:
            found = self._store.events.read(
                after_seq=read.after_seq,
                before_seq=read.before_seq,
                streams=wanted.streams,
                types=wanted.types,
                services=wanted.services,
                limit=read.limit,
            )
        except Corrupt as error:
            # Skipping would break the promise; the subscriber's supervisor has to know.
            fields = {"subscriber": str(entry.subscriber), "after_seq": read.after_seq}
            log.exception("subscription_broken", extra=fields)
            self._forget(entry.number)
            entry.subscriber.exit(error)
            return
        entry.progress, out = was_read(entry.progress, read, found)
        _send(entry, out)
        self._catch_up_soon(entry)

    # -- cursors ----------------

    def _cursor(self, name: str) -> int:
        """What is saved under a cursor, or about to be: its last holder may just have ended."""
        return self._store.events.cursor_to_be(name) if name else 0

    def _save_cursor(self, entry: _Entry, *, last: bool = False) -> None:
        """Write the cursor unless a write is under way: its end will look again, so writes never pile up."""
        seq = entry.progress.cursor
        if not entry.cursor or seq <= entry.saved or (entry.saving and not last):
            return
        txn = self._store.transaction()
        txn.put(self._store.events.cursors, CursorRow(name=entry.cursor, seq=seq))
        try:
            done = txn.submit()
        except HensloweError as error:
            log.warning("cursor_not_saved", extra={"cursor": entry.cursor, "reason": str(error)})
            return
        entry.saving, entry.saved = True, seq
        done.add_done_callback(lambda future: self.ref.send(_Saved(entry.number, future.exception())))

    def _cursor_saved(self, number: int, error: BaseException | None) -> None:
        entry = self._entries.get(number)
        if entry is None:
            return
        entry.saving = False
        if error is not None:
            # The next confirmation tries again. Until then a restart repeats more than it has to.
            log.warning("cursor_not_saved", extra={"cursor": entry.cursor, "reason": str(error)})
            entry.saved = self._cursor(entry.cursor)
            return
        self._save_cursor(entry)


def _check(message: Subscribe) -> None:
    unknown = [stream for stream in message.streams if stream not in STREAMS]
    if unknown or not message.streams:
        raise ConfigError(f"expected streams out of {', '.join(STREAMS)}, got {', '.join(unknown) or 'none'}")
    if not 1 <= message.window <= WINDOW_MAX:
        raise LimitReached(f"expected a window of 1 to {WINDOW_MAX} events, got {message.window}")


def _send(entry: _Entry, events: tuple[Event, ...]) -> None:
    if events:
        entry.subscriber.cast(Delivery(entry.number, events))


def _info(entry: _Entry) -> SubscriptionInfo:
    progress = entry.progress
    return SubscriptionInfo(
        number=entry.number,
        subscriber=str(entry.subscriber),
        cursor=entry.cursor,
        position=progress.position,
        unconfirmed=len(progress.unconfirmed),
        behind=progress.head - progress.position,
    )


def _answer_published(sender: Reply, done: asyncio.Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        sender.set_exception(error)
    else:
        sender.set(done.result().events)


def _log_unpublished(count: int, done: asyncio.Future[Any]) -> None:
    error = done.exception()
    if error is not None:
        log.warning("events_lost", extra={"count": count, "reason": str(error)})
