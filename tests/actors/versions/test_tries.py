"""Waiting longer each time before a version is tried again."""

from __future__ import annotations

from henslowe.actors.versions.tries import FIRST_S, LAST_S, VERSIONS_MAX, Tries
from tests.actors.delivery import key


def test_each_try_waits_twice_as_long_up_to_a_limit_and_one_that_is_up_begins_anew() -> None:
    tries = Tries()
    assert [tries.next_s(key(1)) for _ in range(3)] == [FIRST_S, 2 * FIRST_S, 4 * FIRST_S]
    assert max(tries.next_s(key(1)) for _ in range(2_000)) == LAST_S
    assert tries.next_s(key(2)) == FIRST_S
    tries.forget(key(1))
    assert tries.next_s(key(1)) == FIRST_S


def test_the_version_that_failed_longest_ago_is_forgotten_first() -> None:
    tries = Tries()
    for number in range(VERSIONS_MAX):
        tries.next_s(key(number))
    tries.next_s(key(0))
    tries.next_s(key(VERSIONS_MAX))
    assert (tries.next_s(key(0)), tries.next_s(key(1))) == (4 * FIRST_S, FIRST_S)
