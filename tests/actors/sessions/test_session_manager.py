"""The session manager over a real store: rows and events together, limits, expiry, restarts."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from henslowe.actors.kernel import KILL, Ref
from henslowe.actors.messages import CloseSession, OpenSession, SessionsSeen, UpdateSession
from henslowe.actors.sessions import SESSIONS, SessionManager, SessionRow
from henslowe.actors.sessions.manager import Tick
from henslowe.config.settings import GatewaySettings
from henslowe.errors import Conflict, LimitReached, NotFound, StorageDegraded
from henslowe.storage import Store, Table, Transaction
from tests.actors.conftest import Clock, OpenStore

SETTINGS = GatewaySettings(sessions_max=3, session_idle_s=600)


@pytest.fixture
async def manager(store: Store, clock: Clock) -> AsyncIterator[Ref]:
    ref = SessionManager.start(store, SETTINGS, now_s=clock)
    yield ref
    await ref.stop(block=False)


@pytest.fixture
def sessions(store: Store) -> Table[SessionRow]:
    return store.table(SESSIONS)


def opening(session_id: str, **fields: Any) -> OpenSession:
    defaults: dict[str, Any] = {
        "scope": "hello",
        "protocol_version": "2025-11-25",
        "client_info": {"name": "editor", "version": "1"},
        "capabilities": {"sampling": {}},
    }
    return OpenSession(session_id, **{**defaults, **fields})


async def tick(manager: Ref) -> None:
    manager.send(Tick())
    await manager.get_state()


async def test_an_opened_session_is_durable_with_its_event_when_the_caller_hears(
    open_store: OpenStore, clock: Clock
) -> None:
    async with open_store() as store:
        manager = SessionManager.start(store, SETTINGS, now_s=clock)
        row = await manager.call(opening("0123456789abcdef"))
        manager.exit(KILL)
    async with open_store() as store:
        assert store.table(SESSIONS).rows() == (row,)
        (event,) = store.events.read(types="SESSION_*")
        assert (event.type, event.service) == ("SESSION_OPENED", "hello")
        assert event.data == {"session": "01234567", "protocol_version": "2025-11-25", "client": "editor", "by": ""}


async def test_an_id_opens_one_session(manager: Ref) -> None:
    await manager.call(opening("a"))
    with pytest.raises(Conflict, match="cannot open session a: it is open"):
        await manager.call(opening("a"))


async def test_updates_change_what_they_name_and_are_durable(manager: Ref, sessions: Table[SessionRow]) -> None:
    await manager.call(opening("a"))
    await manager.call(UpdateSession("a", log_level="debug"))
    await manager.call(UpdateSession("a", subscribe="file:///1"))
    await manager.call(UpdateSession("a", subscribe="file:///2"))
    row = await manager.call(UpdateSession("a", unsubscribe="file:///1"))
    assert (row.log_level, row.subscriptions) == ("debug", ("file:///2",))
    assert sessions.lookup("a") == row


async def test_an_update_of_no_session_says_so(manager: Ref) -> None:
    with pytest.raises(NotFound, match="cannot update session a: no such session"):
        await manager.call(UpdateSession("a", log_level="debug"))


async def test_subscriptions_of_a_session_are_limited(manager: Ref, store: Store, sessions: Table[SessionRow]) -> None:
    row = await manager.call(opening("a"))
    await sessions.insert(row.model_copy(update={"subscriptions": tuple(str(n) for n in range(1_000))}))
    await manager.call(UpdateSession("a", subscribe="7"))
    with pytest.raises(LimitReached, match="the session has 1000 subscriptions"):
        await manager.call(UpdateSession("a", subscribe="one more"))


async def test_a_closed_session_is_gone_with_its_event(manager: Ref, store: Store, clock: Clock) -> None:
    await manager.call(opening("a"))
    clock.now_s += 5
    assert await manager.call(CloseSession("a")) is True
    assert await manager.call(CloseSession("a")) is False
    assert store.table(SESSIONS).rows() == ()
    (event,) = store.events.read(types="SESSION_CLOSED")
    assert (event.data["reason"], event.data["open_s"]) == ("deleted", 5)


async def test_at_the_limit_the_session_idle_longest_makes_room(
    manager: Ref, store: Store, sessions: Table[SessionRow], clock: Clock
) -> None:
    for name in "abc":
        await manager.call(opening(name))
        clock.now_s += 30
    manager.cast(SessionsSeen({"a": clock.now_s, "unknown": clock.now_s}))
    await manager.call(opening("d"))
    assert sorted(sessions.keys()) == ["a", "c", "d"]
    (event,) = store.events.read(types="SESSION_CLOSED")
    assert (event.data["session"], event.data["reason"]) == ("b", "crowded_out")


async def test_at_the_limit_sessions_in_use_are_kept_and_the_new_client_is_refused(manager: Ref) -> None:
    for name in "abc":
        await manager.call(opening(name))
    with pytest.raises(LimitReached, match="all 3 sessions are in use"):
        await manager.call(opening("d"))
    await manager.call(CloseSession("a"))
    await manager.call(opening("d"))


async def test_idle_sessions_expire_and_used_ones_do_not(
    manager: Ref, sessions: Table[SessionRow], store: Store, clock: Clock
) -> None:
    await manager.call(opening("idle"))
    await manager.call(opening("used"))
    clock.now_s += 599
    manager.cast(SessionsSeen({"used": clock.now_s}))
    await tick(manager)
    assert len(sessions) == 2
    clock.now_s += 1
    await tick(manager)
    assert sessions.keys() == ("used",)
    assert store.events.read(types="SESSION_CLOSED")[0].data["reason"] == "expired"


async def test_the_last_use_survives_a_restart(open_store: OpenStore, clock: Clock) -> None:
    async with open_store() as store:
        manager = SessionManager.start(store, SETTINGS, now_s=clock)
        await manager.call(opening("a"))
        clock.now_s += 500
        manager.cast(SessionsSeen({"a": clock.now_s}))
        await tick(manager)
        manager.exit(KILL)
    clock.now_s += 500
    async with open_store() as store:
        manager = SessionManager.start(store, SETTINGS, now_s=clock)
        await tick(manager)
        assert len(store.table(SESSIONS)) == 1, "it was used 500 s ago"
        clock.now_s += 100
        await tick(manager)
        assert len(store.table(SESSIONS)) == 0
        await manager.stop(block=False)


async def test_a_use_that_is_reported_late_does_not_turn_time_back(manager: Ref, clock: Clock) -> None:
    await manager.call(opening("a"))
    manager.cast(SessionsSeen({"a": clock.now_s + 50}))
    manager.cast(SessionsSeen({"a": clock.now_s + 10}))
    assert (await manager.get_state())["_last_seen_s"] == {"a": clock.now_s + 50}


async def test_storage_that_refuses_writes_is_tried_again_and_kills_nobody(
    manager: Ref,
    sessions: Table[SessionRow],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def refused(_: Transaction) -> None:
        raise StorageDegraded("cannot commit: no space left on device")

    await manager.call(opening("a"))
    clock.now_s += 700
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(Transaction, "commit", refused)
        await tick(manager)
        with pytest.raises(StorageDegraded):
            await manager.call(CloseSession("a"))
    assert "sessions_not_written" in caplog.text
    assert len(sessions) == 1
    await tick(manager)
    assert len(sessions) == 0
