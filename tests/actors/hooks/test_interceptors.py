"""Interceptors: in order, with a deadline, closed before and open after."""

from __future__ import annotations

import asyncio
import threading

import pytest

from henslowe.actors.interceptors import Interceptor, Interceptors, Kind, Operation
from henslowe.errors import Conflict, NotFound

DEPLOY = Operation(Kind.DEPLOY, "hello", 3)


def recorded(name: str, heard: list[str], order: int = 0) -> Interceptor:
    async def hear(_operation: Operation) -> None:
        heard.append(name)

    return Interceptor(name, before=hear, after=hear, order=order)


async def test_they_are_asked_in_their_order_and_told_in_the_opposite_one() -> None:
    interceptors, heard = Interceptors(), list[str]()
    for name, order in (("late", 5), ("b", 0), ("a", 0), ("first", -1)):
        interceptors.register(recorded(name, heard, order))
    await interceptors.before(DEPLOY)
    assert heard == ["first", "a", "b", "late"]
    assert await interceptors.after(DEPLOY) == ()
    assert heard[4:] == ["late", "b", "a", "first"]


async def test_the_first_that_refuses_ends_it_and_says_why() -> None:
    interceptors, heard = Interceptors(), list[str]()

    def refuse(_operation: Operation) -> None:
        raise PermissionError("it is Friday")

    interceptors.register(Interceptor("calendar", before=refuse))
    interceptors.register(recorded("later", heard, 1))
    with pytest.raises(Conflict, match="interceptor 'calendar': it is Friday"):
        await interceptors.before(DEPLOY)
    assert heard == []


async def test_one_that_does_not_end_is_left_behind_at_its_deadline_also_when_it_ignores_its_cancellation() -> None:
    interceptors, freed = Interceptors(), asyncio.Event()

    async def stubborn(_operation: Operation) -> None:
        while not freed.is_set():
            try:
                await freed.wait()
            except asyncio.CancelledError:
                continue

    interceptors.register(Interceptor("stubborn", before=stubborn, after=stubborn, deadline_s=0.01))
    with pytest.raises(Conflict, match=r"did not answer within 0\.01 s"):
        await interceptors.before(DEPLOY)
    assert await interceptors.after(DEPLOY) == ("interceptor 'stubborn' did not answer within 0.01 s",)
    freed.set()


async def test_a_plain_function_that_blocks_does_not_hold_up_the_loop() -> None:
    interceptors, freed = Interceptors(), threading.Event()
    interceptors.register(Interceptor("blocking", before=lambda _: freed.wait(5) and None, deadline_s=0.01))
    with pytest.raises(Conflict, match="did not answer"):
        await interceptors.before(DEPLOY)
    freed.set()


async def test_one_that_exits_the_process_only_refuses() -> None:
    interceptors = Interceptors()

    async def leave(_operation: Operation) -> None:
        raise SystemExit(3)

    def leave_plainly(_operation: Operation) -> None:
        raise SystemExit(4)

    interceptors.register(Interceptor("a", before=leave))
    interceptors.register(Interceptor("b", before=leave_plainly))
    with pytest.raises(Conflict, match=r"SystemExit\(3\)"):
        await interceptors.ask("a", DEPLOY)
    with pytest.raises(Conflict, match=r"SystemExit\(4\)"):
        await interceptors.ask("b", DEPLOY)


async def test_after_they_fail_open_and_all_are_told() -> None:
    interceptors, heard = Interceptors(), list[str]()

    async def fail(_operation: Operation) -> None:
        raise ValueError("no")

    interceptors.register(recorded("a", heard))
    interceptors.register(Interceptor("z", after=fail))
    assert await interceptors.after(DEPLOY) == ("interceptor 'z': no",)
    assert heard == ["a"]


async def test_they_are_called_about_what_they_asked_for_and_no_longer_once_they_ended() -> None:
    interceptors, heard = Interceptors(), list[str]()
    end = interceptors.register(
        Interceptor("restores", before=lambda _: heard.append("restores"), kinds=frozenset({Kind.RESTORE}))
    )
    await interceptors.before(DEPLOY)
    assert heard == []
    await interceptors.before(Operation(Kind.RESTORE))
    end()
    await interceptors.before(Operation(Kind.RESTORE))
    assert heard == ["restores"]
    with pytest.raises(NotFound):
        await interceptors.ask("restores", DEPLOY)


async def test_a_name_is_given_once() -> None:
    interceptors = Interceptors()
    interceptors.register(Interceptor("a"))
    with pytest.raises(Conflict, match="there is one of that name"):
        interceptors.register(Interceptor("a"))
