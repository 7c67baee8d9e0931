"""The keeper of tokens over a real store: rows and events together, what is published, expiry, rotation, restarts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator

import pytest

from henslowe.actors.access import TOKENS, AccessBoard, AccessKeeper
from henslowe.actors.access.credentials import PREFIX
from henslowe.actors.access.keeper import Expired, Minted, Tick
from henslowe.actors.access.scopes import EVERYTHING
from henslowe.actors.kernel import KILL, Ref
from henslowe.actors.messages import CreateToken, RevokeToken, RotateToken
from henslowe.errors import ConfigError, Conflict, Forbidden, NotFound
from henslowe.storage import Store
from tests.actors.conftest import Clock, OpenStore


@pytest.fixture
def board() -> AccessBoard:
    return AccessBoard()


@pytest.fixture
async def keeper(store: Store, board: AccessBoard, clock: Clock) -> AsyncIterator[Ref]:
    ref = await AccessKeeper.start_link(store, board, now_s=clock)
    assert ref is not None
    yield ref
    await ref.stop(block=False)


def creating(
    name: str = "ci", *scopes: str, expires_s: float | None = None, may: frozenset[str] = EVERYTHING
) -> CreateToken:
    return CreateToken(name, scopes or ("mcp:hello",), "root", may, expires_s)


async def test_a_token_is_good_once_its_maker_hears_and_after_a_crash(open_store: OpenStore, clock: Clock) -> None:
    async with open_store() as store:
        keeper = await AccessKeeper.start_link(store, AccessBoard(), now_s=clock)
        assert keeper is not None
        minted: Minted = await keeper.call(creating())
        keeper.exit(KILL)
    async with open_store() as store:
        board = AccessBoard()
        keeper = await AccessKeeper.start_link(store, board, now_s=clock)
        assert keeper is not None
        found = board.find(minted.token, clock())
        assert found is not None
        assert (found.name, found.scopes) == ("token:ci", {"mcp:hello"})
        await keeper.stop(block=False)


async def test_the_token_itself_is_nowhere(keeper: Ref, store: Store) -> None:
    minted = await keeper.call(creating())
    assert re.fullmatch(r"hns_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", minted.token)
    (row,) = store.table(TOKENS).rows()
    assert row.digest == hashlib.sha256(minted.token.encode()).digest()
    secret = minted.token.removeprefix(PREFIX).partition("_")[2]
    (event,) = store.events.read(types="TOKEN_*")
    assert event.type == "TOKEN_CREATED"
    assert event.data == {"token": "ci", "token_id": row.id, "by": "root", "scopes": ["mcp:hello"]}
    assert secret not in repr(row)
    assert secret not in repr(event)


@pytest.mark.parametrize("change", ["last", "first", "id", "case", "longer", "empty", "prefix"])
async def test_a_token_that_is_not_exactly_right_is_nobodys(
    keeper: Ref, board: AccessBoard, clock: Clock, change: str
) -> None:
    token = (await keeper.call(creating())).token
    other = {
        "last": token[:-1] + ("A" if token[-1] != "A" else "B"),
        "first": token.replace("_", "-", 1),
        "id": token[:4] + "000000000000" + token[16:],
        "case": token.swapcase(),
        "longer": token + "A",
        "empty": "",
        "prefix": token[:16],
    }[change]
    assert board.find(other, clock()) is None
    assert board.find(token, clock()) is not None


async def test_a_token_expires_to_the_second_and_is_unpublished(keeper: Ref, board: AccessBoard, clock: Clock) -> None:
    token = (await keeper.call(creating(expires_s=clock() + 60))).token
    told: list[int] = []
    board.on_change(lambda: told.append(len(board.current)))
    assert board.find(token, clock() + 59.9) is not None
    assert board.find(token, clock() + 60) is None
    clock.now_s += 60
    keeper.send(Expired())
    await keeper.get_state()
    assert told == [0]


async def test_a_revoked_token_is_over_before_the_answer(
    keeper: Ref, store: Store, board: AccessBoard, clock: Clock
) -> None:
    minted = await keeper.call(creating())
    who = board.find(minted.token, clock())
    assert who is not None
    told: list[bool] = []
    board.on_change(lambda: told.append(board.holds(who, clock())))
    assert (await keeper.call(RevokeToken("ci", "local:me"))).id == minted.row.id
    assert told == [False]
    assert board.find(minted.token, clock()) is None
    assert store.table(TOKENS).rows() == ()
    assert [event.type for event in store.events.read(types="TOKEN_*")] == ["TOKEN_CREATED", "TOKEN_REVOKED"]


async def test_a_rotation_ends_the_old_secret_and_keeps_the_name(keeper: Ref, board: AccessBoard, clock: Clock) -> None:
    old = await keeper.call(creating())
    who = board.find(old.token, clock())
    new = await keeper.call(RotateToken("ci", "root", EVERYTHING))
    assert who is not None
    assert board.find(old.token, clock()) is None
    assert not board.holds(who, clock()), "what the old secret opened ends"
    renewed = board.find(new.token, clock())
    assert renewed is not None
    assert renewed.name == who.name
    assert new.row.id == old.row.id


async def test_with_a_grace_both_secrets_are_good_until_it_ends(keeper: Ref, board: AccessBoard, clock: Clock) -> None:
    old = await keeper.call(creating())
    new = await keeper.call(RotateToken(old.row.id, "root", EVERYTHING, grace_s=30))
    who = board.find(old.token, clock())
    assert who is not None
    assert board.find(new.token, clock()) is not None
    assert board.holds(who, clock() + 29)
    assert not board.holds(who, clock() + 30)
    assert board.find(old.token, clock() + 30) is None
    assert board.find(new.token, clock() + 30) is not None


async def test_nobody_gives_more_than_he_has(keeper: Ref) -> None:
    may = frozenset({"admin:tokens", "mcp:hello"})
    await keeper.call(creating("a", "mcp:hello", may=may))
    for scope in ("mcp", "mcp:other", "admin", "admin:write"):
        with pytest.raises(Forbidden, match="does not hold all of"):
            await keeper.call(creating("b", scope, may=may))
    await keeper.call(creating("boss", "admin"))
    with pytest.raises(Forbidden, match="cannot rotate token 'boss'"):
        await keeper.call(RotateToken("boss", "token:a", may))


async def test_what_cannot_be_made_is_said(keeper: Ref, clock: Clock) -> None:
    await keeper.call(creating("ci"))
    with pytest.raises(Conflict, match="there is one of that name"):
        await keeper.call(creating("ci"))
    for name in ("", "A", "a b", "-a", "a" * 64, "a\n"):
        with pytest.raises(ConfigError, match="expected a token's name"):
            await keeper.call(creating(name))
    with pytest.raises(ConfigError, match="in the future"):
        await keeper.call(creating("late", expires_s=clock()))
    with pytest.raises(ConfigError, match="expected a grace"):
        await keeper.call(RotateToken("ci", "root", EVERYTHING, grace_s=1e9))
    for message in (RevokeToken("gone", "root"), RotateToken("gone", "root", EVERYTHING)):
        with pytest.raises(NotFound, match="cannot find token 'gone'"):
            await keeper.call(message)


async def test_uses_are_written_to_the_minute(keeper: Ref, store: Store, board: AccessBoard, clock: Clock) -> None:
    token = (await keeper.call(creating())).token
    table = store.table(TOKENS)

    async def used() -> float:
        assert board.find(token, clock()) is not None
        keeper.send(Tick())
        await keeper.get_state()
        return table.rows()[0].last_used_s

    first = await used()
    assert first == clock()
    clock.now_s += 59
    assert await used() == first
    clock.now_s += 1
    assert await used() == first + 60


async def test_a_token_that_expired_long_ago_is_forgotten(keeper: Ref, store: Store, clock: Clock) -> None:
    await keeper.call(creating(expires_s=clock() + 1))
    for days, left in ((29, 1), (2, 0)):
        clock.now_s += days * 86_400
        keeper.send(Tick())
        await keeper.get_state()
        assert len(store.table(TOKENS)) == left
