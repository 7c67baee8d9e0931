"""The bus over a real log: what is committed reaches who subscribed, whatever crashes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from henslowe.actors import journal
from henslowe.actors.bus import EventBus, SubscriptionInfo, WhichSubscriptions
from henslowe.actors.bus.event_bus import WINDOW_MAX
from henslowe.actors.journal import draft
from henslowe.actors.kernel import KILL, NOREPLY, ActorExit, LoopActor, Ref, Reply, names
from henslowe.actors.messages import Confirm, Delivery, Publish, Subscribe, Unsubscribe
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.errors import ConfigError, Corrupt, LimitReached
from henslowe.storage import Event, EventDraft, Store
from henslowe.storage.keys import pack
from tests.actors.conftest import OpenStore
from tests.storage.test_quarantine import flip


class Listener(LoopActor):
    """Keeps what it gets; confirms each delivery when `confirms`."""

    def __init__(self, bus: Ref, *, confirms: bool = True, into: list[Event] | None = None) -> None:
        super().__init__()
        self.bus = bus
        self.confirms = confirms
        self.events = into if into is not None else []
        self.deliveries: list[int] = []
        self._waiting: list[tuple[int, Reply]] = []

    def handle_cast(self, message: Delivery) -> None:
        self.events.extend(message.events)
        self.deliveries.append(len(message.events))
        if self.confirms:
            self.bus.cast(Confirm(message.subscription, message.events[-1].seq))
        self._answer()

    def handle_call(self, count: int, sender: Reply) -> object:
        self._waiting.append((count, sender))
        self._answer()
        return NOREPLY

    def _answer(self) -> None:
        for waiting in list(self._waiting):
            if len(self.events) >= waiting[0]:
                self._waiting.remove(waiting)
                waiting[1].set(list(self.events))


def event(number: int = 0, *, type_: EventType = EventType.PROMOTE, service: str = "hello") -> EventDraft:
    return draft(type_, Status.SUCCESS, service=service, stream=Stream.LIFECYCLE, number=number)


def numbers(events: list[Event]) -> list[int]:
    return [found.data["number"] for found in events]


@pytest.fixture
async def bus(store: Store) -> AsyncIterator[Ref]:
    ref = EventBus.start(store)
    yield ref
    await ref.stop(block=False)


async def test_a_publish_call_is_answered_with_the_durable_events(store: Store, bus: Ref) -> None:
    stored = await bus.call(Publish((event(1), event(2))))
    assert numbers(stored) == [1, 2]
    assert list(stored) == store.events.read()


async def test_a_live_subscription_gets_what_comes_after_it_in_order(bus: Ref) -> None:
    await bus.call(Publish((event(0),)))
    listener = Listener.start(bus)
    await bus.call(Subscribe(listener))
    for number in range(1, 21):
        bus.cast(Publish((event(number),)))
    assert numbers(await listener.call(20)) == list(range(1, 21))


async def test_a_live_subscription_may_begin_in_the_past(bus: Ref) -> None:
    stored = await bus.call(Publish(tuple(event(n) for n in range(1, 6))))
    listener = Listener.start(bus)
    await bus.call(Subscribe(listener, after_seq=stored[1].seq))
    assert numbers(await listener.call(3)) == [3, 4, 5]


async def test_events_that_were_committed_without_the_bus_are_delivered(store: Store, bus: Ref) -> None:
    listener = Listener.start(bus)
    await bus.call(Subscribe(listener))
    txn = store.transaction()
    txn.append(event(7))
    await txn.commit()
    assert numbers(await listener.call(1)) == [7]


async def test_filters_hold_in_memory_and_in_the_log_alike(bus: Ref) -> None:
    wanted = {"types": ("CANARY_*",), "services": ("hello",), "streams": ("lifecycle",)}
    live, late = Listener.start(bus), Listener.start(bus)
    await bus.call(Subscribe(live, **wanted))
    batch = (
        event(1, type_=EventType.CANARY_DEPLOY),
        event(2),
        event(3, type_=EventType.CANARY_HOLD, service="other"),
        draft(EventType.CANARY_HEALTH, Status.INFO, service="hello", stream=Stream.ACTIVITY, number=4),
        event(5, type_=EventType.CANARY_VERDICT),
    )
    await bus.call(Publish(batch))
    await bus.call(Subscribe(late, after_seq=0, **wanted))
    assert numbers(await live.call(2)) == [1, 5]
    assert numbers(await late.call(2)) == [1, 5]


async def test_a_slow_subscriber_is_sent_a_window_and_the_rest_is_read_from_the_log_later(bus: Ref) -> None:
    slow = Listener.start(bus, confirms=False)
    number = await bus.call(Subscribe(slow, window=3))
    stored = await bus.call(Publish(tuple(event(n) for n in range(1_000))))
    await slow.call(3)
    (info,) = await bus.call(WhichSubscriptions())
    assert info == SubscriptionInfo(number, str(slow), "", stored[2].seq, 3, stored[-1].seq - stored[2].seq)
    await slow.replace_state(lambda listener: setattr(listener, "confirms", True))
    bus.cast(Confirm(number, stored[2].seq))
    assert numbers(await slow.call(1_000)) == list(range(1_000))
    assert max((await slow.get_state())["deliveries"]) <= 3


async def test_a_durable_subscription_gets_again_what_was_not_confirmed(store: Store, bus: Ref) -> None:
    stored = await bus.call(Publish(tuple(event(n) for n in range(5))))
    first = Listener.start(bus, confirms=False)
    number = await bus.call(Subscribe(first, cursor="audit"))
    await first.call(5)
    bus.cast(Confirm(number, stored[1].seq))
    await _until(store, lambda: store.events.cursor("audit") == stored[1].seq)
    first.exit(KILL)
    second = Listener.start(bus)
    await bus.call(Subscribe(second, cursor="audit"))
    assert numbers(await second.call(3)) == [2, 3, 4]


async def test_a_durable_subscription_whose_cursor_is_damaged_gets_everything_once_more_and_goes_on(
    open_store: OpenStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store() as store:
        bus = EventBus.start(store)
        stored = await bus.call(Publish(tuple(event(n) for n in range(4))))
        await store.events.advance("audit", stored[2].seq)
        bus.exit(KILL)
    flip(tmp_path / "data", pack("audit"), "t.cursors")
    async with open_store() as store:
        bus = EventBus.start(store)
        again = Listener.start(bus)
        await bus.call(Subscribe(again, cursor="audit"))
        assert numbers(await again.call(4)) == [0, 1, 2, 3]
        assert [record.message for record in caplog.records].count("storage.cursor_damaged") == 1
        await _until(store, lambda: store.events.cursor("audit") == stored[3].seq)
        assert store.quarantined() == []
        bus.exit(KILL)
    async with open_store() as store:
        assert (store.events.cursor("audit"), store.quarantined()) == (stored[3].seq, [])


async def test_a_durable_subscription_survives_the_bus_and_the_node(open_store: OpenStore) -> None:
    async with open_store() as store:
        bus = EventBus.start(store)
        stored = await bus.call(Publish(tuple(event(n) for n in range(4))))
        listener = Listener.start(bus, confirms=False)
        number = await bus.call(Subscribe(listener, cursor="audit"))
        await listener.call(4)
        bus.cast(Confirm(number, stored[0].seq))
        await _until(store, lambda: store.events.cursor("audit") == stored[0].seq)
        bus.exit(KILL)
        bus = EventBus.start(store)
        again = Listener.start(bus, confirms=False)
        await bus.call(Subscribe(again, cursor="audit"))
        assert numbers(await again.call(3)) == [1, 2, 3]
        bus.exit(KILL)
    async with open_store() as store:
        bus = EventBus.start(store)
        await bus.call(Publish((event(4),)))
        last = Listener.start(bus)
        await bus.call(Subscribe(last, cursor="audit"))
        assert numbers(await last.call(4)) == [1, 2, 3, 4]
        bus.exit(KILL)


async def test_a_new_holder_of_a_cursor_takes_it_over(bus: Ref) -> None:
    old, new = Listener.start(bus, confirms=False), Listener.start(bus)
    await bus.call(Subscribe(old, cursor="audit"))
    await bus.call(Subscribe(new, cursor="audit"))
    await bus.call(Publish((event(1),)))
    assert numbers(await new.call(1)) == [1]
    assert [info.subscriber for info in await bus.call(WhichSubscriptions())] == [str(new)]
    assert (await old.get_state())["events"] == []


async def test_a_subscriber_that_ends_and_one_that_unsubscribes_are_forgotten(bus: Ref) -> None:
    dying, leaving = Listener.start(bus), Listener.start(bus)
    await bus.call(Subscribe(dying))
    number = await bus.call(Subscribe(leaving))
    dying.exit(KILL)
    await bus.call(Unsubscribe(number))
    assert await bus.call(WhichSubscriptions()) == ()
    await bus.call(Unsubscribe(number))


async def test_a_killed_bus_no_longer_listens_to_the_log(store: Store, bus: Ref) -> None:
    await bus.call(WhichSubscriptions())
    assert len(store.events._listeners) == 1
    bus.exit(KILL)
    assert store.events._listeners == []


@pytest.mark.parametrize("window", [0, -1, WINDOW_MAX + 1])
async def test_a_window_has_limits(bus: Ref, window: int) -> None:
    with pytest.raises(LimitReached, match=f"expected a window of 1 to 10000 events, got {window}"):
        await bus.call(Subscribe(bus, window=window))


@pytest.mark.parametrize("streams", [(), ("lifecycle", "gossip")])
async def test_streams_are_those_of_the_log(bus: Ref, streams: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="expected streams out of lifecycle, activity, output"):
        await bus.call(Subscribe(bus, streams=streams))


async def test_an_event_that_cannot_be_stored_is_refused_and_the_bus_lives_on(bus: Ref) -> None:
    too_big = draft(EventType.PROMOTE, Status.INFO, text="x" * (1 << 20))
    with pytest.raises(LimitReached, match="cannot append event PROMOTE"):
        await bus.call(Publish((too_big,)))
    bus.cast(Publish((too_big,)))
    assert len(await bus.call(Publish((event(1),)))) == 1


async def test_a_subscriber_of_a_damaged_log_is_told_by_its_end(
    store: Store, bus: Ref, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(**_: object) -> list[Event]:
        raise Corrupt("cannot read event 1: checksum")

    listener = Listener.start(bus)
    await bus.call(Publish((event(1),)))
    monkeypatch.setattr(store.events, "read", damaged)
    await bus.call(Subscribe(listener, after_seq=0))
    with pytest.raises(ActorExit, match="cannot read event 1"):
        await listener.call(1)
    assert await bus.call(WhichSubscriptions()) == ()


async def test_many_durable_subscribers_with_crashes_each_get_everything_in_order(store: Store, bus: Ref) -> None:
    """At least once, in order, across crashes of subscribers at any point: against the list that was published."""
    published = 0
    seen: dict[str, list[int]] = {f"c{n}": [] for n in range(4)}
    for life in range(6):
        alive: dict[str, tuple[Ref, list[Event]]] = {}
        for name in seen:
            got: list[Event] = []
            alive[name] = Listener.start(bus, confirms=(life + int(name[1])) % 3 != 0, into=got), got
            await bus.call(Subscribe(alive[name][0], cursor=name, window=1 + life))
        await bus.call(Publish(tuple(event(published + n) for n in range(17))))
        published += 17
        for name, (listener, got) in alive.items():
            await listener.call(1)
            listener.exit(KILL)
            run = numbers(got)
            assert run == list(range(run[0], run[0] + len(run)))
            assert run[0] <= max(seen[name], default=-1) + 1, "nothing may be skipped"
            seen[name].extend(run)
    await bus.call(Publish((event(published),)))
    for name, so_far in seen.items():
        rest: list[Event] = []
        await bus.call(Subscribe(Listener.start(bus, into=rest), cursor=name))
        await _until(store, lambda rest=rest: rest and rest[-1].data["number"] == published)
        assert set(so_far) | set(numbers(rest)) == set(range(published + 1))


async def test_saying_goes_through_the_bus_by_its_name(store: Store) -> None:
    bus = await EventBus.start_link(store, name="bus")
    assert bus is not None
    listener = Listener.start(bus)
    await bus.call(Subscribe(listener))
    journal.say(EventType.NODE_START, Status.SUCCESS, number=1)
    (heard,) = await listener.call(1)
    assert (heard.type, heard.status, heard.stream) == ("NODE_START", "SUCCESS", "activity")
    await bus.stop(block=False)
    assert names.whereis("bus") is None


async def _until(store: Store, holds: Callable[[], object]) -> None:
    """Waits for a commit after which `holds`."""
    async with asyncio.timeout(5):
        while not holds():
            txn = store.transaction()
            txn.append(draft(EventType.WATCHER_HEALTH, Status.INFO, stream=Stream.OUTPUT))
            await txn.commit()
