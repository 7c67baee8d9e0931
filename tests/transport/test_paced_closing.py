"""Work that nobody waits for."""

from __future__ import annotations

import asyncio

from henslowe.transport.pacing import Paced


async def test_so_many_things_are_done_in_a_turn_of_the_loop_in_the_order_in_which_they_came() -> None:
    paced, done = Paced(asyncio.get_running_loop(), at_once=2), []
    for number in range(5):
        paced.add(lambda number=number: done.append(number))
    seen = []
    while len(paced):
        await asyncio.sleep(0)
        seen.append(list(done))
    assert seen == [[0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4]]


async def test_what_comes_later_is_done_as_well() -> None:
    paced, done = Paced(asyncio.get_running_loop(), at_once=1), []
    paced.add(lambda: (done.append("first"), paced.add(lambda: done.append("of its own"))))
    while len(paced):
        await asyncio.sleep(0)
    paced.add(lambda: done.append("later"))
    await asyncio.sleep(0)
    assert done == ["first", "of its own", "later"]


async def test_what_may_be_done_at_once_counts_and_never_overtakes() -> None:
    paced, done = Paced(asyncio.get_running_loop(), at_once=2), []
    assert [paced.may_now() for _ in range(3)] == [True, True, False]
    for number in range(3):
        paced.add(lambda number=number: done.append(number))
    await asyncio.sleep(0)
    assert done == [0, 1]
    assert not paced.may_now()
    await asyncio.sleep(0)
    assert done == [0, 1, 2]
    assert paced.may_now()
