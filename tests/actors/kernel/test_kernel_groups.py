"""Keys that many actors hold."""

import pytest
from kernel_specimens import KINDS, OnLoop, gone

from henslowe.actors.kernel import KILL, ActorExit, DuplicateRegistry

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
async def test_a_key_leads_to_all_its_holders_in_order_with_their_values(kind):
    registry = DuplicateRegistry()
    a, b = await kind.start_link(), await kind.start_link()
    registry.register("topic", a, 1)
    registry.register("topic", b, 2)
    registry.register("topic", a, 3)
    registry.register(("any", "hashable"), a)
    assert registry.lookup("topic") == ((a, 1), (b, 2), (a, 3))
    assert registry.keys(a) == {"topic", ("any", "hashable")}
    assert registry.count() == 4
    assert registry.cast("topic", "news") == 3
    assert (await a.call("log")).count(("cast", "news")) == 2
    assert registry.cast("nobody's", "news") == 0
    for ref in (a, b):
        ref.exit(KILL)


@both_kinds
async def test_entries_are_gone_before_anybody_hears_of_the_death(kind):
    registry = DuplicateRegistry()
    ref, other = await kind.start_link(), await OnLoop.start_link()
    registry.register("k", ref)
    registry.register("k", other)
    at_death = []
    ref.watch(lambda *_: at_death.append((registry.lookup("k"), registry.keys(ref), registry.count())))
    ref.exit(KILL)
    await gone(ref)
    assert at_death == [(((other, None),), frozenset(), 1)]
    with pytest.raises(ActorExit):
        registry.register("k", ref)
    other.exit(KILL)
    assert registry._keys == {}
    assert registry._entries == {}


async def test_unregistering_takes_the_actors_own_entries_all_or_those_that_match():
    registry = DuplicateRegistry()
    a, b = await OnLoop.start_link(), await OnLoop.start_link()
    for value in (1, 2):
        registry.register("k", a, value)
        registry.register("k", b, value)
    registry.unregister("k", a, lambda value: value == 1)
    assert registry.lookup("k") == ((b, 1), (a, 2), (b, 2))
    assert registry.keys(a) == {"k"}
    registry.unregister("k", b)
    assert registry.lookup("k") == ((a, 2),)
    assert registry.keys(b) == frozenset()
    registry.unregister("never", a)
    for _ in range(3):
        registry.register("again", b)
        registry.unregister("again", b)
    assert len(b._on_death) == 1
    for ref in (a, b):
        ref.exit(KILL)
