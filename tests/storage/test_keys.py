"""Packed keys sort as their values do, and what cannot be ordered is refused."""

from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from henslowe.errors import KeyRefused
from henslowe.storage import keys

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(["", "a\0b", "a\0", "\0\xff"])
NUMBERS = st.integers(-(2**64) + 1, 2**64 - 1) | st.integers(-300, 300)
RAW = st.binary(max_size=12) | st.sampled_from([b"\0", b"\0\xff", b"\xff"])
KEYS = st.recursive(TEXTS | NUMBERS | RAW, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=6)
_RANK = (bytes, str, tuple, int)


def compare(one: Any, two: Any) -> int:
    """The documented order, written the slow way."""
    if type(one) is not type(two):
        return _RANK.index(type(one)) - _RANK.index(type(two))
    if isinstance(one, tuple):
        for left, right in zip(one, two, strict=False):
            if (found := compare(left, right)) != 0:
                return found
        return len(one) - len(two)
    return (one > two) - (one < two)


@given(KEYS)
def test_a_packed_key_unpacks_to_itself(key):
    assert keys.unpack(keys.pack(key)) == key


@given(st.lists(KEYS, max_size=12))
def test_packed_keys_sort_as_the_keys_do(some):
    assert sorted(some, key=keys.pack) == sorted(some, key=cmp_to_key(compare))


@example("", "\x00")
@example(b"", b"\x00")
@given(KEYS, KEYS)
def test_no_packed_key_and_a_counter_begin_another(one, two):
    if compare(one, two) != 0:
        packed, other = keys.pack(one), keys.pack(two)
        # Only what goes on with 0xff, where text had a zero: no counter ever begins so.
        assert not other.startswith(packed) or other[len(packed)] == 0xFF


@given(st.lists(KEYS, max_size=3).map(tuple), st.lists(KEYS, max_size=3).map(tuple))
def test_prefix_bounds_hold_exactly_the_tuples_with_that_prefix(prefix, key):
    first, end = keys.prefix_bounds(prefix)
    assert (first <= keys.pack(key) < end) == (key[: len(prefix)] == prefix)


@pytest.mark.parametrize("key", [True, False, 1.0, None, ("a", True), (1, (2.0,)), ["a"], "\ud800", 2**64, -(2**64)])
def test_a_key_that_cannot_be_ordered_is_refused(key):
    with pytest.raises(KeyRefused):
        keys.pack(key)


def test_a_key_that_is_too_long_is_refused():
    keys.pack("x" * 509)
    with pytest.raises(KeyRefused, match="at most 511 bytes, got 512"):
        keys.pack("x" * 510)


@given(st.binary(max_size=20))
def test_bytes_that_are_no_packed_key_are_refused_or_pack_back(packed):
    try:
        key = keys.unpack(packed)
    except KeyRefused:
        return
    assert keys.unpack(keys.pack(key)) == key
